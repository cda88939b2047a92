/**
 * A step's patients in fixed places: m image slots each, empty ones masked. The shape depends on public numbers alone.
 */
import type { GanConfig } from '../gan/config.ts';

/** One patient's images, each [channels, size, size] in [-1, 1], and the class of each. Private. */
export interface PatientImages {
  readonly images: readonly Float32Array[];
  readonly labels: ArrayLike<number>;
}

/** Private. Places for `patients` patients of `imagesPerPatient` images. */
export interface PatientBatch {
  readonly patients: number;
  readonly imagesPerPatient: number;
  /** [patients, m, channels, size, size]; zeros in empty slots. */
  readonly images: Float32Array;
  /** [patients, m, classes] one-hot; zeros in empty slots. */
  readonly labels: Float32Array;
  /** [patients, m]: 1 / images of the patient; 0 in empty slots. */
  readonly weights: Float32Array;
}

/**
 * Lays patients into places.
 *
 * Guarantee: a patient's slots depend on that patient alone. One whose images are not [channels, size, size] in [-1, 1],
 * or whose labels are none of the classes, is treated as absent and not reported: to throw would publish a fact. Images
 * beyond m are left out, and so are patients beyond `places`, which `samplePatients` never draws.
 *
 * @param places - how many; public. `padIntoMicroBatches` and the policy's `maxBatch` give it.
 */
export function layPatients(
  config: Pick<GanConfig, 'channels' | 'imageSize' | 'classes'>,
  places: number,
  imagesPerPatient: number,
  patients: readonly PatientImages[],
): PatientBatch {
  const each = config.channels * config.imageSize * config.imageSize;
  const slots = places * imagesPerPatient;
  const images = new Float32Array(slots * each);
  const labels = new Float32Array(slots * config.classes);
  const weights = new Float32Array(slots);
  patients.slice(0, places).forEach((patient, p) => {
    const kept = patient.images.slice(0, imagesPerPatient);
    const usable = kept.every((image, j) => {
      const label = patient.labels[j];
      const labelled = Number.isInteger(label) && label >= 0 && label < config.classes;
      return labelled && image.length === each && inRange(image);
    });
    if (!usable) return;
    kept.forEach((image, j) => {
      const slot = p * imagesPerPatient + j;
      images.set(image, slot * each);
      labels[slot * config.classes + patient.labels[j]] = 1;
      weights[slot] = 1 / kept.length;
    });
  });
  return { patients: places, imagesPerPatient, images, labels, weights };
}

/** Every value a number in [-1, 1]; a plain loop, since it runs over every pixel of every step. */
function inRange(image: Float32Array): boolean {
  for (let i = 0; i < image.length; i++) if (!(Math.abs(image[i]) <= 1)) return false;
  return true;
}
