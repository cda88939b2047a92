/** Policies that pool the discriminator, small enough for tests. */
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { loadPolicy } from '../../shared/policy/load.ts';
import { CLASSES } from './glue-rig.ts';

export interface PooledOptions {
  readonly secure?: boolean;
  readonly training?: Readonly<Record<string, unknown>>;
  readonly privacy?: Readonly<Record<string, unknown>>;
  readonly pooled?: Readonly<Record<string, unknown>>;
  readonly aggregation?: Readonly<Record<string, unknown>>;
  readonly model?: Readonly<Record<string, unknown>>;
  readonly moments?: boolean;
  readonly sites?: Readonly<Record<string, unknown>>;
}

/** The file, unchecked. Without `secure` there is no mechanism, and sums are in the open. */
export function pooledFile(o: PooledOptions = {}) {
  const secure = o.secure ?? false;
  const privacy = {
    mechanism: secure ? 'dp-sgd' : 'none-insecure',
    unit: 'patient',
    neighbours: 'add-or-remove-one',
    ...(secure && { epsilon: 40, delta: 1e-5, noiseMultiplier: 1 }),
    clipNorm: 1,
    clipRule: 'clip',
    sampleRate: 0.5,
    expectedBatch: 12,
    maxBatch: 24,
    imagesPerPatient: 2,
    maxSteps: 12,
    generatorClipNorm: 10,
    ...o.privacy,
  };
  const sizes = { minSites: 3, minSurvivors: 3, deadlineSeconds: 600 };
  const secagg = { bits: 22, maxSites: 8, maxColluders: 1, maxDropouts: 0, graphAboveSites: 8 };
  return {
    id: secure ? 'pooled-test' : 'pooled-insecure',
    version: 1,
    placement: 'pooled',
    pooled: {
      stepsPerClip: 2048,
      coordinates: 20_000,
      maxDropouts: 0,
      maxColluders: 1,
      generatorSteps: 1,
      ...o.pooled,
    },
    model: {
      architecture: 'mlp',
      imageSize: 28,
      channels: 1,
      classes: [...CLASSES],
      latent: 4,
      generatorWidth: 8,
      discriminatorWidth: 4,
      conditioning: 'projection',
      groupNorm: 0,
      loss: 'bce',
      ...o.model,
    },
    training: {
      rounds: 2,
      discriminatorSteps: 2,
      warmupDiscriminatorSteps: 1,
      generatorBatch: 12,
      fakesPerStep: 30,
      lrG: 0.01,
      lrD: 0.01,
      beta1: 0.5,
      beta2: 0.9,
      weightDecayD: 0,
      averageDecayD: 0.5,
      emaDecay: 0.5,
      momentWeight: 0,
      ...o.training,
    },
    privacy,
    warmStart: o.moments
      ? {
          kind: 'moments',
          features: {
            kind: 'fourier',
            seed: 'test',
            blocks: [{ on: 'pixels', bandwidth: 6, frequencies: 48, weight: 1 }],
          },
          noiseMultiplier: secure ? 2 : 0,
          fitSteps: 5,
          fitBatch: 12,
          lr: 0.01,
        }
      : { kind: 'none' },
    labels: { distribution: Object.fromEntries(CLASSES.map((name) => [name, 1 / CLASSES.length])) },
    ...(o.sites && { sites: o.sites }),
    aggregation: { scheme: secure ? 'secagg' : 'clear', ...sizes, ...(secure && secagg), ...o.aggregation },
    release: { maxImages: 1000, gate: null },
    evaluation: { publicTestSet: null },
    why: Object.fromEntries(
      [...Object.keys(privacy).map((key) => `privacy.${key}`), 'release.gate'].map((path) => [
        path,
        'chosen for a test',
      ]),
    ),
  };
}

export const pooledPolicy = (o: PooledOptions = {}): CheckedPolicy =>
  loadPolicy(pooledFile(o), { availableSchemes: ['clear', 'secagg'] });
