/** Values in [-1, 1] as the whole numbers of a file, and the optional visible mark among them. */
import { drawText, GLYPH_HEIGHT, newSheet, textWidth } from './font.ts';

export type Samples = Uint8Array | Uint16Array;

/** [n] in [-1, 1] to 0 up to 255 or 65,535, rounded; what is no number becomes 0. */
export function quantise(values: Float32Array, bits: 8): Uint8Array;
export function quantise(values: Float32Array, bits: 8 | 16): Samples;
export function quantise(values: Float32Array, bits: 8 | 16): Samples {
  const top = 2 ** bits - 1;
  const out = bits === 8 ? new Uint8Array(values.length) : new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const x = Math.round(((values[i] + 1) * top) / 2);
    out[i] = x >= top ? top : x > 0 ? x : 0;
  }
  return out;
}

const MARK = 'SYN';
const MARGIN = 1;

/**
 * Writes SYN in white on black into the lower right corner of [channels, size, size] samples, in place. It covers 19 × 9
 * pixels: an eighth of an image of 28 pixels a side, whatever was under it.
 */
export function drawMark(samples: Samples, size: number, channels: 1 | 3): void {
  const width = textWidth(MARK, 1) + 2 * MARGIN;
  const height = GLYPH_HEIGHT + 2 * MARGIN;
  const sheet = newSheet(width, height, [0, 0, 0]);
  drawText(sheet, MARK, MARGIN, MARGIN, 1, [255, 255, 255]);
  const top = samples instanceof Uint16Array ? 65_535 : 255;
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        samples[(c * size + size - height + y) * size + size - width + x] =
          sheet.rgb[3 * (y * width + x)] > 0 ? top : 0;
}
