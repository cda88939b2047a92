/** The cases of `bench/quality.ts`: data, cohort and policy of each. Settings are the same for all but what a row says. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { AVAILABLE_SCHEMES } from '../shared/aggregation/registry.ts';
import { noiseMultiplierFor } from '../shared/dp/calibrate.ts';
import { gaussianEvent } from '../shared/dp/event.ts';
import { smallestMaxBatch } from '../shared/dp/poisson.ts';
import { FedError } from '../shared/errors.ts';
import { readArrayDataset } from '../shared/imaging/array-dataset.ts';
import { concatImages, groupByPatient, type LabelledImages, selectImages } from '../shared/imaging/images.ts';
import { dropDuplicates, splitBySite } from '../shared/imaging/split.ts';
import { type CheckedPolicy, loadPolicy } from '../shared/policy/load.ts';
import { Policy } from '../shared/policy/schema.ts';
import { pooledVersion } from './quality-pooled.ts';

const DATA = resolve(import.meta.dirname, '../../shared/data');
export const DELTA = 1e-5;
const SITES = 5;
/** No vector of these cases is longer. */
const POOLED_COORDINATES = 100_000;

export interface QualityCase {
  readonly data: 'mednist' | 'mnist' | 'pneumonia';
  /** Null: no mechanism. */
  readonly epsilon: number | null;
  /** TSTR accuracy that the project set itself; absent where the case is reported only. */
  readonly target?: number;
  /** Absent: every site has a discriminator, and all of the noise, of its own. */
  readonly placement?: 'pooled';
  /** Rounds of discriminators after the moment round, in place of a critic round. */
  readonly discriminators?: true;
  /** Absent: five sites with all images. */
  readonly sites?: { readonly count: number; readonly images: number };
}

const TWENTY_SMALL = { count: 20, images: 500 };

export const CASES: Readonly<Record<string, QualityCase>> = {
  'mednist-10': { data: 'mednist', epsilon: 10, target: 0.95 },
  'mnist-10': { data: 'mnist', epsilon: 10, target: 0.88 },
  'mnist-1': { data: 'mnist', epsilon: 1, target: 0.82 },
  'mnist-10-discriminators': { data: 'mnist', epsilon: 10, discriminators: true },
  'mnist-10-pooled': { data: 'mnist', epsilon: 10, placement: 'pooled' },
  'mnist-1-pooled': { data: 'mnist', epsilon: 1, placement: 'pooled' },
  'mnist-1-twenty': { data: 'mnist', epsilon: 1, sites: TWENTY_SMALL },
  'mnist-1-twenty-pooled': { data: 'mnist', epsilon: 1, sites: TWENTY_SMALL, placement: 'pooled' },
  'mnist-10-twenty': { data: 'mnist', epsilon: 10, sites: TWENTY_SMALL },
  'mnist-10-twenty-pooled': { data: 'mnist', epsilon: 10, sites: TWENTY_SMALL, placement: 'pooled' },
  'mednist-none': { data: 'mednist', epsilon: null, target: 0.95 },
  'mnist-none': { data: 'mnist', epsilon: null, target: 0.95 },
  'pneumonia-10': { data: 'pneumonia', epsilon: 10 },
  'pneumonia-none': { data: 'pneumonia', epsilon: null },
};

/**
 * `both`: the moment round, then the rounds after it. `moments`: the moment round alone, at the same total epsilon and
 * with as many steps of the generator where critic rounds follow.
 */
export type Variant = 'both' | 'moments';

export interface Cohort {
  /** One image is one patient: these sets name none. */
  readonly sites: ReadonlyMap<string, LabelledImages>;
  readonly test: LabelledImages;
}

const FILES = {
  mednist: 'mednist_28_gray.npz',
  mnist: 'mnist/train-images-idx3-ubyte.gz',
  pneumonia: 'pneumoniamnist.npz',
} as const;

/** Whether the images of a case are on this machine. */
export const dataOf = ({ data }: QualityCase): string | null => {
  const path = join(DATA, FILES[data]);
  return existsSync(path) ? path : null;
};

/** Five sites with a random fifth each, and a test set no site has: the set's own, or for MedNIST a fifth of it. */
export async function cohortOf(c: QualityCase, seed: string): Promise<Cohort> {
  const read = async (file: string, split?: 'train' | 'val' | 'test') => {
    const options = { size: 28, channels: 1, onBadFile: 'refuse', ...(split ? { split } : {}) } as const;
    return (await readArrayDataset(join(DATA, file), options)).images;
  };
  const bySite = (images: LabelledImages, testFraction?: number) =>
    splitBySite(images, { sites: c.sites?.count ?? SITES, seed, ...(testFraction ? { testFraction } : {}) });
  // Dealt class after class: every n-th keeps all of them.
  const some = (own: LabelledImages, n: number) =>
    own.n <= n
      ? own
      : selectImages(
          own,
          Array.from({ length: n }, (_, i) => Math.floor((i * own.n) / n)),
        );
  const named = (sites: readonly LabelledImages[]) =>
    new Map(sites.map((s, i) => [`site-${i + 1}`, some(s, c.sites?.images ?? Infinity)]));
  if (c.data === 'mednist') {
    const split = bySite(dropDuplicates(await read(FILES.mednist)).images, 0.2);
    return { sites: named(split.sites), test: split.test };
  }
  if (c.data === 'mnist') {
    const test = await read('mnist/t10k-images-idx3-ubyte.gz');
    return { sites: named(bySite(await read(FILES.mnist)).sites), test };
  }
  const [train, val, test] = [
    await read(FILES.pneumonia, 'train'),
    await read(FILES.pneumonia, 'val'),
    await read(FILES.pneumonia, 'test'),
  ];
  return { sites: named(bySite(concatImages([train, val])).sites), test };
}

/** Real images for the classifier whose features Fréchet distance and recall are measured on; at most 20,000. */
export function realTraining(cohort: Cohort): LabelledImages {
  const all = concatImages([...cohort.sites.values()]);
  return all.n <= 20_000
    ? all
    : selectImages(
        all,
        Array.from({ length: 20_000 }, (_, i) => Math.floor((i * all.n) / 20_000)),
      );
}

/** Numbers that decide how good and how long; everything else follows from the case. */
export interface Settings {
  readonly fitSteps: number;
  readonly fitLr: number;
  readonly fitPerClass: number;
  readonly frequencies: number;
  /** Moment rounds in a critic's features. */
  readonly criticRounds: number;
  readonly criticFitSteps: number;
  /** Steps of the fit after the last critic round. */
  readonly criticLastSteps: number;
  readonly criticSteps: number;
  /** How far a critic's fakes are moved about while it learns: 1 as far as `MOVED` says, 0 not at all. */
  readonly criticMoved: number;
  /** 1: a critic's layers are standardised or centred by what its fakes do in them; 0: they are taken as they are. */
  readonly criticNormalised: number;
  /** Rounds of discriminators after that. */
  readonly rounds: number;
  /** Share of epsilon that all moment rounds spend where rounds of discriminators follow. */
  readonly momentShare: number;
  readonly warmup: number;
  readonly batch: number;
  readonly fakes: number;
  readonly discriminatorWidth: number;
  readonly generatorWidth: number;
  readonly latent: number;
  readonly lrG: number;
  readonly lrD: number;
  readonly momentWeight: number;
}

/** Rounds of discriminators after the moment round; the moment term stays: without it every class falls on one image. */
const PRIVATE: Settings = {
  fitSteps: 2000,
  fitLr: 0.006,
  fitPerClass: 30,
  frequencies: 400,
  criticRounds: 0,
  criticFitSteps: 150,
  criticLastSteps: 150,
  criticSteps: 250,
  criticMoved: 0,
  criticNormalised: 0,
  rounds: 100,
  momentShare: 0.3,
  warmup: 30,
  batch: 400,
  fakes: 200,
  discriminatorWidth: 16,
  generatorWidth: 24,
  latent: 16,
  lrG: 3e-4,
  lrD: 1e-3,
  momentWeight: 3,
};

/** Two critic rounds after the moment round, and no discriminators: one long fit, and the time goes into nothing else. */
const CRITIC: Settings = {
  ...PRIVATE,
  fitSteps: 1200,
  criticRounds: 2,
  criticFitSteps: 800,
  criticLastSteps: 1200,
  criticSteps: 1000,
  rounds: 0,
  warmup: 0,
  momentShare: 1,
};

/** Without a mechanism the same, for as long as there is time. */
const OPEN: Settings = { ...CRITIC, fitSteps: 1700, criticFitSteps: 1100, criticLastSteps: 1700 };

/** @param overrides - `name=value` of a setting each, for trials. @throws {FedError} PARAMETER_INVALID */
export function settingsOf(c: QualityCase, overrides: readonly string[] = []): Settings {
  const settings: Record<string, number> = { ...shippedSettings(c) };
  for (const override of overrides) {
    const [name, value] = override.split('=');
    if (!(name in settings) || !Number.isFinite(Number(value || 'nothing')))
      throw new FedError(
        'PARAMETER_INVALID',
        `"${override}" sets none of ${Object.keys(settings).join(', ')} to a number`,
      );
    settings[name] = Number(value);
  }
  return settings as unknown as Settings;
}

function shippedSettings({ data, epsilon, discriminators, placement }: QualityCase): Settings {
  if (discriminators) return PRIVATE;
  // Where noise is the limit every release takes from the others: one critic round, as many steps, and a critic that
  // spends a patient's vector on what tells images apart.
  if (epsilon !== null && epsilon <= 1 && placement !== 'pooled') {
    const criticLastSteps = CRITIC.criticFitSteps + CRITIC.criticLastSteps;
    return { ...CRITIC, criticRounds: 1, criticLastSteps, criticNormalised: 1 };
  }
  // Two classes and small sites: more of each class in a batch, and sooner done.
  if (data === 'pneumonia')
    return { ...CRITIC, fitSteps: 450, criticFitSteps: 300, criticLastSteps: 450, fitPerClass: 100 };
  const own = data === 'mednist' ? { fitPerClass: 40 } : {};
  return { ...(epsilon === null ? OPEN : CRITIC), ...own };
}

/** How far digits and radiographs are moved about, at most. */
const MOVED = { rotate: 15, scale: 0.15, shear: 0.3, shift: 0.07 };
const moved = (share: number) => ({
  rotate: share * MOVED.rotate,
  scale: share * MOVED.scale,
  shear: share * MOVED.shear,
  shift: share * MOVED.shift,
});

/** Steps that the moment round alone is given: those of all fits, and half as many as there are rounds of discriminators. */
const stepsAlone = (s: Settings): number => {
  const critics = s.criticRounds === 0 ? 0 : (s.criticRounds - 1) * s.criticFitSteps + s.criticLastSteps;
  return s.fitSteps + critics + Math.round(s.rounds / 2);
};

/** The policy of a case. Epsilon is exact: noise is calibrated so that the policy's own steps spend it. */
export function policyOf(c: QualityCase, cohort: Cohort, variant: Variant, s: Settings): CheckedPolicy {
  const classes = [...cohort.test.classNames];
  const sites = cohort.sites.size;
  const patients = Math.max(...[...cohort.sites.values()].map((own) => groupByPatient(own).length));
  const alone = variant === 'moments';
  const [rounds, warmup, criticRounds] = alone ? [0, 0, 0] : [s.rounds, s.warmup, s.criticRounds];
  const maxSteps = rounds + warmup;
  const sampleRate = Math.min(1, s.batch / patients);
  const sampling = { sampleRate, patientsAtMost: patients, steps: Math.max(1, maxSteps) };
  const maxBatch = c.epsilon === null ? Math.ceil(1.5 * s.batch) : smallestMaxBatch(sampling, DELTA / 100);
  const noise = noiseOf(c, { releases: 1 + criticRounds, share: s.momentShare, sampleRate, steps: maxSteps });
  const privacy = {
    unit: 'patient',
    neighbours: 'add-or-remove-one',
    clipNorm: 1,
    clipRule: 'normalise',
    sampleRate,
    expectedBatch: sampleRate * patients,
    maxBatch,
    imagesPerPatient: 1,
    maxSteps,
    generatorClipNorm: 10,
    ...(c.epsilon === null
      ? { mechanism: 'none-insecure' }
      : { mechanism: 'dp-sgd', epsilon: c.epsilon, delta: DELTA, noiseMultiplier: noise.steps }),
  };
  // Strokes want narrow kernels on wavelets with their brightness; radiographs want their edges without it.
  const strokes = c.data === 'mnist';
  const pixels = strokes ? [3, 5, 10] : [1, 3, 8];
  const blocks = pixels.map((bandwidth) => ({ on: 'pixels', bandwidth, frequencies: s.frequencies, weight: 1 }));
  const shapes = strokes ? { on: 'wavelets', bandwidth: 0.5 } : { on: 'edges', bandwidth: 0.35 };
  const policy = {
    id: `bench-${c.data}`,
    version: 1,
    placement: 'local',
    model: {
      architecture: 'smooth-dcgan',
      imageSize: 28,
      channels: 1,
      classes,
      latent: s.latent,
      generatorWidth: s.generatorWidth,
      discriminatorWidth: s.discriminatorWidth,
      conditioning: 'projection',
      groupNorm: 0,
      loss: 'bce',
    },
    training: {
      rounds,
      discriminatorSteps: 1,
      warmupDiscriminatorSteps: warmup,
      generatorBatch: s.fakes,
      fakesPerStep: s.fakes,
      lrG: s.lrG,
      lrD: s.lrD,
      beta1: 0.5,
      beta2: 0.99,
      weightDecayD: 0,
      averageDecayD: c.epsilon === null ? 0 : 0.9,
      emaDecay: c.epsilon === null ? 0.99 : 0.98,
      momentWeight: s.momentWeight,
    },
    privacy,
    warmStart: {
      kind: 'moments',
      features: {
        kind: 'fourier',
        seed: 'bench',
        blocks: [...blocks, { ...shapes, frequencies: 2 * s.frequencies, weight: 3 }],
      },
      noiseMultiplier: noise.moments,
      fitSteps: alone ? stepsAlone(s) : s.fitSteps,
      fitBatch: s.fitPerClass * classes.length,
      lr: s.fitLr,
      ...(criticRounds > 0 && {
        critic: {
          rounds: criticRounds,
          width: 24,
          seed: 'bench',
          blocks: [
            s.criticNormalised
              ? { on: 'maps', normalise: 'standardised', bandwidth: 0.7, frequencies: 600, weight: 1 }
              : { on: 'maps', bandwidth: 0.5, frequencies: 600, weight: 1 },
            {
              on: 'dense',
              ...(s.criticNormalised && { normalise: 'centred' }),
              bandwidth: 0.4,
              frequencies: 400,
              weight: 1,
            },
          ],
          ...(s.criticMoved > 0 && { augment: moved(s.criticMoved) }),
          steps: s.criticSteps,
          batch: 100,
          lr: 0.001,
          fitSteps: s.criticFitSteps,
          lastFitSteps: s.criticLastSteps,
        },
      }),
    },
    labels: { distribution: Object.fromEntries(classes.map((name) => [name, 1 / classes.length])) },
    aggregation: { scheme: 'clear', minSites: sites, minSurvivors: sites, deadlineSeconds: 600 },
    release: { maxImages: 100_000, gate: null },
    evaluation: { publicTestSet: { source: 'the test set of a public benchmark' } },
    why: Object.fromEntries(
      [...Object.keys(privacy).map((key) => `privacy.${key}`), 'release.gate'].map((path) => [
        path,
        'a setting of the benchmark',
      ]),
    ),
  };
  const file = c.placement === 'pooled' ? pooledVersion(Policy.parse(policy), POOLED_COORDINATES) : policy;
  return loadPolicy(file, { availableSchemes: AVAILABLE_SCHEMES });
}

interface Spending {
  /** Moment rounds. */
  readonly releases: number;
  /** Of epsilon, for all of those, where steps follow. */
  readonly share: number;
  readonly sampleRate: number;
  /** Private steps. */
  readonly steps: number;
}

/** Noise multipliers of the moment rounds and of the steps, so that all together spend epsilon. */
function noiseOf({ epsilon }: QualityCase, { releases, share, sampleRate, steps }: Spending) {
  if (epsilon === null) return { moments: 0, steps: 0 };
  // A little below: part of delta pays for the cap on the batch.
  const delta = 0.98 * DELTA;
  const own = (steps === 0 ? 1 : share) * epsilon;
  const moments = noiseMultiplierFor({ epsilon: own, delta, sampleRate: 1, steps: releases });
  if (steps === 0) return { moments, steps: 1 };
  const others = [gaussianEvent(moments, releases)];
  return { moments, steps: noiseMultiplierFor({ epsilon, delta, sampleRate, steps, others }) };
}
