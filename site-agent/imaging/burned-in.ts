/**
 * Text burned into pixels: what the file says of it, what a look at the pixels finds, and what is then done.
 *
 * The detector knows drawn text: characters in one tone, thin strokes, side by side on one line. It is no proof that a picture
 * holds none, and handwriting, or characters wider than 40 pixels, it does not see.
 */
import type { Picture } from '../../shared/imaging/picture.ts';
import type { BurnedIn } from '../../shared/imaging/recipe-names.ts';
import { unreadable } from './dicom/refuse.ts';
import type { FileFacts } from './frame.ts';
import { type Box, findText } from './text-detector.ts';

/** Modalities whose apparatus or workplace is known to write into the picture. */
const WRITTEN = new Set(['US', 'IVUS', 'ES', 'OT', 'XA', 'RF', 'DF', 'HC', 'SC', 'DOC', 'OP', 'PX']);

/** Whether the pixels of such a file are looked at. Photographs and files without a modality are not, unless they say so. */
export const mayHoldText = (facts: FileFacts, kind: 'raster' | 'dicom' | 'nifti'): boolean =>
  facts.burnedIn === true || (kind === 'dicom' && (facts.captured === true || WRITTEN.has(facts.modality ?? 'SC')));

/**
 * Refuses, paints over or lets pass.
 *
 * Guarantee: a picture whose file says YES to burned-in annotation passes under `mask` only when something was found to paint
 * over, and never under `refuse`.
 *
 * @throws {FedError} IMAGE_UNREADABLE
 */
export function settleBurnedIn(
  picture: Picture,
  facts: FileFacts,
  suspect: boolean,
  rule: BurnedIn,
): { picture: Picture; hidden: boolean } {
  if (rule === 'accept' || !suspect) return { picture, hidden: false };
  if (facts.burnedIn === true && rule === 'refuse') return unreadable('it says that text is burned into its pixels');
  const boxes = findText(greyBytes(picture), picture.width, picture.height);
  if (boxes.length === 0)
    return facts.burnedIn === true
      ? unreadable('it says that text is burned into its pixels, and none was found to paint over')
      : { picture, hidden: false };
  if (rule === 'refuse') return unreadable(`what looks like text is burned into its pixels, in ${boxes.length} places`);
  return { picture: paintedOver(picture, boxes), hidden: true };
}

/** [height · width], the brightest channel as it is shown. */
function greyBytes({ data, channels, range: [low, high] }: Picture): Uint8Array {
  const out = new Uint8Array(data.length / channels);
  const scale = 255 / (high - low);
  for (let i = 0; i < out.length; i++) {
    let x = -Infinity;
    for (let c = 0; c < channels; c++) if (data[i * channels + c] > x) x = data[i * channels + c];
    const byte = (x - low) * scale;
    out[i] = byte >= 255 ? 255 : byte > 0 ? byte : 0;
  }
  return out;
}

/** Boxes and a margin around them become black. */
function paintedOver(p: Picture, boxes: readonly Box[]): Picture {
  const data = Float64Array.from(p.data);
  for (const box of boxes) {
    const margin = Math.ceil((box.bottom - box.top) / 3) + 1;
    const [left, right] = [Math.max(0, box.left - margin), Math.min(p.width, box.right + margin)];
    for (let y = Math.max(0, box.top - margin); y < Math.min(p.height, box.bottom + margin); y++)
      data.fill(p.range[0], (y * p.width + left) * p.channels, (y * p.width + right) * p.channels);
  }
  return { ...p, data };
}
