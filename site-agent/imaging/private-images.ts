import { inspect } from 'node:util';
import { groupByPatient, type LabelledImages, type Patient } from '../../shared/imaging/images.ts';

declare const isPrivate: unique symbol;

/**
 * Step 1 of 9: images of patients, which never leave the site. Only `asPrivateImages` makes one.
 *
 * Guarantee: `JSON.stringify` throws and `console.log` shows no size, so that neither a message nor a log line
 * can carry one by accident. The number of images and of patients is private too.
 */
export interface PrivateImages extends LabelledImages {
  readonly [isPrivate]: true;
  readonly patientGroups: readonly Patient[];
  /** False when the dataset names no patients; then the unit of privacy is one image. */
  readonly patientsKnown: boolean;
}

const hide = (value: unknown): PropertyDescriptor => ({ value, enumerable: false });

/** Marks images as private and groups them by patient. */
export function asPrivateImages(images: LabelledImages, patientsKnown: boolean): PrivateImages {
  const marked = { ...images, patientGroups: groupByPatient(images), patientsKnown };
  return Object.defineProperties(marked, {
    toJSON: hide(() => {
      throw new TypeError('private images are never serialised');
    }),
    [inspect.custom]: hide(() => `PrivateImages { ${images.channels} x ${images.size} x ${images.size} }`),
  }) as unknown as PrivateImages;
}

/** Patients that a site leaves out from now on. */
export interface LeftOut {
  has(patient: string): boolean;
  /** Another number whenever the answer of `has` may have changed. */
  readonly version: number;
}

/**
 * The same images, where some patients are never drawn again.
 *
 * Guarantee: `patientGroups` follows `leftOut` from one access to the next, so a patient who is left out in the middle of
 * a run is in no batch and no sum that is begun later. What uses the images by patient needs to know nothing of it.
 */
export function withoutPatients(images: PrivateImages, leftOut: LeftOut): PrivateImages {
  let kept = { version: NaN, from: images.patientGroups, groups: images.patientGroups };
  const groups = (): readonly Patient[] => {
    const { version } = leftOut;
    // Who is left out of what this was made from is left out here, too.
    const from = images.patientGroups;
    if (kept.version !== version || kept.from !== from)
      kept = { version, from, groups: from.filter((patient) => !leftOut.has(patient.id)) };
    return kept.groups;
  };
  // Own properties are copied as they are, the hidden ones that refuse to be printed included.
  const copy = Object.defineProperties({}, Object.getOwnPropertyDescriptors(images));
  return Object.defineProperty(copy, 'patientGroups', { get: groups, enumerable: true }) as PrivateImages;
}
