/**
 * Step 2 of 9 as a call: a step's patients and fakes in, one clipped sum out. Micro-batches bound the memory; how many
 * there are depends on public numbers alone.
 */
import { type Engine, type Program } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { oneHot } from '../gan/batch.ts';
import { insecureGradientSum, type MicroBatch } from '../gan/discriminator-gradient.ts';
import { addToFlat, parameterFeeds } from '../gan/layout.ts';
import { MAX_PARAMETER } from '../gan/noised-discriminator.ts';
import type { Gan } from '../gan/registry.ts';
import { clippedSum, type ClipRule } from './clipped-gradient.ts';
import { dangerouslyTrustAsClippedSum, type ClippedSum } from './noised.ts';
import type { PatientBatch } from './patient-batch.ts';

/** Generated images and the classes they were asked for. Public. */
export interface FakeBatch {
  /** [fakes, channels, size, size] */
  readonly images: Float32Array;
  /** [fakes] */
  readonly labels: Int32Array;
}

/** Public numbers of every step of a run. */
export interface StepShape {
  /** Places for patients in a step: the policy's `maxBatch`. */
  readonly places: number;
  readonly imagesPerPatient: number;
  /** 0 where the fakes' part is worked out elsewhere: under `pooled`, at the coordinator. */
  readonly fakes: number;
}

/** `clip` and `normalise` as in `ClipRule`; `none-insecure` protects nobody: the sum has no bound. */
export type GradientRule = ClipRule | { kind: 'none-insecure' };

export interface PatientGradient {
  readonly sum: ClippedSum;
  /** Mean discriminator loss on the fakes. */
  readonly fakeLoss: number;
  /** Share of the fakes that the discriminator calls fake. */
  readonly fakeAccuracy: number;
}

/** Images in one pass of the network, unless told otherwise: a setting of speed and memory. */
const IMAGES_AT_ONCE = 512;

/** Compiled once for a run; a call is one step's sum. */
export class PatientGradients {
  readonly #gan: Gan;
  readonly #shape: StepShape;
  readonly #micro: MicroBatch;
  readonly #passes: number;
  readonly #rule: GradientRule;
  readonly #program: Program;

  private constructor(gan: Gan, shape: StepShape, cut: Passes, rule: GradientRule, program: Program) {
    this.#gan = gan;
    this.#shape = shape;
    this.#micro = cut.micro;
    this.#passes = cut.passes;
    this.#rule = rule;
    this.#program = program;
  }

  /** @throws {FedError} LAYER_WITHOUT_NORM_RULE, unless the rule is `none-insecure`. */
  static async open(
    engine: Engine,
    gan: Gan,
    shape: StepShape,
    rule: GradientRule = { kind: 'clip' },
    imagesAtOnce = IMAGES_AT_ONCE,
  ): Promise<PatientGradients> {
    const cut = passesOf(shape, imagesAtOnce);
    const { fn, inputs } =
      rule.kind === 'none-insecure' ? insecureGradientSum(gan, cut.micro) : clippedSum(gan, cut.micro, { rule });
    return new PatientGradients(gan, shape, cut, rule, await engine.compile('patient-gradients', fn, inputs));
  }

  /**
   * The sum over patients and fakes of their clipped gradients.
   *
   * Guarantee: as in `clippedSum`; adding or removing one patient moves the sum by at most `clipNorm`, whatever the
   * patient's images are. Parameters are at most `MAX_PARAMETER` and pixels at most 1, so nothing overflows before the
   * norms; a norm that does makes the factor 0. Non-finite pixels cannot come from `layPatients`, and a generator whose
   * fakes are not finite is refused: they are public.
   *
   * @param parameters - [d] of the discriminator.
   * @throws {FedError} PARAMETER_INVALID on lengths, parameters and fakes: all public.
   */
  async sum(
    parameters: Float32Array,
    patients: PatientBatch,
    fakes: FakeBatch,
    clipNorm: number,
  ): Promise<PatientGradient> {
    this.#check(parameters, patients, fakes);
    const { layout } = this.#gan.discriminator;
    const { patients: p, fakes: f } = this.#micro;
    const m = this.#shape.imagesPerPatient;
    const fakeLabels = oneHot(fakes.labels, this.#gan.config.classes);
    const fixed = {
      ...parameterFeeds(layout, parameters, 'd.'),
      ...(this.#rule.kind === 'none-insecure' ? {} : { clipNorm: Float32Array.of(clipNorm) }),
    };
    const total = new Float64Array(layout.length);
    let [fakeLoss, calledFake] = [0, 0];
    const count = this.#shape.fakes;
    for (let pass = 0; pass < this.#passes; pass++) {
      const cut = (x: Float32Array, rows: number, all: number) => rowsOf(x, pass * rows, rows, x.length / all);
      const fakeRows = (x: Float32Array, each: number) => rowsOf(x, pass * f, f, each);
      const outputs = await this.#program.run({
        ...fixed,
        images: cut(patients.images, p * m, patients.patients * m),
        labels: cut(patients.labels, p * m, patients.patients * m),
        imageWeights: cut(patients.weights, p * m, patients.patients * m),
        fakes: fakeRows(fakes.images, patients.images.length / (patients.patients * m)),
        fakeLabels: fakeRows(fakeLabels, this.#gan.config.classes),
        fakeWeights: Float32Array.from({ length: f }, (_, i) => (pass * f + i < count ? 1 : 0)),
      });
      addToFlat(layout, outputs, 'g.', total);
      fakeLoss += outputs['fakeLoss'][0];
      calledFake += outputs['calledFake'][0];
    }
    const bound = this.#rule.kind === 'none-insecure' ? Number.MAX_VALUE : clipNorm;
    return {
      sum: dangerouslyTrustAsClippedSum(total, bound),
      fakeLoss: fakeLoss / Math.max(1, count),
      fakeAccuracy: calledFake / Math.max(1, count),
    };
  }

  #check(parameters: Float32Array, patients: PatientBatch, fakes: FakeBatch): void {
    const { places, imagesPerPatient, fakes: count } = this.#shape;
    if (patients.patients !== places || patients.imagesPerPatient !== imagesPerPatient)
      throw new FedError('PARAMETER_INVALID', `batch of other places than ${places} × ${imagesPerPatient}`);
    if (fakes.labels.length !== count) throw new FedError('PARAMETER_INVALID', `not ${count} fakes`);
    if (!within(parameters, MAX_PARAMETER))
      throw new FedError('PARAMETER_INVALID', `a discriminator parameter is beyond ${MAX_PARAMETER}`);
    if (!within(fakes.images, 1)) throw new FedError('PARAMETER_INVALID', 'a fake has a pixel outside [-1, 1]');
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}

/** How a step is cut: passes of the network, all of one shape. */
export interface Passes {
  readonly passes: number;
  readonly micro: MicroBatch;
}

/** The fewest passes of about `imagesAtOnce` images; patients and fakes are spread evenly over them. */
export function passesOf({ places, imagesPerPatient, fakes }: StepShape, imagesAtOnce: number): Passes {
  const passes = Math.ceil((places * imagesPerPatient + fakes) / imagesAtOnce);
  // A pass without fakes has one place for them all the same, of weight zero: shapes have no zeros.
  const micro = {
    patients: Math.ceil(places / passes),
    imagesPerPatient,
    fakes: Math.max(1, Math.ceil(fakes / passes)),
  };
  return { passes, micro };
}

/** Rows [start, start + rows) of [?, each], with zeros where there are none. */
function rowsOf(x: Float32Array, start: number, rows: number, each: number): Float32Array {
  const part = x.subarray(start * each, (start + rows) * each);
  if (part.length === rows * each) return part;
  const padded = new Float32Array(rows * each);
  padded.set(part);
  return padded;
}

/** Every value a number in [-limit, limit]. */
function within(values: Float32Array, limit: number): boolean {
  for (let i = 0; i < values.length; i++) if (!(Math.abs(values[i]) <= limit)) return false;
  return true;
}
