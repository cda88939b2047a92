import { z } from 'zod';
import { PublicSealingKey, PublicSigningKey } from '../identity/jwk.ts';
import { GateFinding, GateWords } from '../gate/outcome.ts';
import { Sha256Hex, SiteId } from '../protocol/plan.ts';

/**
 * What a round log may say: a closed union, so that nothing else can enter it. Every value here is public; no update,
 * no loss on real images, no sample count and no text that a site wrote. Codes and hashes only.
 */
/** A signed plan with a thousand sites and their cosignatures in it. */
const MAX_PLAN_BYTES = 256 * 1024;
const Code = z.string().regex(/^[A-Z][A-Z_]{0,63}$/);
/** What runs somewhere, as it names itself. */
export const Software = z
  .string()
  .max(128)
  .regex(/^[a-z0-9]+\/[A-Za-z0-9.+-]+( [a-z0-9]+\/[A-Za-z0-9.+-]+)*$/);
/** A compact JWS: three base64url parts. */
export const CompactJws = z
  .string()
  .max(MAX_PLAN_BYTES)
  .regex(/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+$/);
const Which = { round: z.int().min(0), attempt: z.int().min(0) };
/** Site to the code it is missing for, its own or the coordinator's; a site that is not here let the deadline pass. */
const Reasons = z.record(SiteId, Code);
const Keys = { signing: PublicSigningKey, sealing: PublicSealingKey };
const Phase = { phase: z.int().min(0) };

export const LogDraft = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('run-started'),
    body: z.strictObject({
      runId: z.uuid(),
      scheme: z.string(),
      rounds: z.int().min(1),
      generatorSha256: Sha256Hex,
      software: Software,
    }),
  }),
  z.strictObject({
    kind: z.literal('software-changed'),
    /** The coordinator went on with another version than before. */
    body: z.strictObject({ software: Software }),
  }),
  z.strictObject({ kind: z.literal('policy-adopted'), body: z.strictObject({ policySha256: Sha256Hex }) }),
  z.strictObject({
    kind: z.literal('site-enrolled'),
    /** From here on these are the site's keys: what it signs and cosigns is checked with them. */
    body: z.strictObject({ siteId: SiteId, ...Keys }),
  }),
  z.strictObject({ kind: z.literal('site-keys-changed'), body: z.strictObject({ siteId: SiteId, ...Keys }) }),
  z.strictObject({ kind: z.literal('site-revoked'), body: z.strictObject({ siteId: SiteId }) }),
  z.strictObject({
    kind: z.literal('coordinator-key-changed'),
    /** From here on the coordinator signs with `to`. The old key's own statement; null, and no `from`, where it was lost. */
    body: z.strictObject({
      from: PublicSigningKey.nullable(),
      to: PublicSigningKey,
      statement: CompactJws.nullable(),
    }),
  }),
  z.strictObject({
    kind: z.literal('site-adopted'),
    /** `statement` is the site's own JWS: this policy, in this run, with this software. */
    body: z.strictObject({ siteId: SiteId, policySha256: Sha256Hex, software: Software, statement: CompactJws }),
  }),
  z.strictObject({
    kind: z.literal('plan'),
    /** The signed plan whole; its checkpoint apart, so that a witness need not open it. */
    body: z.strictObject({
      ...Which,
      planSha256: Sha256Hex,
      checkpoint: z.strictObject({ size: z.int().min(0), root: Sha256Hex }),
      plan: CompactJws,
    }),
  }),
  z.strictObject({
    kind: z.literal('answer-accepted'),
    /** `signature` is the site's own JWS over the hashes of its answer. */
    body: z.strictObject({ ...Which, ...Phase, siteId: SiteId, signature: CompactJws }),
  }),
  z.strictObject({
    kind: z.literal('declined'),
    /** `signature` is the site's own JWS over place and code. */
    body: z.strictObject({ ...Which, siteId: SiteId, code: Code, signature: CompactJws }),
  }),
  z.strictObject({
    kind: z.literal('refused'),
    body: z.strictObject({ ...Which, ...Phase, siteId: SiteId, code: Code }),
  }),
  z.strictObject({
    kind: z.literal('sealed'),
    body: z.strictObject({
      ...Which,
      ...Phase,
      contributors: z.array(SiteId),
      missing: z.array(SiteId),
      why: Reasons,
    }),
  }),
  z.strictObject({
    kind: z.literal('phase-skipped'),
    /** The phase after the one that was sealed is passed over, as its scheme allows where it would decide nothing. */
    body: z.strictObject({ ...Which, ...Phase }),
  }),
  z.strictObject({
    kind: z.literal('void'),
    body: z.strictObject({
      ...Which,
      ...Phase,
      code: Code,
      answered: z.array(SiteId),
      missing: z.array(SiteId),
      why: Reasons,
    }),
  }),
  z.strictObject({
    kind: z.literal('aggregated'),
    /** What was summed and how. The digest is of the sum as float64, little-endian, in the order of the steps. */
    body: z.strictObject({
      ...Which,
      scheme: z.string().max(32),
      contributors: z.array(SiteId).min(1),
      /** Values in one sum. */
      length: z.int().min(1),
      /** Largest L2 norm of one contributor's part; null where noise makes it unbounded. */
      clipNorm: z.number().nullable(),
      sumSha256: z.array(Sha256Hex).min(1),
    }),
  }),
  z.strictObject({
    kind: z.literal('generator-updated'),
    body: z.strictObject({ ...Which, generatorSha256: Sha256Hex, contributors: z.array(SiteId).min(1) }),
  }),
  z.strictObject({
    kind: z.literal('discriminator-updated'),
    /** One step of a pooled discriminator, from 0 in its attempt: the weights that sites are shown next. */
    body: z.strictObject({ ...Which, step: z.int().min(0), discriminatorSha256: Sha256Hex }),
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
    kind: z.literal('gate-asked'),
    /** The signed question whole: which candidate the sites are asked to judge. */
    body: z.strictObject({ candidateSha256: Sha256Hex, question: CompactJws }),
  }),
  z.strictObject({
    kind: z.literal('gate-answered'),
    /** `statement` is the site's own JWS over these words. */
    body: z.strictObject({ siteId: SiteId, candidateSha256: Sha256Hex, words: GateWords, statement: CompactJws }),
  }),
  z.strictObject({
    kind: z.literal('gate-judged'),
    /** What the coordinator found before anybody signed; `similarity` is of the candidate's images, by class. */
    body: z.strictObject({
      candidateSha256: Sha256Hex,
      passed: z.boolean(),
      similarity: z.array(z.number().nullable()).nullable(),
      findings: z.array(GateFinding),
    }),
  }),
  z.strictObject({
    kind: z.literal('release-signed-off'),
    /** `statement` is the person's JWS over this candidate, by a key that the policy names. */
    body: z.strictObject({ candidateSha256: Sha256Hex, name: z.string().min(1).max(64), statement: CompactJws }),
  }),
  z.strictObject({
    kind: z.literal('released'),
    /** Images or a generator that left, by the digest of their manifest. */
    body: z.strictObject({
      generatorSha256: Sha256Hex,
      images: z.int().min(0),
      manifestSha256: Sha256Hex,
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

/** Kinds this version knows. */
export const KNOWN_KINDS: ReadonlySet<string> = new Set(LogDraft.options.map((o) => o.shape.kind.value));

/** One line of the round log; its `kind` and `body` are a `LogDraft`, which `draftOf` checks apart. */
export const LogEntry = z.strictObject({
  /** Of the entry's form. A reader that does not know it, or a kind, says so and checks the rest. */
  version: z.int().min(1),
  /** The leaf it is in the tree, from 0. */
  index: z.int().min(0),
  /** The coordinator's clock, milliseconds since 1970. Proves nothing by itself. */
  timeMs: z.int().min(0),
  kind: z.string().max(64),
  body: z.unknown(),
});
export type LogEntry = z.infer<typeof LogEntry>;
