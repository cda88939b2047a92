import { z } from 'zod';
import { Sha256Hex, SiteId } from '../protocol/plan.ts';

/**
 * What a round log may say: a closed union, so that nothing else can enter it. Every value here is public; no update,
 * no loss on real images, no sample count and no text that a site wrote. Codes and hashes only.
 */
const Code = z.string().regex(/^[A-Z][A-Z_]{0,63}$/);
/** A compact JWS: three base64url parts. */
export const CompactJws = z
  .string()
  .max(64 * 1024)
  .regex(/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+$/);
const Which = { round: z.int().min(0), attempt: z.int().min(0) };
const Phase = { phase: z.int().min(0) };

export const LogDraft = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('run-started'),
    body: z.strictObject({ runId: z.uuid(), scheme: z.string(), rounds: z.int().min(1), generatorSha256: Sha256Hex }),
  }),
  z.strictObject({ kind: z.literal('policy-adopted'), body: z.strictObject({ policySha256: Sha256Hex }) }),
  z.strictObject({
    kind: z.literal('site-enrolled'),
    /** The hash of the site's roster entry: its public keys under its name. */
    body: z.strictObject({ siteId: SiteId, keysSha256: Sha256Hex }),
  }),
  z.strictObject({
    kind: z.literal('plan'),
    body: z.strictObject({ ...Which, planSha256: Sha256Hex, plan: CompactJws }),
  }),
  z.strictObject({
    kind: z.literal('answer-accepted'),
    /** `signature` is the site's own JWS over the hashes of its answer. */
    body: z.strictObject({ ...Which, ...Phase, siteId: SiteId, signature: CompactJws }),
  }),
  z.strictObject({ kind: z.literal('declined'), body: z.strictObject({ ...Which, siteId: SiteId, code: Code }) }),
  z.strictObject({
    kind: z.literal('refused'),
    body: z.strictObject({ ...Which, ...Phase, siteId: SiteId, code: Code }),
  }),
  z.strictObject({
    kind: z.literal('sealed'),
    body: z.strictObject({ ...Which, ...Phase, contributors: z.array(SiteId), missing: z.array(SiteId) }),
  }),
  z.strictObject({
    kind: z.literal('void'),
    body: z.strictObject({ ...Which, ...Phase, code: Code, answered: z.array(SiteId), missing: z.array(SiteId) }),
  }),
  z.strictObject({
    kind: z.literal('generator-updated'),
    body: z.strictObject({ ...Which, generatorSha256: Sha256Hex, contributors: z.array(SiteId).min(1) }),
  }),
  z.strictObject({
    kind: z.literal('epsilon-statement'),
    /** As the site signed it: what its own ledger holds. Null where no finite epsilon can be stated. */
    body: z.strictObject({
      siteId: SiteId,
      epsilon: z.number().min(0).nullable(),
      delta: z.number(),
      statement: CompactJws,
    }),
  }),
  z.strictObject({
    kind: z.literal('run-finished'),
    body: z.strictObject({
      outcome: z.enum(['completed', 'stopped']),
      rounds: z.int().min(0),
      generatorSha256: Sha256Hex,
    }),
  }),
  z.strictObject({
    kind: z.literal('operator-action'),
    body: z.strictObject({ action: z.string().regex(/^[a-z][a-z-]{0,63}$/), by: z.string().max(64) }),
  }),
]);
/** An entry before it has a place in the log. */
export type LogDraft = z.infer<typeof LogDraft>;

const Place = {
  version: z.literal(1),
  index: z.int().min(0),
  /** The coordinator's clock, milliseconds since 1970. Proves nothing by itself. */
  timeMs: z.int().min(0),
  /** Hash of the entry before; 64 zeros in the first. */
  previous: Sha256Hex,
  /** SHA-256 of this entry's canonical JSON without this field. */
  hash: Sha256Hex,
};
/** One line of the round log; its `kind` and `body` are a `LogDraft`, which `verifyChain` checks apart. */
export const LogEntry = z.strictObject({ ...Place, kind: z.string(), body: z.unknown() });
export type LogEntry = z.infer<typeof LogEntry>;
