/**
 * What the synthetic images are worth: a classifier trained on them and tested on real ones (TSTR), Fréchet distance
 * and recall, on real public data sets split over five sites. One case takes minutes; an interrupted one goes on.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openEngine } from '../shared/engine/open.ts';
import type { Engine } from '../shared/engine/program.ts';
import { FedError } from '../shared/errors.ts';
import { gridPng } from '../shared/imaging/grid.ts';
import { type LabelledImages, selectImages } from '../shared/imaging/images.ts';
import { Classifier, FEATURES } from '../shared/metrics/classifier.ts';
import { featureMoments, frechetDistance } from '../shared/metrics/frechet.ts';
import { prdc } from '../shared/metrics/prdc.ts';
import { accuracy } from '../shared/metrics/utility.ts';
import { policySha256 } from '../shared/policy/load.ts';
import { labelDistribution, roundTermsOf } from '../shared/policy/views.ts';
import { PublicRandom } from '../shared/public-random.ts';
import { asPrivateImages } from '../site-agent/imaging/private-images.ts';
import { balancedLabels } from '../cli/run-folder.ts';
import { calibrated, sampleImages } from '../shared/gan/released-images.ts';
import { GanGeneratorTrainer } from '../coordinator/gan-generator-trainer.ts';
import { simulate } from '../cli/simulation.ts';
import { progress } from '../cli/progress.ts';
import {
  CASES,
  type Cohort,
  cohortOf,
  dataOf,
  policyOf,
  type QualityCase,
  realTraining,
  type Settings,
  settingsOf,
  type Variant,
} from './quality-cases.ts';
import type { Bench, BenchRow } from './run.ts';

const VARIANTS: readonly Variant[] = ['both', 'moments'];
const SYNTHETIC = 20_000;
const EPOCHS = 2;
/** Images on each side of the Fréchet distance, and of precision, recall and their kin. */
const COMPARED = 5000;
const NEIGHBOURS = 2000;

interface Measured {
  readonly tstr: number;
  readonly frechet: number;
  readonly precision: number;
  readonly recall: number;
  readonly density: number;
  readonly coverage: number;
  readonly trtr: number;
  readonly seconds: number;
  /** Of all threads: what the seconds would be on a machine without company, times its cores. */
  readonly processorSeconds: number;
  readonly epsilon: number | null;
}

export const bench: Bench = {
  name: 'quality',
  summary:
    'synthetic images of five sites, measured on real test sets. Epsilon excludes tuning: settings were chosen on these sets.',
  async run(args, report) {
    const flag = (name: string, otherwise: string) => {
      const at = args.indexOf(name);
      return at >= 0 ? (args[at + 1] ?? otherwise) : otherwise;
    };
    const names = flag('--case', Object.keys(CASES).join(',')).split(',');
    const seeds = Number(flag('--seeds', '1'));
    const variants = flag('--variant', 'both,moments').split(',') as Variant[];
    const folder = resolve(flag('--folder', 'runs/quality'));
    // Trials: a setting of the case by name, as in `--set fitSteps=800,generatorWidth=32`.
    const overrides = flag('--set', '').split(',').filter(Boolean);
    if (args.includes('--fresh')) rmSync(folder, { recursive: true, force: true });
    const unknown = names.find((name) => !(name in CASES));
    if (unknown !== undefined)
      throw new FedError('PARAMETER_INVALID', `no case "${unknown}"; there are ${Object.keys(CASES).join(', ')}`);
    if (!Number.isInteger(seeds) || seeds < 1) throw new FedError('PARAMETER_INVALID', '--seeds wants 1 or more');
    if (!variants.every((v) => (VARIANTS as readonly string[]).includes(v)))
      throw new FedError('PARAMETER_INVALID', `--variant wants ${VARIANTS.join(' or ')}`);
    const threads = flag('--threads', '');
    const engine = await openEngine('cpu', threads === '' ? {} : { threads: Number(threads) });
    try {
      for (const name of names) await runCase({ name, overrides, seeds, variants, folder, engine, report });
    } finally {
      await engine.dispose();
    }
  },
};

interface CaseRun {
  readonly name: string;
  readonly overrides: readonly string[];
  readonly seeds: number;
  readonly variants: readonly Variant[];
  readonly folder: string;
  readonly engine: Engine;
  readonly report: (row: BenchRow) => void;
}

async function runCase({ name, overrides, seeds, variants, folder, engine, report }: CaseRun): Promise<void> {
  const c = CASES[name];
  const settings = settingsOf(c, overrides);
  if (dataOf(c) === null) {
    console.error(`skipped ${name}: its images are not on this machine`);
    return;
  }
  const reals = new Map<string, Real>();
  const realOf = async (seed: string, cohort: Cohort) => {
    const real = reals.get(seed) ?? (await realSide(engine, cohort));
    reals.set(seed, real);
    return real;
  };
  for (const variant of variants) {
    const results: Measured[] = [];
    for (let seed = 1; seed <= seeds; seed++)
      results.push(
        await runOnce({
          c,
          settings,
          variant,
          seed,
          folder: join(folder, `${name}-${variant}-${seed}`),
          engine,
          realOf,
        }),
      );
    const label = `${name} ${variant === 'both' ? 'moments and the rounds after' : 'moments alone'}`;
    const rows: [keyof Measured, string][] = [
      ['tstr', 'accuracy'],
      ['frechet', 'Fréchet distance'],
      ['precision', 'share'],
      ['recall', 'share'],
      ['density', 'ratio'],
      ['coverage', 'share'],
      ['seconds', 's'],
      ['processorSeconds', 's of processor'],
    ];
    for (const [key, unit] of rows) {
      const values = results.map((r) => r[key] as number);
      const value = values.reduce((sum, v) => sum + v, 0) / values.length;
      const spread =
        seeds > 1 ? `, ${seeds} seeds from ${Math.min(...values).toFixed(4)} to ${Math.max(...values).toFixed(4)}` : '';
      const target = key === 'tstr' && variant === 'both' ? c.target : key === 'seconds' ? 900 : undefined;
      const holds =
        target === undefined
          ? {}
          : {
              target: key === 'seconds' ? '<= 900' : `>= ${target}`,
              holds: key === 'seconds' ? value <= target : value >= target,
            };
      report({ case: `${label}: ${key}${spread}`, value, unit, ...holds });
    }
    report({
      case: `${label}: classifier trained on real images, for comparison`,
      value: results[0].trtr,
      unit: 'accuracy',
    });
    if (results[0].epsilon !== null)
      report({ case: `${label}: epsilon stated by the sites, delta 1e-5`, value: results[0].epsilon, unit: 'epsilon' });
  }
}

/** What a case has taken so far, runs before an interruption included. */
type Taken = Pick<Measured, 'seconds' | 'processorSeconds'>;
const NOTHING_TAKEN: Taken = { seconds: 0, processorSeconds: 0 };

interface OneRun {
  readonly c: QualityCase;
  readonly settings: Settings;
  readonly variant: Variant;
  readonly seed: number;
  readonly folder: string;
  readonly engine: Engine;
  readonly realOf: (seed: string, cohort: Cohort) => Promise<Real>;
}

async function runOnce({ c, settings, variant, seed: number, folder, engine, realOf }: OneRun): Promise<Measured> {
  const seed = `${number}`;
  const cohort = await cohortOf(c, `quality ${seed}`);
  const policy = policyOf(c, cohort, variant, settings);
  // Another policy is another run: settings that changed meet neither old stores nor old figures.
  const parties = join(folder, policySha256(policy).slice(0, 16));
  const done = join(parties, 'result.json');
  if (existsSync(done)) return JSON.parse(readFileSync(done, 'utf8')) as Measured;
  mkdirSync(parties, { recursive: true });
  const clock = join(parties, 'taken.json');
  const before = existsSync(clock) ? (JSON.parse(readFileSync(clock, 'utf8')) as Taken) : NOTHING_TAKEN;
  const [began, atFirst] = [performance.now(), process.cpuUsage()];
  const taken = (): Taken => {
    const { user, system } = process.cpuUsage(atFirst);
    return {
      seconds: before.seconds + (performance.now() - began) / 1000,
      processorSeconds: before.processorSeconds + (user + system) / 1e6,
    };
  };
  const bar = progress(`${c.data} ${variant}`);
  const { rounds } = roundTermsOf(policy);
  const result = await simulate({
    policy,
    sites: new Map([...cohort.sites].map(([id, images]) => [id, asPrivateImages(images, false)])),
    engine,
    folder: parties,
    onEvent: (event) => {
      if (event.kind === 'fitting')
        bar.update((event.round + event.share) / rounds, `fit ${Math.round(100 * event.share)} %`);
      if (event.kind !== 'round-closed') return;
      bar.update((event.round + 1) / rounds, `round ${event.round + 1} of ${rounds}`);
      writeFileSync(clock, JSON.stringify(taken()));
    },
  });
  const trained = taken();
  bar.stop();
  const { gan } = new GanGeneratorTrainer(engine, policy);
  const weights = result.generator.average;
  const statistics = await calibrated(engine, gan, weights, labelDistribution(policy));
  const classNames = policy.model.classes;
  const synthetic = await sampleImages({
    engine,
    gan,
    weights,
    statistics,
    labels: balancedLabels(SYNTHETIC, classNames.length),
    classNames,
    seed: `quality ${seed}`,
  });
  writeFileSync(join(parties, 'grid.png'), gridPng(synthetic, { columns: 16 }));
  const measured: Measured = {
    ...(await measure(engine, synthetic, await realOf(seed, cohort), cohort.test)),
    ...trained,
    epsilon: c.epsilon === null ? null : Math.max(...result.epsilon.values()),
  };
  writeFileSync(done, JSON.stringify(measured));
  return measured;
}

/** What a classifier trained on real images sees of the test images: the same for every variant of a seed. */
interface Real {
  readonly classifier: Classifier;
  readonly trtr: number;
  readonly features: Float32Array;
}

async function realSide(engine: Engine, cohort: Cohort): Promise<Real> {
  const classifier = await Classifier.train(engine, realTraining(cohort), { epochs: EPOCHS, seed: 'trtr' });
  const trtr = accuracy(cohort.test, (await classifier.predict(cohort.test)).labels).accuracy;
  return { classifier, trtr, features: (await classifier.predict(drawn(cohort.test))).features };
}

/** As many as distances are measured on, drawn by lot: every n-th would leave out classes, whose labels come in turn. */
function drawn(images: LabelledImages): LabelledImages {
  const order = new PublicRandom('images that distances are measured on').permutation(images.n);
  return selectImages(images, Array.from(order.slice(0, COMPARED)));
}

async function measure(engine: Engine, synthetic: LabelledImages, real: Real, test: LabelledImages) {
  const onSynthetic = await Classifier.train(engine, synthetic, { epochs: EPOCHS, seed: 'tstr' });
  const tstr = accuracy(test, (await onSynthetic.predict(test)).labels).accuracy;
  await onSynthetic.dispose();
  const features = (await real.classifier.predict(drawn(synthetic))).features;
  const frechet = frechetDistance(featureMoments(real.features, FEATURES), featureMoments(features, FEATURES));
  const [a, b] = [real.features, features].map((x) => x.subarray(0, NEIGHBOURS * FEATURES));
  return { tstr, trtr: real.trtr, frechet, ...(await prdc(engine, a, b, FEATURES)) };
}
