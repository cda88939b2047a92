/** What comes of a question to the sites, and of a bound of the gate: public, and all that the log says of either. */
import { z } from 'zod';

/** Is it above the policy's bound? Thresholded after the noise, so nothing else leaves. */
export const Word = z.enum(['no', 'yes', 'cannot-tell']);
export type Word = z.infer<typeof Word>;

export const GateWords = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('answered'),
    /** More copies among the synthetic images than the policy bears. */
    memorisation: Word,
    /** Members told from non-members better than the policy bears. */
    membership: Word,
  }),
  z.strictObject({ kind: z.literal('declined'), code: z.string().regex(/^[A-Z][A-Z_]{0,63}$/) }),
]);
export type GateWords = z.infer<typeof GateWords>;

export const Bound = z.enum(['gate', 'log', 'epsilon', 'sites', 'memorisation', 'membership', 'diversity', 'sign-off']);
export type Bound = z.infer<typeof Bound>;

/** One bound, and how the candidate stands to it. */
export const GateFinding = z.strictObject({
  bound: Bound,
  /** What the policy asks for; null where nothing can be asked. */
  limit: z.number().nullable(),
  /** Null: not measured, or infinite. */
  measured: z.number().nullable(),
  unit: z.string().max(64),
  holds: z.boolean(),
  /** One sentence for people, made of public values. */
  say: z.string().max(4096),
});
export type GateFinding = z.infer<typeof GateFinding>;
