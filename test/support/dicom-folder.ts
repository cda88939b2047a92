/** DICOM files of phantoms for tests: one a patient, as an archive would hold them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { imageAt, toBytes } from '../../shared/imaging/images.ts';
import { type PhantomClass, phantomImages } from '../../shared/imaging/phantom.ts';
import { dicomFile, type Elements, greyImage, SYNTAX } from './dicom-write.ts';

export interface FolderOfPhantoms {
  readonly patients: number;
  readonly site: string;
  readonly classes: readonly PhantomClass[];
  /** More elements of every file. */
  readonly more?: (patient: string, label: string) => Elements;
}

/** Body parts as DICOM codes them: the class in capitals. */
export const bodyPart = (label: string): string => label.toUpperCase().replaceAll('-', ' ');

/** Writes `STUDYn/IMn` without extensions, in three transfer syntaxes by turns. @returns the files. */
export function writeDicomPhantoms(folder: string, o: FolderOfPhantoms): string[] {
  const images = phantomImages({ size: 28, channels: 1, seed: 'dicom folder', patients: o.patients, site: o.site, classes: o.classes }); // prettier-ignore
  return images.patients.map((patient, i) => {
    const label = images.classNames[images.labels[i]];
    // Stored in 12 bits with a slope, so that reading without it would show.
    const values = Array.from(toBytes(imageAt(images, i)), (x) => x * 16);
    const elements: Elements = {
      ...greyImage(values, 28, { stored: 12 }),
      '00080016': ['UI', '1.2.840.10008.5.1.4.1.1.2'],
      '00080060': ['CS', 'CT'],
      '00100020': ['LO', `${o.site}-${patient}`],
      '00180015': ['CS', bodyPart(label)],
      '00281052': ['DS', '-160'],
      '00281053': ['DS', `${400 / 4080}`],
      ...o.more?.(patient, label),
    };
    const dir = path.join(folder, `STUDY${i % 5}`);
    mkdirSync(dir, { recursive: true });
    const file = path.join(dir, `IM${i}`);
    writeFileSync(file, dicomFile(elements, [SYNTAX.explicit, SYNTAX.implicit, SYNTAX.deflated][i % 3]));
    return file;
  });
}
