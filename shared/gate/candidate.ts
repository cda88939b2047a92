/**
 * The candidate of a release: the generator that would leave, and which of its images are judged. Seed and class counts
 * follow from the run, the policy and the generator, so that nobody can try seeds until the images look harmless.
 */
import { z } from 'zod';
import { hashJson } from '../audit/canonical.ts';
import type { DeepReadonly } from '../policy/freeze.ts';
import type { Policy } from '../policy/schema.ts';
import { labelDistribution } from '../policy/views.ts';
import { Sha256Hex } from '../protocol/plan.ts';

export const Candidate = z.strictObject({
  runId: z.uuid(),
  policySha256: Sha256Hex,
  /** Of the weights after the last round, as the log has them. */
  generatorSha256: Sha256Hex,
  /** Of what is released: the averaged weights and the fixed batch statistics behind them, float32, little-endian. */
  releasedSha256: Sha256Hex,
  bytes: z.int().min(4),
  /** What the images that are judged are drawn with. */
  seed: Sha256Hex,
  /** Images of each class. */
  counts: z.array(z.int().min(0)).min(1),
});
export type Candidate = z.infer<typeof Candidate>;

/** A candidate's name: SHA-256 of its canonical JSON. This is what people sign. */
export const candidateSha256 = (candidate: Candidate): string => hashJson(candidate);

/** The candidate that a generator is, and no other. */
export function candidateOf(
  policy: DeepReadonly<Policy>,
  of: Pick<Candidate, 'runId' | 'policySha256' | 'generatorSha256' | 'releasedSha256' | 'bytes'>,
): Candidate {
  const { runId, policySha256, generatorSha256, releasedSha256, bytes } = of;
  const named = { runId, policySha256, generatorSha256, releasedSha256 };
  const seed = hashJson({ purpose: 'veilgan/release-gate/1', ...named });
  return { ...named, bytes, seed, counts: countsOf(policy) };
}

/** Images of each class among those that are judged; the largest class takes what rounding leaves. */
function countsOf(policy: DeepReadonly<Policy>): number[] {
  const images = policy.release.gate?.images ?? 0;
  const shares = labelDistribution(policy);
  const counts = shares.map((share) => Math.round(share * images));
  counts[shares.indexOf(Math.max(...shares))] += images - counts.reduce((sum, n) => sum + n, 0);
  return counts;
}

/** [images] labels in the order the images are drawn: class after class. */
export const candidateLabels = ({ counts }: Pick<Candidate, 'counts'>): Int32Array =>
  Int32Array.from(counts.flatMap((n, k) => Array<number>(n).fill(k)));
