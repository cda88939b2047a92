import { FedError } from '../errors.ts';
import { drawText, GLYPH_HEIGHT, newSheet, type Sheet, textWidth } from './font.ts';
import { imageAt, type LabelledImages, toBytes } from './images.ts';
import { encodePng } from './png.ts';
import { resamplePlane } from './resample.ts';

export interface GridOptions {
  /** Shown on the strip above. */
  readonly title?: string;
  /** Images of each class, one row per class. Default 10. */
  readonly columns?: number;
  /** Screen pixels per image pixel, a whole number; by default about 84 screen pixels an image. */
  readonly scale?: number;
  /** `nearest` shows the pixels as they are, `smooth` enlarges with Lanczos. Default `nearest`. */
  readonly enlarge?: 'nearest' | 'smooth';
}

const PAPER = [250, 250, 250] as const;
const INK = [30, 30, 30] as const;
const TEXT_SCALE = 2;
const GAP = 2;
const MARGIN = 8;
const STRIP = GLYPH_HEIGHT * TEXT_SCALE + 2 * MARGIN;

/**
 * A contact sheet: one row per class with its name, the first `columns` images of the class in it.
 *
 * Shows pixels. Only images that are public, synthetic or phantoms may be given to it.
 *
 * @returns a PNG. @throws {FedError} PARAMETER_INVALID.
 */
export const gridPng = (images: LabelledImages, options: GridOptions = {}): Buffer => toPng(panel(images, options));

/**
 * Two contact sheets side by side, for instance synthetic images beside phantoms or a public set.
 *
 * @param p.title - on a strip above both; each panel has its own title besides. @throws {FedError} PARAMETER_INVALID.
 */
export function twoPanelPng(
  left: { images: LabelledImages; title: string },
  right: { images: LabelledImages; title: string },
  p: GridOptions = {},
): Buffer {
  const { title, ...shared } = p;
  const sheets = [left, right].map((side) => panel(side.images, { ...shared, title: side.title }));
  const top = title ? STRIP : 0;
  const width = Math.max(
    sheets[0].width + sheets[1].width + MARGIN,
    title ? textWidth(title, TEXT_SCALE) + 2 * MARGIN : 0,
  );
  const out = newSheet(width, top + Math.max(...sheets.map((s) => s.height)), PAPER);
  if (title) drawText(out, title, MARGIN, MARGIN, TEXT_SCALE, INK);
  paste(out, sheets[0], 0, top);
  paste(out, sheets[1], sheets[0].width + MARGIN, top);
  return toPng(out);
}

const toPng = ({ rgb, width, height }: Sheet): Buffer => encodePng(rgb, width, height, 3);

function panel(images: LabelledImages, options: GridOptions): Sheet {
  const { title, columns = 10, scale = Math.max(1, Math.round(84 / images.size)), enlarge = 'nearest' } = options;
  if (!(Number.isInteger(columns) && columns >= 1 && columns <= 1000))
    throw new FedError('PARAMETER_INVALID', `columns=${columns}`);
  if (!(Number.isInteger(scale) && scale >= 1 && scale <= 32))
    throw new FedError('PARAMETER_INVALID', `scale=${scale}`);
  const rows = images.classNames.map((): number[] => []);
  images.labels.forEach((label, i) => {
    if (rows[label].length < columns) rows[label].push(i);
  });
  const cell = images.size * scale + GAP;
  const names = Math.max(...images.classNames.map((name) => textWidth(name, TEXT_SCALE))) + 2 * MARGIN;
  const top = title ? STRIP : MARGIN;
  const width = Math.max(names + columns * cell + MARGIN, title ? textWidth(title, TEXT_SCALE) + 2 * MARGIN : 0);
  const sheet = newSheet(width, top + rows.length * cell + MARGIN, PAPER);
  if (title) drawText(sheet, title, MARGIN, MARGIN, TEXT_SCALE, INK);
  rows.forEach((row, r) => {
    const y = top + r * cell;
    drawText(
      sheet,
      images.classNames[r],
      MARGIN,
      y + Math.floor((cell - GLYPH_HEIGHT * TEXT_SCALE) / 2),
      TEXT_SCALE,
      INK,
    );
    row.forEach((i, c) => paste(sheet, enlarged(images, i, scale, enlarge), names + c * cell, y));
  });
  return sheet;
}

/** Image i as a colour picture of `size · scale` pixels. */
function enlarged(images: LabelledImages, i: number, scale: number, how: 'nearest' | 'smooth'): Sheet {
  const { size, channels } = images;
  const edge = size * scale;
  const values = imageAt(images, i);
  const planes = Array.from({ length: channels }, (_, c) => {
    const plane = values.subarray(c * size * size, (c + 1) * size * size);
    return toBytes(
      how === 'smooth' ? Float32Array.from(resamplePlane(Float64Array.from(plane), size, size, edge)) : plane,
    );
  });
  const step = how === 'smooth' ? 1 : scale;
  const line = edge / step;
  const rgb = new Uint8Array(edge * edge * 3);
  for (let y = 0; y < edge; y++)
    for (let x = 0; x < edge; x++)
      for (let c = 0; c < 3; c++)
        rgb[(y * edge + x) * 3 + c] = planes[c % channels][Math.floor(y / step) * line + Math.floor(x / step)];
  return { width: edge, height: edge, rgb };
}

function paste(to: Sheet, from: Sheet, x: number, y: number): void {
  for (let row = 0; row < from.height; row++)
    to.rgb.set(from.rgb.subarray(row * from.width * 3, (row + 1) * from.width * 3), ((y + row) * to.width + x) * 3);
}
