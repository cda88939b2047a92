import { CommanderError } from 'commander';
import { FedError } from '../shared/errors.ts';
import { environment } from './config.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';

/** What a person reads when a command fails: one sentence, with the code that a machine would look for. */
export function sentenceOf(error: unknown): string {
  if (error instanceof FedError) return error.message;
  const { code, message } = error as NodeJS.ErrnoException;
  return `UNEXPECTED: ${message || String(error)}${code === undefined || message.includes(code) ? '' : ` (${code})`}`;
}

/**
 * Says on standard error why a command failed.
 * @returns what to exit with.
 */
export function reportError(error: unknown): number {
  // Commander has printed its own sentence, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  process.stderr.write(`${sentenceOf(error)}\n`);
  if (environment().debug && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
    for (let cause = error.cause; cause instanceof Error; cause = cause.cause)
      process.stderr.write(`caused by ${cause.stack}\n`);
  }
  return exitCodeOf(error);
}
