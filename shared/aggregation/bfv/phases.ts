/**
 * Scheme `bfv`: sums under encryption with one key that all sites share and the coordinator never holds. What crosses in
 * each phase, parsed by both sides:
 *
 *   0 key     the steward -> the key of this attempt, wrapped for every invited site; the others: "here"
 *   1 upload  every site  -> its update, encrypted, and its signed contribution
 *   2 agree   every contributor, shown the list of contributions -> its signed consent to that list
 *   3 open    three who agreed, shown the encrypted sum and all consents -> the sum, decrypted; two must find the same
 *
 * Why phase 2: to open two sums of one attempt, over different sites, would show their difference. A site signs one list
 * an attempt, and a list is opened by a majority of the invited alone. Having sent its update, a site makes a new one should
 * the round be opened again (`site-agent/core/session.ts`), so two sums of two attempts share no update.
 *
 * Security model: a coordinator that works together with any one key holder opens every update; the coordinator alone,
 * lying as it likes about who contributed, what was added and how often, opens nothing but one sum of at least
 * `minSurvivors` sites. Sites are assumed to follow the protocol. Not audited by anyone.
 */
import { z } from 'zod';
import { FedError } from '../../errors.ts';
import type { DeepReadonly } from '../../policy/freeze.ts';
import type { Policy } from '../../policy/schema.ts';
import type { CheckPlace } from './checks.ts';
import { KeyBundle, KeyShown } from './key-bundle.ts';
import { bfvParameters } from './parameters.ts';
import type { BfvParameters } from './parameters.ts';
import { ContributorList } from './statements.ts';

export const PHASE = { key: 0, upload: 1, agree: 2, open: 3 } as const;

/** Sites that are asked to open a sum, and how many of them must. */
export const OPENERS = 3;
export const OPENERS_NEEDED = 2;

const Jws = z.string().max(2048);
export const Here = z.strictObject({ here: z.literal(true) });
export const KeyBody = z.union([KeyBundle, Here]);
export const UploadDown = z.strictObject({ key: KeyShown });
export const UploadBody = z.strictObject({ contribution: Jws });
export const AgreeDown = z.strictObject({ contributors: ContributorList });
export const AgreeBody = z.strictObject({ consent: Jws });
export const OpenDown = z.strictObject({ key: KeyShown, contributors: ContributorList, consents: ContributorList });
export const OpenBody = z.strictObject({ opened: z.literal(true) });

/** The checked parameters of a policy. @throws {FedError} PARAMETER_INVALID */
export function parametersOf({ aggregation }: DeepReadonly<Policy>): BfvParameters {
  const { bits, maxSites } = aggregation;
  if (bits === undefined || maxSites === undefined)
    throw new FedError('PARAMETER_INVALID', 'bfv needs aggregation.bits and aggregation.maxSites');
  return bfvParameters({ bits, maxSites });
}

export const placeOf = ({ runId, round, attempt }: CheckPlace): CheckPlace => ({ runId, round, attempt });
