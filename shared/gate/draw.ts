/** The images that are judged: every party draws the same ones, from the generator by its digest and the candidate. */
import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { type Gan, openGan } from '../gan/registry.ts';
import { calibrated, sampleImages } from '../gan/released-images.ts';
import type { LabelledImages } from '../imaging/images.ts';
import type { CheckedPolicy } from '../policy/load.ts';
import { ganConfigOf, labelDistribution } from '../policy/views.ts';
import { type Candidate, candidateLabels } from './candidate.ts';

/** What is released of a generator: [averaged weights, then the fixed statistics of its batch normalisations]. */
export async function releasedValues(
  engine: Engine,
  policy: CheckedPolicy,
  average: Float32Array,
): Promise<Float32Array> {
  const gan = openGan(ganConfigOf(policy));
  const statistics = await calibrated(engine, gan, average, labelDistribution(policy));
  const released = new Float32Array(average.length + statistics.length);
  released.set(average);
  released.set(statistics, average.length);
  return released;
}

/** The two parts again. @throws {FedError} PARAMETER_INVALID for another length; GENERATOR_NOT_FINITE. */
export function splitReleased(gan: Gan, released: Float32Array): { weights: Float32Array; statistics: Float32Array } {
  const { layout, statistics } = gan.generator;
  if (released.length !== layout.length + statistics.length)
    throw new FedError('PARAMETER_INVALID', `a generator of ${released.length} values`);
  if (!released.every((x) => Number.isFinite(x)))
    throw new FedError('GENERATOR_NOT_FINITE', 'a generator with a value that is not finite');
  return { weights: released.subarray(0, layout.length), statistics: released.subarray(layout.length) };
}

/**
 * Guarantee: every pixel is a finite number. Finite weights alone do not give that: large ones overflow on the way, and what
 * becomes of it is the engine's affair. An image of no numbers has no distance to anything, so it would be nobody's copy.
 * @throws {FedError} PARAMETER_INVALID for another length; GENERATOR_NOT_FINITE.
 */
export async function drawCandidate(
  engine: Engine,
  policy: CheckedPolicy,
  released: Float32Array,
  candidate: Candidate,
): Promise<LabelledImages> {
  const gan = openGan(ganConfigOf(policy));
  const parts = splitReleased(gan, released);
  const labels = candidateLabels(candidate);
  const { classes: classNames } = policy.model;
  const images = await sampleImages({ engine, gan, ...parts, labels, classNames, seed: candidate.seed });
  requireFinite(images.pixels);
  return images;
}

/** Of drawn images, which are public. @throws {FedError} GENERATOR_NOT_FINITE */
export function requireFinite(pixels: Float32Array): void {
  if (!pixels.every((x) => Number.isFinite(x)))
    throw new FedError('GENERATOR_NOT_FINITE', 'a generator that draws pixels which are not finite');
}
