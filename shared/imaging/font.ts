import { FedError } from '../errors.ts';

/**
 * A small 5 × 7 bitmap font, so that contact sheets have captions on machines without fonts.
 *
 * One row of text per pixel row, glyphs side by side; `#` is ink. Printable ASCII that is missing shows as `?`.
 */
const ROWS: readonly (readonly [glyphs: string, rows: readonly string[]])[] = [
  ['ABCDEFGHIJ', [
    '.###. ####. .###. ####. ##### ##### .###. #...# .###. ..###',
    '#...# #...# #...# #...# #.... #.... #...# #...# ..#.. ...#.',
    '#...# #...# #.... #...# #.... #.... #.... #...# ..#.. ...#.',
    '##### ####. #.... #...# ####. ####. #.### ##### ..#.. ...#.',
    '#...# #...# #.... #...# #.... #.... #...# #...# ..#.. ...#.',
    '#...# #...# #...# #...# #.... #.... #...# #...# ..#.. #..#.',
    '#...# ####. .###. ####. ##### #.... .###. #...# .###. .##..',
  ]],
  ['KLMNOPQRST', [
    '#...# #.... #...# #...# .###. ####. .###. ####. .#### #####',
    '#..#. #.... ##.## ##..# #...# #...# #...# #...# #.... ..#..',
    '#.#.. #.... #.#.# #.#.# #...# #...# #...# #...# #.... ..#..',
    '##... #.... #.#.# #..## #...# ####. #...# ####. .###. ..#..',
    '#.#.. #.... #...# #...# #...# #.... #.#.# #.#.. ....# ..#..',
    '#..#. #.... #...# #...# #...# #.... #..#. #..#. ....# ..#..',
    '#...# ##### #...# #...# .###. #.... .##.# #...# ####. ..#..',
  ]],
  ['UVWXYZ0123', [
    '#...# #...# #...# #...# #...# ##### .###. ..#.. .###. #####',
    '#...# #...# #...# #...# #...# ....# #...# .##.. #...# ...#.',
    '#...# #...# #...# .#.#. .#.#. ...#. #..## ..#.. ....# ..#..',
    '#...# #...# #.#.# ..#.. ..#.. ..#.. #.#.# ..#.. ..##. ...#.',
    '#...# #...# #.#.# .#.#. ..#.. .#... ##..# ..#.. .#... ....#',
    '#...# .#.#. ##.## #...# ..#.. #.... #...# ..#.. #.... #...#',
    '.###. ..#.. #...# #...# ..#.. ##### .###. .###. ##### .###.',
  ]],
  ['456789abcd', [
    '...#. ##### ..##. ##### .###. .###. ..... #.... ..... ....#',
    '..##. #.... .#... ....# #...# #...# ..... #.... ..... ....#',
    '.#.#. ####. #.... ...#. #...# #...# .###. ####. .###. .####',
    '#..#. ....# ####. ..#.. .###. .#### ....# #...# #.... #...#',
    '##### ....# #...# ..#.. #...# ....# .#### #...# #.... #...#',
    '...#. #...# #...# ..#.. #...# ...#. #...# #...# #...# #...#',
    '...#. .###. .###. ..#.. .###. .##.. .#### ####. .###. .####',
  ]],
  ['efghijklmn', [
    '..... ..##. ..... #.... ..#.. ...#. #.... .##.. ..... .....',
    '..... .#... ..... #.... ..... ..... #.... ..#.. ..... .....',
    '.###. ###.. .#### ####. .##.. ..##. #..#. ..#.. ##.#. ####.',
    '#...# .#... #...# #...# ..#.. ...#. #.#.. ..#.. #.#.# #...#',
    '##### .#... .#### #...# ..#.. ...#. ##... ..#.. #.#.# #...#',
    '#.... .#... ....# #...# ..#.. #..#. #.#.. ..#.. #.#.# #...#',
    '.###. .#... .###. #...# .###. .##.. #..#. .###. #.#.# #...#',
  ]],
  ['opqrstuvwx', [
    '..... ..... ..... ..... ..... .#... ..... ..... ..... .....',
    '..... ..... ..... ..... ..... .#... ..... ..... ..... .....',
    '.###. ####. .#### #.##. .#### ###.. #...# #...# #...# #...#',
    '#...# #...# #...# ##..# #.... .#... #...# #...# #...# .#.#.',
    '#...# ####. .#### #.... .###. .#... #...# #...# #.#.# ..#..',
    '#...# #.... ....# #.... ....# .#..# #..## .#.#. #.#.# .#.#.',
    '.###. #.... ....# #.... ####. ..##. .##.# ..#.. .#.#. #...#',
  ]],
  ['yz.,:-_/()', [
    '..... ..... ..... ..... ..... ..... ..... ....# ...#. .#...',
    '..... ..... ..... ..... .##.. ..... ..... ....# ..#.. ..#..',
    '#...# ##### ..... ..... .##.. ..... ..... ...#. .#... ...#.',
    '#...# ...#. ..... ..... ..... ##### ..... ..#.. .#... ...#.',
    '.#### ..#.. ..... .##.. .##.. ..... ..... .#... .#... ...#.',
    '....# .#... .##.. ..#.. .##.. ..... ..... #.... ..#.. ..#..',
    '.###. ##### .##.. .#... ..... ..... ##### #.... ...#. .#...',
  ]],
  ['+=%#<>?! &', [
    '..... ..... ##..# .#.#. ...#. .#... .###. ..#.. ..... .##..',
    '..#.. ..... ##..# .#.#. ..#.. ..#.. #...# ..#.. ..... #..#.',
    '..#.. ##### ...#. ##### .#... ...#. ....# ..#.. ..... #.#..',
    '##### ..... ..#.. .#.#. #.... ....# ...#. ..#.. ..... .#...',
    '..#.. ##### .#... ##### .#... ...#. ..#.. ..... ..... #.#.#',
    '..#.. ..... #..## .#.#. ..#.. ..#.. ..... ..... ..... #..#.',
    '..... ..... #..## .#.#. ...#. .#... ..#.. ..#.. ..... .##.#',
  ]],
]; // prettier-ignore

export const GLYPH_WIDTH = 6;
export const GLYPH_HEIGHT = 7;
/** These hang below the line. */
const DESCENDERS = { glyphs: 'gpqy', rows: 2 };

/** Seven rows of five characters each. */
function glyphOf(character: string): readonly string[] {
  for (const [glyphs, rows] of ROWS) {
    const at = glyphs.indexOf(character);
    if (at >= 0) return rows.map((row) => row.slice(at * 6, at * 6 + 5));
  }
  return character === '?' ? [] : glyphOf('?');
}

/** Width in pixels of a text at a scale, without the gap after its last glyph. */
export const textWidth = (text: string, scale: number): number => Math.max(0, text.length * GLYPH_WIDTH - 1) * scale;

/** A colour picture that text and images are drawn into. */
export interface Sheet {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3]. */
  readonly rgb: Uint8Array;
}

/** A sheet of one colour. @throws {FedError} PARAMETER_INVALID above 100 million pixels. */
export function newSheet(width: number, height: number, colour: readonly [number, number, number]): Sheet {
  if (!(width >= 1 && height >= 1 && width * height <= 1e8))
    throw new FedError('PARAMETER_INVALID', `a sheet of ${width} × ${height}`);
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < rgb.length; i++) rgb[i] = colour[i % 3];
  return { width, height, rgb };
}

/** Writes text with its top left corner at (x, y); what lies outside the sheet is left out. */
export function drawText(
  sheet: Sheet,
  text: string,
  x: number,
  y: number,
  scale: number,
  colour: readonly [number, number, number],
): void {
  [...text].forEach((character, k) => {
    const drop = DESCENDERS.glyphs.includes(character) ? DESCENDERS.rows : 0;
    glyphOf(character).forEach((row, gy) => {
      for (let gx = 0; gx < 5; gx++)
        if (row[gx] === '#')
          fill(sheet, x + (k * GLYPH_WIDTH + gx) * scale, y + (gy + drop) * scale, scale, scale, colour);
    });
  });
}

/** Fills a rectangle, cut at the sheet's borders. */
export function fill(
  sheet: Sheet,
  x: number,
  y: number,
  width: number,
  height: number,
  colour: readonly [number, number, number],
): void {
  for (let py = Math.max(0, y); py < Math.min(sheet.height, y + height); py++)
    for (let px = Math.max(0, x); px < Math.min(sheet.width, x + width); px++)
      sheet.rgb.set(colour, (py * sheet.width + px) * 3);
}
