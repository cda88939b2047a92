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
