import { z } from 'zod';

/** A signed note takes at most so many bytes: a thousand cosignatures and more. */
export const MAX_NOTE_BYTES = 160 * 1024;

/** SHA-256, lower-case hexadecimal. */
export const Sha256Hex = z.string().regex(/^[0-9a-f]{64}$/);
/** A site's name in the roster: what logs, paths and messages carry. */
export const SiteId = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/);

/**
 * What the coordinator asks the invited sites to do in one round; signed by the coordinator, stored before it is shown.
 * Two plans with the same run and round are an offence.
 */
export const RoundPlan = z.strictObject({
  type: z.literal('round.plan'),
  runId: z.uuid(),
  round: z.int().min(0),
  /** How often this round was opened: a void round is opened again under the next attempt. */
  attempt: z.int().min(0),
  /** `discriminator`: a pooled round, whose every discriminator step is a sum of its own. */
  kind: z.enum(['moments', 'generator', 'discriminator']),
  policySha256: Sha256Hex,
  /** The generator the sites start from; null in a moment round, which needs none. */
  generatorSha256: Sha256Hex.nullable(),
  /** The critic whose features a moment round after the first is in; null in every other round. */
  criticSha256: Sha256Hex.nullable(),
  /** Steps of the discriminator in this round: one public number for all sites. */
  discriminatorSteps: z.int().min(0),
  invited: z.array(SiteId).min(1),
  /** Per class, how many invited sites declare it: each site scales its part of that class by 1 / this. */
  declarers: z.array(z.int().min(0)).min(1),
  /** Seed of everything public in the round; never of noise, sampling or masks. */
  publicSeed: Sha256Hex,
  scheme: z.enum(['clear', 'secagg', 'bfv']),
  /** Time from opening to the deadline of each phase, in milliseconds. */
  deadlineMs: z.int().min(1),
  /** The roster of this attempt, by version and SHA-256 of its JSON: `tensor.get` serves it under that hash. */
  roster: z.strictObject({ version: z.int().min(0), sha256: Sha256Hex }),
  /** The round log's head when the plan was made: how many entries, and the tree's root. */
  checkpoint: z.strictObject({ size: z.int().min(0), root: Sha256Hex }),
  /**
   * A checkpoint at or before that one, not older than the checkpoint of the plan before, as a signed note with the
   * cosignatures of the sites; null before there is any.
   */
  witnessed: z.string().max(MAX_NOTE_BYTES).nullable(),
});
export type RoundPlan = z.infer<typeof RoundPlan>;
