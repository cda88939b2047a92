/**
 * What privacy costs in time: a discriminator step with per-patient clipping and noise, against the same step without.
 *
 * Steps of both kinds alternate in one run, and the fastest of each kind count: whatever else the machine does only adds
 * time. 28 × 28, two convolutions of 64 and 128 filters and a dense layer: 138,561 parameters.
 */
import { latticeGaussian } from '../shared/dp/gaussian.ts';
import { layPatients } from '../shared/dp/patient-batch.ts';
import type { GradientRule } from '../shared/dp/patient-gradient.ts';
import { openEngine } from '../shared/engine/open.ts';
import type { GanConfig } from '../shared/gan/config.ts';
import { DiscriminatorTrainer } from '../shared/gan/discriminator-trainer.ts';
import { initialise } from '../shared/gan/layout.ts';
import { startDiscriminator } from '../shared/gan/noised-discriminator.ts';
import { openGan } from '../shared/gan/registry.ts';
import { PublicRandom } from '../shared/public-random.ts';
import { secureBytes } from '../shared/random.ts';
import type { Bench } from './run.ts';

const CONFIG: GanConfig = {
  architecture: 'dcgan',
  imageSize: 28,
  channels: 1,
  classes: 10,
  latent: 64,
  generatorWidth: 64,
  discriminatorWidth: 64,
  conditioning: 'none',
  groupNorm: 0,
  loss: 'bce',
};
const TARGET_RATIO = 1.35;
const THREADS = 2;

/** Alternating steps; milliseconds of the fastest of each kind. */
async function compare(batch: number, m: number, pairs: number): Promise<{ plain: number; private: number }> {
  const engine = await openEngine('cpu', { threads: THREADS });
  const gan = openGan(CONFIG);
  const draws = new PublicRandom(`bench ${batch}`);
  const pixels = gan.config.imageSize ** 2;
  const images = (n: number) => Float32Array.from(draws.uniforms(n * pixels), (u) => 2 * u - 1);
  const labels = new Array<number>(m).fill(0);
  const real = Array.from({ length: batch }, () => ({ images: labels.map(() => images(1)), labels }));
  const patients = layPatients(CONFIG, batch, m, real);
  const fakes = { images: images(batch), labels: draws.integers(batch, CONFIG.classes) };
  const open = (rule: GradientRule, noiseMultiplier: number) =>
    DiscriminatorTrainer.open(engine, gan, {
      places: batch,
      imagesPerPatient: m,
      fakes: batch,
      rule,
      clipNorm: 1,
      noiseMultiplier,
      expectedBatch: batch,
      optimiser: { learningRate: 2e-4, beta1: 0.5, beta2: 0.999, weightDecay: 0, averageDecay: 0 },
    });
  const trainers = { plain: await open({ kind: 'none-insecure' }, 0), private: await open({ kind: 'clip' }, 1) };
  const gaussian = latticeGaussian(secureBytes);
  const start = startDiscriminator(initialise(gan.discriminator.layout, 'bench'));
  const times = { plain: [] as number[], private: [] as number[] };
  for (let i = -2; i < pairs; i++)
    for (const kind of ['plain', 'private'] as const) {
      const from = performance.now();
      await trainers[kind].step(start, patients, fakes, gaussian);
      if (i >= 0) times[kind].push(performance.now() - from);
    }
  await trainers.plain.dispose();
  await trainers.private.dispose();
  await engine.dispose();
  return { plain: Math.min(...times.plain), private: Math.min(...times.private) };
}

export const bench: Bench = {
  name: 'dp',
  summary: 'a private discriminator step against one without clipping and noise, 28 × 28, 138,561 parameters',
  async run(args, report) {
    const pairs = args.includes('--quick') ? 10 : 40;
    for (const [batch, m] of [
      [64, 1],
      [256, 1],
      [64, 4],
    ]) {
      const ms = await compare(batch, m, pairs);
      const ratio = ms.private / ms.plain;
      const name = `${batch} patients${m > 1 ? ` of ${m} images` : ''} + ${batch} fakes`;
      report({ case: `${name}: without privacy`, value: ms.plain, unit: 'ms' });
      report({ case: `${name}: private`, value: ms.private, unit: 'ms' });
      report({
        case: `${name}: private / without`,
        value: ratio,
        unit: '×',
        // The target is for one image a patient.
        ...(m === 1 ? { target: `≤ ${TARGET_RATIO}`, holds: ratio <= TARGET_RATIO } : {}),
      });
    }
  },
};
