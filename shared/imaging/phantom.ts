/**
 * Images that belong to nobody: drawn from ellipses and rods, repeatable from a seed, and free to publish. Demos, tests
 * and benchmarks run on them. They look like what they are named for; they are not for any medical use.
 */
import { FedError } from '../errors.ts';
import { type LabelledImages, valuesPerImage } from './images.ts';
import { type Draw, drawAbdomen, drawChest, drawHand, drawHead, drawKnee, drawPneumonia } from './phantom-anatomy.ts';
import { drawLesion } from './phantom-skin.ts';
import { Plate } from './plate.ts';
import { type Seeded, seeded } from './seeded.ts';

/** How densities become greys: film darkens exponentially, a CT window is linear. */
type Tone = 'film' | 'ct';

const RADIOGRAPHS = {
  chest: { draw: drawChest, tone: 'film' },
  hand: { draw: drawHand, tone: 'film' },
  'head-ct': { draw: drawHead, tone: 'ct' },
  knee: { draw: drawKnee, tone: 'film' },
  'abdomen-ct': { draw: drawAbdomen, tone: 'ct' },
  pneumonia: { draw: drawPneumonia, tone: 'film' },
} as const satisfies Record<string, { draw: Draw; tone: Tone }>;
const LESIONS = { naevus: false, melanoma: true } as const;

export type PhantomClass = keyof typeof RADIOGRAPHS | keyof typeof LESIONS;

/** The default: four that a person tells apart at 28 pixels. */
export const DEFAULT_PHANTOM_CLASSES = ['chest', 'hand', 'head-ct', 'knee'] as const satisfies readonly PhantomClass[];
export const PHANTOM_CLASSES = [...Object.keys(RADIOGRAPHS), ...Object.keys(LESIONS)] as readonly PhantomClass[];

export interface PhantomOptions {
  readonly size: 28 | 32 | 64;
  readonly channels: 1 | 3;
  readonly patients: number;
  /** Images of one patient: that many, or evenly between two bounds. Default 1. */
  readonly imagesPerPatient?: number | readonly [min: number, max: number];
  /** Patient i has class i mod the number of classes. */
  readonly classes?: readonly PhantomClass[];
  readonly seed: string;
  /** Another name gives other patients, and another scanner: gain, contrast, sharpness and noise differ. */
  readonly site?: string;
}

/** What a scanner does to every image it makes. */
interface Scanner {
  readonly gain: number;
  readonly contrast: number;
  /** Standard deviation in fractions of the plate. */
  readonly blur: number;
  /** Standard deviation of a pixel, of full scale 1. */
  readonly noise: number;
}

const MAX_IMAGES = 1_000_000;

/**
 * Draws phantoms.
 *
 * Guarantee: the same options give the same bytes; images of one patient share anatomy and differ in pose and exposure.
 * Pixels are multiples of 1/255, so that they survive being written as 8-bit files.
 *
 * @throws {FedError} PARAMETER_INVALID.
 */
export function phantomImages(options: PhantomOptions): LabelledImages {
  const { size, channels, patients, imagesPerPatient = 1, seed, site = '' } = options;
  const classNames = options.classes ?? DEFAULT_PHANTOM_CLASSES;
  const [min, max] = typeof imagesPerPatient === 'number' ? [imagesPerPatient, imagesPerPatient] : imagesPerPatient;
  const unknown = classNames.find((name) => !PHANTOM_CLASSES.includes(name));
  if (unknown !== undefined || classNames.length === 0)
    throw new FedError('PARAMETER_INVALID', `no phantom class "${unknown}"`);
  if (!(
    Number.isInteger(patients) &&
    patients >= 1 &&
    Number.isInteger(min) &&
    min >= 1 &&
    max >= min &&
    patients * max <= MAX_IMAGES
  ))
    throw new FedError('PARAMETER_INVALID', `${patients} patients with ${min} to ${max} images`);

  const root = seeded(`phantom\0${seed}\0${site}`);
  const scanner = site === '' ? { gain: 1, contrast: 1, blur: 0.008, noise: 0.02 } : scannerOf(root.fork('scanner'));
  const counts = Array.from({ length: patients }, () => min + root.below(max - min + 1));
  const n = counts.reduce((a, b) => a + b, 0);
  const d = valuesPerImage({ size, channels });
  const pixels = new Float32Array(n * d);
  const labels = new Int32Array(n);
  const ids: string[] = [];
  for (let p = 0; p < patients; p++) {
    for (let k = 0; k < counts[p]; k++) {
      const at = ids.length;
      labels[at] = p % classNames.length;
      ids.push(`${site || 'phantom'}-${p}`);
      const view = root.fork(`patient ${p} image ${k}`);
      // A fresh fork each time, so that every image of the patient sees the same anatomy.
      pixels.set(drawOne(classNames[labels[at]], options, scanner, root.fork(`patient ${p}`), view), at * d);
    }
  }
  return { n, channels, size, pixels, labels, classNames, patients: ids };
}

function scannerOf(random: Seeded): Scanner {
  return {
    gain: random.uniform(0.88, 1.12),
    contrast: random.uniform(0.82, 1.15),
    blur: random.uniform(0.004, 0.022),
    noise: random.uniform(0.012, 0.045),
  };
}

/** [channels, size, size] in [-1, 1]. */
function drawOne(
  name: PhantomClass,
  options: PhantomOptions,
  scanner: Scanner,
  body: Seeded,
  view: Seeded,
): Float32Array {
  const { size, channels } = options;
  const fine = 2;
  const planes: Float32Array[] = [];
  if (name === 'naevus' || name === 'melanoma') {
    const rgb = drawLesion(size * fine, LESIONS[name], body, view);
    const plane = (weights: readonly number[]) =>
      Float32Array.from({ length: rgb.length / 3 }, (_, i) =>
        weights.reduce((sum, w, c) => sum + w * rgb[i * 3 + c], 0),
      );
    planes.push(...(channels === 3 ? [[1, 0, 0], [0, 1, 0], [0, 0, 1]] : [[0.299, 0.587, 0.114]]).map(plane)); // prettier-ignore
  } else {
    planes.push(drawRadiograph(name, size * fine, body, view));
  }
  const d = size * size;
  const out = new Float32Array(channels * d);
  planes.forEach((plane, c) =>
    expose(
      shrink(blurred(plane, size * fine, scanner.blur), size, fine),
      scanner,
      view,
      out.subarray(c * d, (c + 1) * d),
    ),
  );
  for (let c = planes.length; c < channels; c++) out.copyWithin(c * d, 0, d);
  return out;
}

function drawRadiograph(name: keyof typeof RADIOGRAPHS, edge: number, body: Seeded, view: Seeded): Float32Array {
  const pose = {
    dx: view.normal(0, 0.022),
    dy: view.normal(0, 0.022),
    scale: view.normal(0.97, 0.02),
    turn: view.normal(0, 0.035),
  };
  const exposure = view.normal(1, 0.06);
  const plate = new Plate(edge, pose);
  const { draw, tone } = RADIOGRAPHS[name];
  draw(plate, body);
  return plate.density.map((x) => {
    const dense = Math.max(0, x) * exposure;
    return tone === 'film' ? 1.08 * (1 - Math.exp(-1.05 * dense)) : Math.min(1, dense * 0.72);
  });
}

/** Gaussian blur; `sigma` in fractions of the edge. Beyond the border its nearest value goes on. */
function blurred(plane: Float32Array, edge: number, sigma: number): Float32Array {
  const reach = Math.ceil(2 * sigma * edge);
  const raw = Array.from({ length: 2 * reach + 1 }, (_, k) =>
    Math.exp(-((k - reach) ** 2) / (2 * (sigma * edge) ** 2)),
  );
  const weights = Float64Array.from(raw, (w) => w / raw.reduce((a, b) => a + b, 0));
  const pass = (from: Float32Array, step: number, line: number): Float32Array => {
    const to = new Float32Array(from.length);
    const padded = new Float64Array(edge + 2 * reach);
    for (let a = 0; a < edge; a++) {
      const row = a * line;
      for (let b = 0; b < padded.length; b++) {
        const at = b < reach ? 0 : b - reach >= edge ? edge - 1 : b - reach;
        padded[b] = from[row + at * step];
      }
      for (let b = 0; b < edge; b++) {
        let value = 0;
        for (let k = 0; k < weights.length; k++) value += weights[k] * padded[b + k];
        to[row + b * step] = value;
      }
    }
    return to;
  };
  return pass(pass(plane, 1, edge), edge, 1);
}

/** Averages blocks of fine × fine. */
function shrink(plane: Float32Array, size: number, fine: number): Float32Array {
  const out = new Float32Array(size * size);
  const edge = size * fine;
  for (let y = 0; y < edge; y++) {
    const row = Math.floor(y / fine) * size;
    for (let x = 0; x < edge; x++) out[row + Math.floor(x / fine)] += plane[y * edge + x] / (fine * fine);
  }
  return out;
}

/** [0, 1] light to [-1, 1] pixels as this scanner stores them, in 256 steps. */
function expose(light: Float32Array, { gain, contrast, noise }: Scanner, view: Seeded, out: Float32Array): void {
  for (let i = 0; i < light.length; i++) {
    const x = ((light[i] - 0.45) * contrast + 0.45) * gain + view.normal(0, noise);
    out[i] = Math.round(Math.min(1, Math.max(0, x)) * 255) / 127.5 - 1;
  }
}
