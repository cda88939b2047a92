/** Small policies on phantoms: real networks, real noise, real accounting, in sizes that take milliseconds. */
import { policySha256, loadPolicy } from '../../shared/policy/load.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { countDeclarers, kindOfRound, needsCritic, publicSeedOf } from '../../shared/protocol/terms.ts';
import { FedError } from '../../shared/errors.ts';
import { type PhantomClass, phantomImages } from '../../shared/imaging/phantom.ts';
import { asPrivateImages, type PrivateImages } from '../../site-agent/imaging/private-images.ts';

export const RUN_ID = '3d0c6a52-7a35-4d0b-8a52-0d6f1f3f9a11';
export const CLASSES = ['chest', 'hand', 'head-ct'] as const satisfies readonly PhantomClass[];

const privacy = {
  mechanism: 'dp-sgd',
  unit: 'patient',
  neighbours: 'add-or-remove-one',
  epsilon: 1e6,
  delta: 1e-5,
  clipNorm: 1,
  clipRule: 'clip',
  noiseMultiplier: 1,
  sampleRate: 0.5,
  expectedBatch: 12,
  maxBatch: 24,
  imagesPerPatient: 2,
  maxSteps: 50,
  generatorClipNorm: 0.01,
};
const training = {
  rounds: 2,
  discriminatorSteps: 1,
  warmupDiscriminatorSteps: 1,
  generatorBatch: 12,
  fakesPerStep: 9,
  lrG: 0.01,
  lrD: 0.01,
  beta1: 0.5,
  beta2: 0.9,
  weightDecayD: 0,
  averageDecayD: 0.5,
  emaDecay: 0.5,
  momentWeight: 0,
};
const moments = {
  kind: 'moments',
  features: {
    kind: 'fourier',
    seed: 'test',
    blocks: [
      { on: 'pixels', bandwidth: 6, frequencies: 48, weight: 1 },
      { on: 'edges', bandwidth: 0.5, frequencies: 16, weight: 1 },
    ],
  },
  noiseMultiplier: 2,
  fitSteps: 20,
  fitBatch: 24,
  lr: 0.01,
};

/** Two moment rounds in the features of a critic. */
export const tinyCritic = {
  rounds: 2,
  width: 4,
  seed: 'test',
  blocks: [
    { on: 'maps' as const, bandwidth: 0.5, frequencies: 12, weight: 1 },
    { on: 'dense' as const, bandwidth: 0.5, frequencies: 8, weight: 2 },
  ],
  steps: 6,
  batch: 12,
  lr: 0.002,
  fitSteps: 4,
};

export interface TinyOptions {
  readonly id?: string;
  readonly classes?: readonly string[];
  readonly model?: object;
  readonly training?: Partial<typeof training> & { rateDecay?: { from: number; to: number }; momentBatch?: number };
  readonly privacy?: Partial<typeof privacy>;
  /** Null: no moment round. */
  readonly warmStart?: (Partial<typeof moments> & { critic?: typeof tinyCritic & { lastFitSteps?: number } }) | null;
  readonly sites?: Readonly<Record<string, object>>;
  readonly minSites?: number;
}

/** A policy that passes every check, and whose epsilon protects nobody. */
export const tinyPolicy = (o: TinyOptions = {}): CheckedPolicy =>
  loadPolicy(tinyFile(o), { availableSchemes: ['clear'] });

/** The same as a file. */
export function tinyFile(o: TinyOptions = {}) {
  const classes = o.classes ?? CLASSES;
  const ownPrivacy = { ...privacy, ...o.privacy };
  const minSites = o.minSites ?? 2;
  return {
    id: o.id ?? 'tiny-insecure',
    version: 1,
    placement: 'local',
    model: {
      architecture: 'mlp',
      imageSize: 28,
      channels: 1,
      classes: [...classes],
      latent: 4,
      generatorWidth: 8,
      discriminatorWidth: 4,
      conditioning: 'projection',
      groupNorm: 0,
      loss: 'bce',
      ...o.model,
    },
    training: { ...training, ...o.training },
    privacy: ownPrivacy,
    warmStart: o.warmStart === null ? { kind: 'none' } : { ...moments, ...o.warmStart },
    labels: { distribution: Object.fromEntries(classes.map((name) => [name, 1 / classes.length])) },
    ...(o.sites && { sites: o.sites }),
    aggregation: { scheme: 'clear', minSites, minSurvivors: minSites, deadlineSeconds: 600 },
    release: { maxImages: 1000, gate: null },
    evaluation: { publicTestSet: null },
    why: Object.fromEntries(
      [...Object.keys(ownPrivacy).map((key) => `privacy.${key}`), 'release.gate'].map((path) => [
        path,
        'chosen for a test',
      ]),
    ),
  };
}

/** The plan a coordinator would make. */
export function planFor(policy: CheckedPolicy, round: number, invited = ['site-1', 'site-2']): RoundPlan {
  const terms = roundTermsOf(policy);
  const sha = policySha256(policy);
  const kind = kindOfRound(terms, round);
  return {
    type: 'round.plan',
    runId: RUN_ID,
    round,
    attempt: 0,
    kind,
    policySha256: sha,
    generatorSha256: kind === 'moments' ? null : '0'.repeat(64),
    criticSha256: needsCritic(terms, round) ? 'c'.repeat(64) : null,
    discriminatorSteps: kind === 'moments' ? 0 : 1,
    invited,
    declarers: countDeclarers(terms, invited),
    publicSeed: publicSeedOf(RUN_ID, round, sha),
    scheme: 'clear',
    deadlineMs: 1000,
    roster: { version: 1, sha256: '7'.repeat(64) },
    checkpoint: { size: 0, root: '0'.repeat(64) },
    witnessed: null,
  };
}

/** Phantoms as a site holds them. */
export const phantomSite = (o: Partial<Parameters<typeof phantomImages>[0]> = {}): PrivateImages =>
  asPrivateImages(phantomImages({ size: 28, channels: 1, patients: 24, classes: CLASSES, seed: 'glue', ...o }), true);

/** The code and detail something is refused with. */
export async function refusalOf(run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    return error instanceof FedError ? error.message : `not a FedError: ${String(error)}`;
  }
  return 'no error';
}
