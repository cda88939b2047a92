/** Poisson sampling as it holds at one site. */
import type { DeepReadonly } from './freeze.ts';
import type { Policy } from './schema.ts';

/** The numbers of Poisson sampling that hold at one site. */
export interface SiteSampling {
  readonly sampleRate: number;
  readonly expectedBatch: number;
  readonly maxBatch: number;
  /** The declared number of patients, and the most a site may have: expectedBatch over sampleRate. */
  readonly patientsAtMost: number;
}

/** Sampling at a site; the policy's own numbers for a site it does not name. */
export function samplingOf(policy: DeepReadonly<Policy>, siteId?: string): SiteSampling {
  const own = siteId === undefined ? undefined : policy.sites?.[siteId];
  const sampleRate = own?.sampleRate ?? policy.privacy.sampleRate;
  const expectedBatch = own?.expectedBatch ?? policy.privacy.expectedBatch;
  const maxBatch = own?.maxBatch ?? policy.privacy.maxBatch;
  // The quotient of two decimals may miss a whole number by a rounding error: 51.2 / 0.1 is 512 and not 511.99….
  const patientsAtMost = Math.max(1, Math.floor(expectedBatch / sampleRate + 1e-6));
  return { sampleRate, expectedBatch, maxBatch, patientsAtMost };
}
