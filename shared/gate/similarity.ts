/** How alike a candidate's images are within a class: measured on synthetic images alone, so it costs nothing. */
import type { Engine } from '../engine/program.ts';
import { withinClassSimilarity } from '../metrics/ms-ssim.ts';
import type { CheckedPolicy } from '../policy/load.ts';
import type { Candidate } from './candidate.ts';
import { drawCandidate } from './draw.ts';

/** @returns [classes] mean MS-SSIM of random pairs; null where a class has fewer than two images. */
export async function candidateSimilarity(
  engine: Engine,
  policy: CheckedPolicy,
  released: Float32Array,
  candidate: Candidate,
): Promise<(number | null)[]> {
  const images = await drawCandidate(engine, policy, released, candidate);
  return withinClassSimilarity(images, { seed: candidate.seed }).map(({ similarity, pairs }) =>
    pairs === 0 ? null : similarity,
  );
}
