/** Lines of drawn text in a grey picture, by the shapes of characters and how they stand beside each other. */

/** Left and top belong to it, right and bottom do not. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Strokes are thinner than twice this, in pixels. */
const STROKE = 4;
/** Least contrast of a stroke against its surroundings, of 255. */
const CONTRAST = 64;
const HEIGHT = { least: 5, most: 40 } as const;
const MOST_WIDE = 60;
/** Characters in a line that make it text: a marker of one or two letters names nobody. */
const CHARACTERS = 4;
/** Beside text that was found, shorter groups are text as well. */
const CHARACTERS_BESIDE = 2;
/** Larger pictures are looked at in part only up to this many pieces of ink. */
const MOST_PIECES = 20_000;

/**
 * @param grey - [height · width]
 * @returns boxes around lines of at least four characters, light on dark or dark on light, and where there is such a line,
 *   around groups of two and more.
 */
export function findText(grey: Uint8Array, width: number, height: number): Box[] {
  const inverse = grey.map((x) => 255 - x);
  const lines = [grey, inverse].flatMap((g) => linesOf(inkOf(g, width, height), g, width, height));
  const sure = lines.some((line) => isText(line, CHARACTERS));
  return sure ? lines.filter((line) => isText(line, CHARACTERS_BESIDE)).map(boxAround) : [];
}

/** 1 where a pixel is brighter than all around it but a thin stroke: the white top-hat with a square. */
function inkOf(grey: Uint8Array, width: number, height: number): Uint8Array {
  const eroded = slide(grey, width, height, true);
  const opened = slide(eroded, width, height, false);
  return grey.map((x, i) => (x - opened[i] >= CONTRAST ? 1 : 0));
}

/** The least or largest value in a square of 2 · STROKE + 1 = 9: of two, of four, of eight, and the ninth; by rows, then by columns. */
function slide(grey: Uint8Array, width: number, height: number, isMin: boolean): Uint8Array {
  const wide = width + 2 * STROKE;
  const tall = height + 2 * STROKE;
  // The edge is repeated outwards, so that windows never meet the next row.
  let now = new Uint8Array(wide * tall);
  for (let y = 0; y < tall; y++) {
    const from = Math.min(height - 1, Math.max(0, y - STROKE)) * width;
    now.set(grey.subarray(from, from + width), y * wide + STROKE);
    now.fill(grey[from], y * wide, y * wide + STROKE);
    now.fill(grey[from + width - 1], y * wide + STROKE + width, (y + 1) * wide);
  }
  let next = new Uint8Array(now.length);
  for (const step of [1, wide]) {
    const first = now;
    for (const reach of [1, 2, 4, 8]) {
      // The last pass looks at the values themselves again: eight and one.
      const other = reach === 8 ? first : now;
      const end = now.length - reach * step;
      for (let i = 0; i < end; i++) {
        const [a, b] = [now[i], other[i + reach * step]];
        next[i] = a < b === isMin ? a : b;
      }
      const free = now === first ? new Uint8Array(now.length) : now;
      now = next;
      next = free;
    }
  }
  const out = new Uint8Array(grey.length);
  for (let y = 0; y < height; y++) out.set(now.subarray(y * wide, y * wide + width), y * width);
  return out;
}

interface Piece extends Box {
  readonly area: number;
}

/** Connected pieces of ink, eight neighbours, that could be characters. */
function piecesOf(ink: Uint8Array, grey: Uint8Array, width: number, height: number): Piece[] {
  const left = ink.slice();
  const pieces: Piece[] = [];
  const stack: number[] = [];
  for (let start = 0; start < left.length && pieces.length < MOST_PIECES; start++) {
    if (left[start] === 0) continue;
    let [minX, maxX, minY, maxY, area, bright] = [width, 0, height, 0, 0, 0];
    const tones: number[] = [];
    stack.push(start);
    left[start] = 0;
    while (stack.length > 0) {
      const at = stack.pop()!;
      const [x, y] = [at % width, Math.floor(at / width)];
      area++;
      if (tones.length < 2048) tones.push(grey[at]);
      if (grey[at] > bright) bright = grey[at];
      minX = Math.min(minX, x);
      maxX = Math.max(maxX, x);
      minY = Math.min(minY, y);
      maxY = Math.max(maxY, y);
      for (let dy = -1; dy <= 1; dy++)
        for (let dx = -1; dx <= 1; dx++) {
          const [nx, ny] = [x + dx, y + dy];
          if (nx < 0 || ny < 0 || nx >= width || ny >= height || left[ny * width + nx] === 0) continue;
          left[ny * width + nx] = 0;
          stack.push(ny * width + nx);
        }
    }
    const [w, h] = [maxX - minX + 1, maxY - minY + 1];
    // Drawn in one tone: most of the ink is near the brightest of it.
    const uniform = tones.filter((tone) => tone >= bright - 48).length / tones.length;
    const fill = area / (w * h);
    if (
      h >= HEIGHT.least &&
      h <= HEIGHT.most &&
      w <= MOST_WIDE &&
      w <= 2.5 * h &&
      fill >= 0.12 &&
      fill <= 0.98 &&
      uniform >= 0.5
    )
      // prettier-ignore
      pieces.push({ left: minX, right: maxX + 1, top: minY, bottom: maxY + 1, area });
  }
  return pieces;
}

/** Pieces in a row: alike in height, on one baseline or under one top line, near each other. */
function linesOf(ink: Uint8Array, grey: Uint8Array, width: number, height: number): Piece[][] {
  const pieces = piecesOf(ink, grey, width, height).toSorted((a, b) => a.left - b.left);
  const lines: Piece[][] = [];
  for (const piece of pieces) {
    const line = lines.findLast((candidate) => follows(candidate, piece));
    if (line) line.push(piece);
    else lines.push([piece]);
  }
  return lines;
}

const boxAround = (line: readonly Piece[]): Box => ({
  left: Math.min(...line.map((p) => p.left)),
  top: Math.min(...line.map((p) => p.top)),
  right: Math.max(...line.map((p) => p.right)),
  bottom: Math.max(...line.map((p) => p.bottom)),
});

function follows(line: readonly Piece[], piece: Piece): boolean {
  const last = line[line.length - 1];
  const [h, lastH] = [piece.bottom - piece.top, last.bottom - last.top];
  const gap = piece.left - last.right;
  if (gap > 1.5 * Math.max(h, lastH) || gap < -0.3 * lastH) return false;
  if (h > 1.8 * lastH || lastH > 1.8 * h) return false;
  return Math.abs(piece.bottom - last.bottom) <= 0.2 * lastH + 1 || Math.abs(piece.top - last.top) <= 0.2 * lastH;
}

function isText(line: readonly Piece[], least: number): boolean {
  if (line.length < least) return false;
  const share = (values: number[]): number => {
    const middle = values.toSorted((a, b) => a - b)[values.length >> 1];
    return values.filter((v) => Math.abs(v - middle) <= 1).length / values.length;
  };
  return Math.max(share(line.map((p) => p.bottom)), share(line.map((p) => p.top))) >= 0.6;
}
