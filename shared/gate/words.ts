/** From scores of patients to a site's two words: one clipped sum, noise once, and a comparison with public numbers. */
import type { LatticeGaussian } from '../dp/gaussian.ts';
import { type ClippedSum, dangerouslyTrustAsClippedSum, privatize } from '../dp/noised.ts';
import type { DeepReadonly } from '../policy/freeze.ts';
import type { ReleaseGate } from '../policy/gate-schema.ts';
import type { GateWords, Word } from './outcome.ts';
import { questionWeights } from './error-rates.ts';
import type { PatientScore } from './scores.ts';

/**
 * The three sums of `error-rates.ts`: PRIVATE.
 *
 * Guarantee: one patient more or less, on either side, moves the vector by at most 1. Every score is brought into its
 * range, and what is no number counts as the end of it that speaks against the candidate: near for a patient who was
 * trained on, far for one who was not.
 * @returns [copies, membership, size]
 */
export function gateSum(
  gate: DeepReadonly<ReleaseGate>,
  training: readonly PatientScore[],
  heldOut: readonly PatientScore[],
): ClippedSum {
  const w = questionWeights(gate);
  const { shareAtMost } = gate.memorisation;
  const { advantageAtMost } = gate.membership;
  const sums = new Float64Array(3);
  for (const { copied, nearness } of training) {
    sums[0] += w.copies * ((copied ? 1 : 0) - shareAtMost);
    sums[1] += w.membership * w.ratio * (within(nearness, 1) - 2 * advantageAtMost);
    sums[2] += w.size;
  }
  for (const { nearness } of heldOut) {
    sums[1] -= w.membership * within(nearness, -1);
    sums[2] += w.size;
  }
  return dangerouslyTrustAsClippedSum(sums, 1);
}

/**
 * One Gaussian release at the policy's noise, then post-processing: what comes back may leave.
 *
 * The bounds are in the sums already, so both questions are "above 0?"; the third sum says whether the site is large
 * enough for that to mean anything.
 */
export function gateWords(gate: DeepReadonly<ReleaseGate>, sum: ClippedSum, gaussian: LatticeGaussian): GateWords {
  const { noiseMultiplier, leastPatients } = gate;
  const { values } = privatize(sum, { clipNorm: 1, noiseMultiplier }, gaussian);
  const [copies, membership, size] = values;
  const enough = size >= leastPatients * questionWeights(gate).size;
  const word = (value: number): Word => (!enough ? 'cannot-tell' : value <= 0 ? 'no' : 'yes');
  return { kind: 'answered', memorisation: word(copies), membership: word(membership) };
}

const within = (nearness: number, otherwise: 1 | -1): number =>
  Number.isNaN(nearness) ? otherwise : Math.max(-1, Math.min(1, nearness));
