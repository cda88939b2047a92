/**
 * How stored intensities become black and white. A recipe is a list of named steps; a consortium names one recipe for all,
 * since a window that differs between sites would teach the generator the sites.
 */
import type { PixelArray, Picture } from '../../shared/imaging/picture.ts';
import { RECIPE_NAMES, type RecipeName } from '../../shared/imaging/recipe-names.ts';
import { shadesOfGrey } from './colour-constancy.ts';
import { unreadable } from './dicom/refuse.ts';
import type { DisplayWindow, Frame } from './frame.ts';

/** A frame on its way to a picture. */
interface Shown {
  readonly data: PixelArray;
  readonly range?: readonly [low: number, high: number];
}
type Step = (shown: Shown, frame: Frame) => Shown;

/** The values a window shows as black and white, everything between on a line (PS3.3 C.11.2.1.2.1 and .3.1). */
export function windowRange({ center, width, shape }: DisplayWindow): [low: number, high: number] {
  if (shape !== 'linear') return [center - width / 2, center + width / 2];
  const half = (width - 1) / 2;
  // A width of 1 is a threshold; the step is put within half a unit of it.
  return half > 0 ? [center - 0.5 - half, center - 0.5 + half] : [center - 0.75, center - 0.25];
}

/** A fixed window, in the unit of the file. */
const window =
  (center: number, width: number): Step =>
  (shown) => ({ ...shown, range: windowRange({ center, width, shape: 'linear-exact' }) });

/** The file's own display: its table, else its first window. Does nothing when it has neither. */
const fileDisplay: Step = (shown, { table, windows }) => {
  if (table !== undefined) {
    const last = table.entries.length - 1;
    const data = Uint16Array.from(
      shown.data,
      (x) => table.entries[Math.min(last, Math.max(0, Math.round(x) - table.first))],
    );
    return { data, range: [0, table.max] };
  }
  const first = windows[0];
  if (first === undefined) return shown;
  if (first.shape !== 'sigmoid') return { ...shown, range: windowRange(first) };
  const { center, width } = first;
  return { data: Float32Array.from(shown.data, (x) => 1 / (1 + Math.exp((-4 * (x - center)) / width))), range: [0, 1] };
};

/** From one percentile of the picture to another, padding left out. Does nothing when a range is there already. */
const percentiles =
  (low: number, high: number): Step =>
  (shown, frame) =>
    shown.range === undefined
      ? { ...shown, range: quantiles(shown.data, frame.padding, [low / 100, high / 100]) }
      : shown;

/** All that a value can be, or all that occur. Does nothing when a range is there already. */
const fullRange: Step = (shown, frame) =>
  shown.range === undefined
    ? { ...shown, range: frame.fullRange ?? quantiles(shown.data, frame.padding, [0, 1]) }
    : shown;

/** MONOCHROME1 turned around, so that dense is bright in every radiograph. */
const invert: Step = (shown, { inverted }) => {
  const { range, data } = shown;
  if (!inverted || range === undefined) return shown;
  const sum = range[0] + range[1];
  return { range, data: Float32Array.from(data, (x) => sum - x) };
};

const constantColour: Step = (shown, { channels }) =>
  channels === 3 && shown.range !== undefined ? { ...shown, data: shadesOfGrey(shown.data, shown.range, 6) } : shown;

const DISPLAY: readonly Step[] = [fileDisplay, fullRange, invert];

/** Windows in Hounsfield units as radiology texts give them; center, width. */
const RECIPES: Record<Exclude<RecipeName, 'by-modality'>, readonly Step[]> = {
  'as-displayed': DISPLAY,
  'full-range': [fullRange, invert],
  'ct-soft-tissue': [window(40, 400)],
  'ct-lung': [window(-600, 1500)],
  'ct-bone': [window(400, 1800)],
  'ct-brain': [window(40, 80)],
  percentiles: [percentiles(1, 99), invert],
  'mr-percentile': [percentiles(1, 99)],
  xray: [fileDisplay, percentiles(1, 99), invert],
  'colour-constancy': [fullRange, constantColour],
};

const XRAY = ['CR', 'DX', 'MG', 'RG', 'RF', 'XA', 'PX', 'IO'];
const SKIN = ['XC', 'DMS', 'GM'];

/** The recipe that `by-modality` stands for. A volume without a modality takes percentiles. */
export function recipeFor(
  modality: string | undefined,
  kind: 'dicom' | 'nifti' | 'raster',
): Exclude<RecipeName, 'by-modality'> {
  // prettier-ignore
  if (kind === 'nifti') return 'percentiles';
  if (modality === 'CT') return 'ct-soft-tissue';
  if (modality === 'MR') return 'mr-percentile';
  if (modality !== undefined && XRAY.includes(modality)) return 'xray';
  if (modality !== undefined && SKIN.includes(modality)) return 'colour-constancy';
  return 'as-displayed';
}
export { RECIPE_NAMES, type RecipeName };

/**
 * Makes a picture of a frame. Padding, and values that are no numbers, become black.
 *
 * @throws {FedError} IMAGE_UNREADABLE when every value is the same: there is no picture to see.
 */
export function cook(frame: Frame, recipe: Exclude<RecipeName, 'by-modality'>): Picture {
  const clean = withoutHoles(frame);
  const { data, range } = RECIPES[recipe].reduce<Shown>((shown, step) => step(shown, clean), { data: clean.data });
  if (range === undefined || !(range[1] > range[0])) return unreadable('all of its values are the same');
  const { width, height, channels, padding } = clean;
  return { width, height, channels, data: padding === undefined ? data : blackened(data, padding, range[0]), range, outside: 'cut' }; // prettier-ignore
}

/** NaN and infinities count as padding. */
function withoutHoles(frame: Frame): Frame {
  const { data, channels } = frame;
  if (channels !== 1 || !(data instanceof Float32Array || data instanceof Float64Array)) return frame;
  if (data.every(Number.isFinite)) return frame;
  const padding = Uint8Array.from(data, (x, i) => (Number.isFinite(x) ? (frame.padding?.[i] ?? 0) : 1));
  return { ...frame, padding, data: data.map((x) => (Number.isFinite(x) ? x : 0)) };
}

function blackened(data: PixelArray, padding: Uint8Array, black: number): Float32Array {
  const out = Float32Array.from(data);
  for (let i = 0; i < out.length; i++) if (padding[i] === 1) out[i] = black;
  return out;
}

const BINS = 4096;

/**
 * Quantiles by two histograms, the second inside the bin of the first: exact to 2⁻²⁴ of the range, in two passes.
 *
 * @param q - ascending, in [0, 1]; 0 and 1 give the extremes themselves.
 * @returns [0, 0] when every value is padding.
 */
export function quantiles(
  data: PixelArray,
  padding: Uint8Array | undefined,
  q: readonly [number, number],
): [number, number] {
  // prettier-ignore
  let [min, max, count] = [Infinity, -Infinity, 0];
  for (let i = 0; i < data.length; i++) {
    if (padding?.[i] === 1) continue;
    const x = data[i];
    count++;
    if (x < min) min = x;
    if (x > max) max = x;
  }
  if (count === 0) return [0, 0];
  if (min === max) return [min, max];
  const coarse = histogram(data, padding, min, max);
  const find = (share: number): number => {
    if (share <= 0) return min;
    if (share >= 1) return max;
    const rank = share * (count - 1);
    const [bin, before] = binOf(coarse, rank);
    const width = (max - min) / BINS;
    const [low, high] = [min + bin * width, min + (bin + 1) * width];
    const fine = histogram(data, padding, low, high);
    const [inner] = binOf(fine, Math.min(rank - before, fine.reduce((a, b) => a + b, 0) - 1));
    return low + ((inner + 0.5) * width) / BINS;
  };
  return [find(q[0]), find(q[1])];
}

function histogram(data: PixelArray, padding: Uint8Array | undefined, low: number, high: number): Uint32Array {
  const bins = new Uint32Array(BINS);
  const scale = BINS / (high - low);
  for (let i = 0; i < data.length; i++) {
    if (padding?.[i] === 1) continue;
    const x = data[i];
    if (x < low || x > high) continue;
    const bin = Math.floor((x - low) * scale);
    bins[bin >= BINS ? BINS - 1 : bin]++;
  }
  return bins;
}

/** The bin of a rank, and how many values lie before the bin. */
function binOf(bins: Uint32Array, rank: number): [bin: number, before: number] {
  let before = 0;
  for (let k = 0; k < bins.length; k++) {
    if (before + bins[k] > rank) return [k, before];
    before += bins[k];
  }
  return [bins.length - 1, before];
}
