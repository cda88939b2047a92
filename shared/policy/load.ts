/**
 * From a file to a policy that may be used. Everything that acts on a policy takes a `CheckedPolicy`, and this is the
 * only place that makes one.
 */
import { z } from 'zod';
import { hashJson } from '../audit/canonical.ts';
import { FedError } from '../errors.ts';
import { findingsOf } from './check.ts';
import { deepFreeze, type DeepReadonly } from './freeze.ts';
import { type AggregationScheme, Policy } from './schema.ts';

declare const checked: unique symbol;
/** A policy that passed every check: well-formed, within its own epsilon, for a scheme that is there. Frozen. */
export type CheckedPolicy = DeepReadonly<Policy> & { readonly [checked]: true };

export interface LoadOptions {
  /** Schemes this build has; a policy that asks for another is refused. */
  readonly availableSchemes: readonly AggregationScheme[];
}

/**
 * Checks a parsed policy file.
 *
 * Guarantee: what is returned is a frozen copy with nothing added; unknown fields are refused, not dropped.
 * @throws {FedError} POLICY_INVALID with every finding; SCHEME_UNKNOWN when all else is right.
 */
export function loadPolicy(value: unknown, { availableSchemes }: LoadOptions): CheckedPolicy {
  const { data: policy, error } = Policy.safeParse(value);
  if (policy === undefined) throw new FedError('POLICY_INVALID', z.prettifyError(error));
  const findings = findingsOf(policy);
  if (findings.length > 0)
    throw new FedError('POLICY_INVALID', findings.map((f) => `${f.path.join('.')}: ${f.message}`).join('\n'));
  const { scheme } = policy.aggregation;
  if (!availableSchemes.includes(scheme))
    throw new FedError('SCHEME_UNKNOWN', `aggregation.scheme: "${scheme}"; here are: ${availableSchemes.join(', ')}`);
  return deepFreeze(structuredClone(policy)) as CheckedPolicy;
}

/** The same from the text of a file. @throws {FedError} POLICY_INVALID, also when the text is not JSON. */
export function loadPolicyText(text: string, options: LoadOptions): CheckedPolicy {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FedError('POLICY_INVALID', 'the file is not JSON', { cause });
  }
  return loadPolicy(value, options);
}

/**
 * The policy's identity: SHA-256 in hex of its RFC 8785 canonical JSON, reasons included. Layout and the order of keys
 * do not matter; any value does.
 */
export const policySha256 = (policy: DeepReadonly<Policy>): string => hashJson(policy);
