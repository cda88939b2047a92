/** Words of the command line that several commands share, and how their values are read. */
import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { z } from 'zod';
import { AVAILABLE_SCHEMES } from '../shared/aggregation/registry.ts';
import { ENGINE_NAMES, type EngineName } from '../shared/engine/program.ts';
import { type ErrorCode, FedError } from '../shared/errors.ts';
import { type CheckedPolicy, loadPolicyText } from '../shared/policy/load.ts';

/** A whole number in [min, max]. */
export const wholeNumber =
  (min: number, max = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(
        `A whole number of at least ${min}${max < 2 ** 53 - 1 ? `, at most ${max}` : ''}.`,
      );
    return value;
  };

export const number =
  (above: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!(value > above && value < Infinity)) throw new InvalidArgumentError(`A number above ${above}.`);
    return value;
  };

/** What computes and how fast; no part of any policy. */
export interface Speed {
  readonly engine: EngineName;
  readonly threads?: number;
}

/** `--engine` and `--threads`. */
export function withSpeed(command: Command): Command {
  return command
    .addOption(new Option('--engine <name>', 'what computes').choices(ENGINE_NAMES).default('cpu'))
    .option('--threads <n>', 'threads inside one operation', wholeNumber(1, 1024));
}

/** The part of parsed options that `openEngine` wants. */
export const threadsOf = ({ threads }: Speed): { threads?: number } => (threads === undefined ? {} : { threads });

/** A text file that the command line names. @throws {FedError} PARAMETER_INVALID */
export function readText(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    throw new FedError('PARAMETER_INVALID', `${what} ${path}: ${why}`, { cause: error });
  }
}

/** A policy file. @throws {FedError} PARAMETER_INVALID, POLICY_INVALID, SCHEME_UNKNOWN */
export const readPolicy = (path: string): CheckedPolicy => loadPolicyText(readText(path, 'policy'), loadOptions);
export const loadOptions = { availableSchemes: AVAILABLE_SCHEMES };

/**
 * Parses JSON of ours or of an operator's.
 * @param code - what is wrong when it does not fit: STORE_CORRUPT for files that only we write.
 */
export function parseJson<T>(text: string, schema: z.ZodType<T>, name: string, code: ErrorCode): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new FedError(code, `${name} is not JSON`);
  }
  const { data, error } = schema.safeParse(value);
  if (data === undefined) {
    const wrong = error!.issues.map((i) => `${i.path.join('.') || 'it'}: ${i.message}`).join('; ');
    throw new FedError(code, `${name}: ${wrong}`);
  }
  return data;
}
