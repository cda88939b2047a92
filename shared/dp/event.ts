/**
 * What was done to private data, as frozen records. Mechanisms write events, ledgers store them, accountants read them;
 * nothing else carries a privacy cost. The neighbouring relation of every kind is "add or remove one patient".
 * An event says what happened, never what it cost: an accountant that does not know a kind must answer infinity.
 */
import { z } from 'zod';

const count = z.int().min(1).describe('How often, with these very parameters.');
const noiseMultiplier = z
  .number()
  .min(0)
  .describe('Standard deviation of the noise over the sensitivity, per coordinate, on the sum.');

/** Gaussian noise on a sum to which one patient adds a vector of L2 norm at most 1 (in units of the clip). */
export const GaussianEvent = z.strictObject({
  kind: z.literal('gaussian'),
  sensitivity: z.literal(1),
  noiseMultiplier,
  count,
});
export type GaussianEvent = z.infer<typeof GaussianEvent>;

/** The same, after every patient was taken into the sum independently with probability `sampleRate`. */
export const PoissonGaussianEvent = z.strictObject({
  kind: z.literal('poisson-gaussian'),
  sampleRate: z.number().gt(0).max(1),
  noiseMultiplier,
  count,
});
export type PoissonGaussianEvent = z.infer<typeof PoissonGaussianEvent>;

/**
 * Skellam noise on a sum of whole numbers that one patient, if taken, moves by a vector of these norms at most; patients
 * are taken independently with probability `sampleRate`. Everything is in steps of the lattice, rounding included. The
 * noise is what all sites' shares make together, less those that may be gone or known to the observer.
 */
export const PoissonSkellamEvent = z.strictObject({
  kind: z.literal('poisson-skellam'),
  sampleRate: z.number().gt(0).max(1),
  l2: z.number().gt(0),
  l1: z.number().gt(0),
  variance: z.number().min(0),
  count,
});
export type PoissonSkellamEvent = z.infer<typeof PoissonSkellamEvent>;

/** A use of private data without any protection. It is written down so that it costs infinity and is never forgotten. */
export const NotPrivateEvent = z.strictObject({ kind: z.literal('not-private'), count });
export type NotPrivateEvent = z.infer<typeof NotPrivateEvent>;

/** Every kind there is today. A later kind is one more member, and a rule in each accountant. */
export const PrivacyEvent = z.discriminatedUnion('kind', [
  GaussianEvent,
  PoissonGaussianEvent,
  PoissonSkellamEvent,
  NotPrivateEvent,
]);
export type PrivacyEvent = Readonly<z.infer<typeof PrivacyEvent>>;

/**
 * Reads an event from a ledger or a message.
 *
 * Guarantee: never drops anything. What does not parse (a newer kind, a damaged record) becomes a `not-private` event,
 * which every accountant charges with infinity.
 */
export function readEvent(value: unknown): PrivacyEvent {
  const parsed = PrivacyEvent.safeParse(value);
  return Object.freeze(parsed.success ? parsed.data : { kind: 'not-private' as const, count: 1 });
}

/** One Gaussian release, or `count` of them. */
export const gaussianEvent = (noiseMultiplier: number, count = 1): PrivacyEvent =>
  readEvent({ kind: 'gaussian', sensitivity: 1, noiseMultiplier, count });

/** `count` steps of DP-SGD by patient. */
export const poissonGaussianEvent = (sampleRate: number, noiseMultiplier: number, count = 1): PrivacyEvent =>
  readEvent({ kind: 'poisson-gaussian', sampleRate, noiseMultiplier, count });

/** `count` pooled releases; `sampleRate` 1 where every patient is in. */
export const poissonSkellamEvent = (
  sampleRate: number,
  { l2, l1, variance }: Readonly<Pick<PoissonSkellamEvent, 'l2' | 'l1' | 'variance'>>,
  count = 1,
): PrivacyEvent => readEvent({ kind: 'poisson-skellam', sampleRate, l2, l1, variance, count });

/** `count` steps without any mechanism: no accountant bounds them. */
export const notPrivateEvent = (count = 1): PrivacyEvent => readEvent({ kind: 'not-private', count });

/** The same event with another count; used to take one step's worth out of a plan. */
export const withCount = (event: PrivacyEvent, count: number): PrivacyEvent => readEvent({ ...event, count });

/** Two events with equal keys differ in `count` alone. Numbers print so that they read back exactly. */
export function eventKey(event: PrivacyEvent): string {
  switch (event.kind) {
    case 'gaussian':
      // The sensitivity is 1 by type; at run time an unread event may say otherwise, and must not pass for this one.
      return `gaussian ${event.sensitivity} ${event.noiseMultiplier}`;
    case 'poisson-gaussian':
      return `poisson-gaussian ${event.sampleRate} ${event.noiseMultiplier}`;
    case 'poisson-skellam':
      return `poisson-skellam ${event.sampleRate} ${event.l2} ${event.l1} ${event.variance}`;
    case 'not-private':
      return 'not-private';
    default:
      event satisfies never;
      return 'not-private';
  }
}

/**
 * Composes lists of events into one, run-length: equal mechanisms are added up, in order of first appearance.
 *
 * Guarantee: the cost is unchanged, since RDP composition is a sum and does not depend on order.
 */
export function composeEvents(...lists: readonly (readonly PrivacyEvent[])[]): PrivacyEvent[] {
  const merged = new Map<string, PrivacyEvent>();
  for (const event of lists.flat()) {
    const key = eventKey(event);
    const seen = merged.get(key);
    merged.set(key, seen === undefined ? readEvent(event) : withCount(seen, seen.count + event.count));
  }
  return [...merged.values()];
}
