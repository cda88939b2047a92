/**
 * A site's own bounds: the most it will agree to, in a file of its own. Bounds can only decline a policy; they never
 * change one, and nothing is merged. A decline tells the coordinator which bound stands against it, and its value.
 */
import { z } from 'zod';
import { FedError } from '../errors.ts';
import { epsilonOfPolicy, samplingOf } from './cost.ts';
import type { DeepReadonly } from './freeze.ts';
import { type Policy, SCHEMES } from './schema.ts';

/** Every bound a site can set. All must be written down: a bound that is left out would be one nobody decided on. */
export const SiteBounds = z.strictObject({
  $schema: z.string().optional(),
  maxEpsilon: z.number().gt(0).describe('For one run, as its own steps spend it.'),
  maxDelta: z.number().gt(0).lt(1),
  minNoiseToSampleRate: z
    .number()
    .min(0)
    .describe('Least noiseMultiplier over sampleRate: a guard that needs no accountant.'),
  maxSteps: z.int().min(1),
  maxImagesPerPatient: z.int().min(1),
  minSites: z.int().min(1),
  minSurvivors: z.int().min(1),
  schemes: z.array(z.enum(SCHEMES)).min(1),
  pooled: z
    .strictObject({ minColluders: z.int().min(1).describe('So many colluding sites the noise must stand, at least.') })
    .optional()
    .describe('Whether this site’s noise may be a share: absent, a policy that pools the discriminator is declined.'),
  allowInsecure: z.boolean().describe('Whether a run without any privacy may use this data. Demonstrations only.'),
  lifetime: z
    .strictObject({ epsilon: z.number().gt(0), delta: z.number().gt(0).lt(1) })
    .describe('What all runs together may spend on a patient of this site; held by the ledger.'),
});
export type SiteBounds = z.infer<typeof SiteBounds>;

/** One setting a site declines. `policy` and `bound` are the two values, `sentence` says it to a person. */
export interface Breach {
  readonly path: string;
  readonly policy: number | string;
  readonly bound: number | string;
  readonly sentence: string;
}

/**
 * What in the policy is outside a site's bounds; empty when the site agrees.
 *
 * Guarantee: fails closed. A value that cannot be compared (NaN, no mechanism) is a breach. Uses the numbers that hold
 * at this site.
 */
export function checkBounds(policy: DeepReadonly<Policy>, bounds: SiteBounds, siteId?: string): Breach[] {
  const { privacy, aggregation } = policy;
  const found: Breach[] = [];
  const atMost = (path: string, value: number, bound: number, noun: string) => {
    if (!(value <= bound))
      found.push(breach(path, value, bound, `${noun} is ${show(value)}; this site allows at most ${show(bound)}.`));
  };
  const atLeast = (path: string, value: number, bound: number, noun: string) => {
    if (!(value >= bound))
      found.push(breach(path, value, bound, `${noun} is ${show(value)}; this site asks for at least ${show(bound)}.`));
  };

  if (privacy.mechanism === 'dp-sgd') {
    atMost('privacy.epsilon', epsilonOfPolicy(policy, siteId).epsilon, bounds.maxEpsilon, 'The epsilon of a whole run');
    atMost('privacy.delta', privacy.delta, bounds.maxDelta, 'Delta');
    const ratio = privacy.noiseMultiplier / samplingOf(policy, siteId).sampleRate;
    atLeast('privacy.noiseMultiplier', ratio, bounds.minNoiseToSampleRate, 'The noise multiplier over the sample rate');
  } else if (!bounds.allowInsecure) {
    const sentence = 'The policy has no privacy mechanism; this site does not take part without one.';
    found.push(breach('privacy.mechanism', privacy.mechanism, 'dp-sgd', sentence));
  }
  atMost('privacy.maxSteps', privacy.maxSteps, bounds.maxSteps, 'The number of private steps');
  atMost(
    'privacy.imagesPerPatient',
    privacy.imagesPerPatient,
    bounds.maxImagesPerPatient,
    'The number of images of one patient',
  );
  atLeast('aggregation.minSites', aggregation.minSites, bounds.minSites, 'The fewest sites of a round');
  atLeast('aggregation.minSurvivors', aggregation.minSurvivors, bounds.minSurvivors, 'The fewest updates in a sum');
  const { pooled } = policy;
  if (policy.placement === 'pooled' && bounds.pooled === undefined) {
    const sentence = 'Each site adds a share of the noise only; this site adds all of it or does not take part.';
    found.push(breach('placement', policy.placement, 'local', sentence));
  } else if (policy.placement === 'pooled' && bounds.pooled !== undefined)
    atLeast('pooled.maxColluders', pooled?.maxColluders ?? 0, bounds.pooled.minColluders, 'The sites that may collude');
  if (!bounds.schemes.includes(aggregation.scheme)) {
    const list = bounds.schemes.join(', ');
    const sentence = `Updates are added up by "${aggregation.scheme}"; this site allows ${list}.`;
    found.push(breach('aggregation.scheme', aggregation.scheme, list, sentence));
  }
  return found;
}

/** @throws {FedError} BOUNDS_EXCEEDED with one sentence a line, when a site does not agree. */
export function requireWithinBounds(policy: DeepReadonly<Policy>, bounds: SiteBounds, siteId?: string): void {
  const found = checkBounds(policy, bounds, siteId);
  if (found.length > 0) throw new FedError('BOUNDS_EXCEEDED', found.map((b) => `${b.path}: ${b.sentence}`).join('\n'));
}

const breach = (path: string, policy: number | string, bound: number | string, sentence: string): Breach =>
  Object.freeze({ path, policy, bound, sentence });

const show = (value: number): string => (Number.isInteger(value) ? `${value}` : `${Number(value.toPrecision(4))}`);
