/** Options of every command that reads folders of images. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { BURNED_IN } from '../shared/imaging/recipe-names.ts';
import { isLabelTag, LABEL_TAGS, type LabelTag, PLANES } from '../site-agent/imaging/reading-words.ts';
import { wholeNumber } from './options.ts';

/** Names of DICOM attributes that make the label, between commas. */
export function labelTags(text: string): LabelTag[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !isLabelTag(name));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`${unknown} is no attribute a label may come from: ${Object.keys(LABEL_TAGS).join(', ')}.`); // prettier-ignore
  return names.filter(isLabelTag);
}

export const withFolderReading = (command: Command): Command =>
  command
    .option('--labels <csv>', 'file, label and optionally patient and split of every image of a folder')
    .option(
      '--label-tag <names>',
      'DICOM attributes that make the label, with commas: BodyPartExamined,Modality',
      labelTags,
    )
    .option('--patient-folders', 'the folders inside a class are patients')
    .addOption(new Option('--burned-in <what>', 'what a picture with text in its pixels does').choices(BURNED_IN))
    .addOption(new Option('--plane <name>', 'how NIfTI volumes are cut').choices(PLANES))
    .option('--per-file <n>', 'frames or slices taken of one file, evenly', wholeNumber(1))
    .option('--every-pixel', 'decode JPEG 2000 at full size, also where the images are small');
