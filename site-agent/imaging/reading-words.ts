/** Words for how files are read, which options and readers share. Nothing is imported here, so that a command's help is quick. */

/** How volumes are cut. */
export const PLANES = ['axial', 'coronal', 'sagittal'] as const;
export type Plane = (typeof PLANES)[number];

/** Coded DICOM attributes that may be labels. Free text, names, numbers and dates are not among them, whoever asks. */
export const LABEL_TAGS = {
  Modality: 'x00080060',
  BodyPartExamined: 'x00180015',
  ViewPosition: 'x00185101',
  Laterality: 'x00200060',
  ImageLaterality: 'x00200062',
  PatientSex: 'x00100040',
  PatientPosition: 'x00185100',
  ScanningSequence: 'x00180020',
} as const satisfies Record<string, string>;
export type LabelTag = keyof typeof LABEL_TAGS;

export const isLabelTag = (name: string): name is LabelTag => Object.hasOwn(LABEL_TAGS, name);
