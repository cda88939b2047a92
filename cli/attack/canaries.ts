/**
 * One-run canary audits of what a site makes: each canary is a patient of its own, in the data by a fair coin; the
 * attacker sees what leaves and guesses the coins. The same code as at a site; the controls are the same code under a
 * policy that is worse than the claim.
 */
import { decodedScores, nearestSetting } from '../../shared/attack/decode.ts';
import { type CanaryVerdict, judgeCanaries } from '../../shared/attack/one-run-bound.ts';
import { costOfEvents } from '../../shared/dp/convert.ts';
import { gaussianEvent, poissonGaussianEvent, type PrivacyEvent } from '../../shared/dp/event.ts';
import { latticeFor } from '../../shared/dp/noised.ts';
import { epsilonOfCurve, lossCurve } from '../../shared/dp/pld.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { FedError } from '../../shared/errors.ts';
import { discriminatorToBytes, stepDiscriminator } from '../../shared/gan/noised-discriminator.ts';
import { MomentSummer } from '../../shared/moments/embedding.ts';
import { featureSet } from '../../shared/moments/features.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { discriminatorTrainingOf } from '../../shared/policy/training.ts';
import { meanOverExpectedBatch, privatize, dangerouslyTrustAsClippedSum } from '../../shared/dp/noised.ts';
import type { RandomBytes } from '../../shared/random.ts';
import { auditPolicy } from './audit-policy.ts';
import { AUDITED, AuditedSite, noiseImages } from './audited-site.ts';
import type { AttackResult } from './result.ts';

export interface CanaryParts {
  readonly engine: Engine;
  /** Whose networks, optimiser and rule of clipping are audited. */
  readonly base: CheckedPolicy;
  readonly random: RandomBytes;
  /** Called with the share that is done. */
  readonly progress?: (share: number) => void;
}

/** How a mechanism departs from its claim. */
export interface Departure {
  readonly variant: string;
  /** What the noise multiplier is multiplied by. */
  readonly noise: number;
  /** What the clip is multiplied by, while the noise stays what it was. */
  readonly clip: number;
}
export const AS_IT_IS: Departure = { variant: 'as it is', noise: 1, clip: 1 };
export const NOISE_REMOVED: Departure = { variant: 'noise removed', noise: 1e-3, clip: 1 };
export const CLIP_DOUBLED: Departure = { variant: 'clip doubled', noise: 1, clip: 2 };

const DELTA = 1e-5;

/** The tightest claim there is for these events: the smaller of both accountants. */
export function claimOf(events: readonly PrivacyEvent[], delta: number): number {
  const curve = lossCurve(events);
  const pld = curve === null ? Infinity : epsilonOfCurve(curve, delta);
  return Math.min(costOfEvents(events, delta).epsilon, pld);
}

/**
 * One step with everybody drawn, over and over on fresh coins: the setting in which one run shows most. Noise is twice
 * the clip whatever the policy has: there a doubled clip is seen best, and the code knows no other noise.
 *
 * @param o.canaries - in each step; @param o.steps - each from the same public beginning, with coins of its own.
 */
export async function auditSteps(
  p: CanaryParts,
  o: { readonly canaries: number; readonly steps: number; readonly departure: Departure },
): Promise<AttackResult> {
  const { canaries, steps, departure } = o;
  const sigma = 2;
  const policy = departed(p.base, departure, { sampleRate: 1, patients: canaries, noiseMultiplier: sigma, steps: 1 });
  const candidates = noiseImages(policy, canaries, p.random);
  await using site = await AuditedSite.open({ ...p, policy, candidates });
  const start = await site.start();
  const parts = await site.parts(start);
  const scoresOf = decodedScores(parts.candidates, stdOf(policy, parts.fakes.length));
  const [scores, included]: [number[], number[]] = [[], []];
  for (let i = 0; i < steps; i++) {
    included.push(...site.coins.toss(candidates.patients));
    const before = await site.computation.initialState(site.plan);
    const { state } = await site.computation.discriminatorStep(before, site.plan, site.generator);
    const sum = site.noisedSum(start, site.state(state));
    scores.push(...scoresOf(sum.map((v, j) => v - parts.fakes[j])));
    p.progress?.((i + 1) / steps);
  }
  const claimed = claimOf([gaussianEvent(sigma, 1)], DELTA);
  return resultOf('discriminator step', departure, judgeCanaries({ scores, included, claimed, delta: DELTA }));
}

/** Several steps in a row, at each of which every patient is drawn with chance 1/2: the draw is audited too. */
export async function auditTraining(
  p: CanaryParts,
  o: { readonly canaries: number; readonly steps: number; readonly departure: Departure },
): Promise<AttackResult> {
  const { canaries, steps, departure } = o;
  const [sampleRate, sigma] = [0.5, 3];
  const policy = departed(p.base, departure, { sampleRate, patients: canaries, noiseMultiplier: sigma, steps });
  const candidates = noiseImages(policy, canaries, p.random);
  await using site = await AuditedSite.open({ ...p, policy, candidates });
  const included = site.coins.toss(candidates.patients);
  const scores = new Float64Array(canaries);
  let bytes = await site.computation.initialState(site.plan);
  for (let i = 0; i < steps; i++) {
    const before = site.state(bytes);
    const parts = await site.parts(before);
    bytes = (await site.computation.discriminatorStep(bytes, site.plan, site.generator)).state;
    const sum = site.noisedSum(before, site.state(bytes));
    const scoresOf = decodedScores(parts.candidates, stdOf(policy, parts.fakes.length), sampleRate / 2);
    scoresOf(sum.map((v, j) => v - parts.fakes[j])).forEach((score, c) => (scores[c] += score));
    p.progress?.((i + 1) / steps);
  }
  const claimed = claimOf([poissonGaussianEvent(sampleRate, sigma, steps)], DELTA);
  return resultOf(
    'discriminator, whole training',
    departure,
    judgeCanaries({ scores, included, claimed, delta: DELTA }),
  );
}

/**
 * The generator's step, as it leaves the site: the attacker sees the update alone. What it would be is worked out
 * beforehand for every setting of the coins, without noise, on public parts; then the coins are read off the nearest.
 *
 * @param o.canaries - few: the way from the discriminator to the update is not linear, so every setting is tried.
 */
export async function auditGenerator(
  p: CanaryParts,
  o: { readonly canaries: number; readonly steps: number; readonly departure: Departure },
): Promise<AttackResult> {
  const { canaries, steps, departure } = o;
  const sigma = 2;
  const policy = departed(p.base, departure, { sampleRate: 1, patients: canaries, noiseMultiplier: sigma, steps: 1 });
  const candidates = noiseImages(policy, canaries, p.random);
  await using site = await AuditedSite.open({ ...p, policy, candidates });
  const start = await site.start();
  const parts = await site.parts(start);
  const { optimiser, expectedBatch, clipNorm } = discriminatorTrainingOf(policy, AUDITED);
  const updateWithoutNoise = async (bits: ArrayLike<number>): Promise<Float32Array> => {
    const sum = Float64Array.from(parts.fakes, (f, j) =>
      parts.candidates.reduce((all, c, i) => all + bits[i] * c[j], f),
    );
    const noiseless = privatize(dangerouslyTrustAsClippedSum(sum, clipNorm), { clipNorm, noiseMultiplier: 0 }, noNoise);
    const state = stepDiscriminator(start, meanOverExpectedBatch(noiseless, expectedBatch), optimiser);
    const { update } = await site.computation.generatorGradient(discriminatorToBytes(state), site.plan, site.generator);
    return update;
  };
  const scoresOf = await nearestSetting(canaries, updateWithoutNoise);
  const [scores, included]: [number[], number[]] = [[], []];
  for (let i = 0; i < steps; i++) {
    included.push(...site.coins.toss(candidates.patients));
    const before = await site.computation.initialState(site.plan);
    const { state } = await site.computation.discriminatorStep(before, site.plan, site.generator);
    const { update } = await site.computation.generatorGradient(state, site.plan, site.generator);
    scores.push(...scoresOf(update));
    p.progress?.((i + 1) / steps);
  }
  const claimed = claimOf([gaussianEvent(sigma, 1)], DELTA);
  return resultOf('generator step', departure, judgeCanaries({ scores, included, claimed, delta: DELTA }));
}

/** The moment round as it leaves the site, at the policy's noise. Null where the policy has none. */
export async function auditMoments(
  p: CanaryParts,
  o: { readonly canaries: number; readonly releases: number; readonly departure: Departure },
): Promise<AttackResult | null> {
  const { canaries, releases, departure } = o;
  const warm = p.base.warmStart;
  if (warm.kind !== 'moments' || departure.clip !== 1) return null;
  const policy = auditPolicy(p.base, {
    ...{ sampleRate: 1, patients: canaries, noiseMultiplier: 1, clipNorm: p.base.privacy.clipNorm, steps: 1 },
    moments: { noiseMultiplier: warm.noiseMultiplier * departure.noise },
  });
  const candidates = noiseImages(policy, canaries, p.random);
  const embedded = await embeddings(p.engine, policy, candidates);
  await using site = await AuditedSite.open({ ...p, policy, candidates });
  const scoresOf = decodedScores(embedded, warm.noiseMultiplier * departure.noise);
  const [scores, included]: [number[], number[]] = [[], []];
  for (let i = 0; i < releases; i++) {
    included.push(...site.coins.toss(candidates.patients));
    scores.push(...scoresOf(await site.computation.noisedMoments(site.plan, null)));
    p.progress?.((i + 1) / releases);
  }
  const claimed = claimOf([gaussianEvent(warm.noiseMultiplier, 1)], DELTA);
  return resultOf('moment round', departure, judgeCanaries({ scores, included, claimed, delta: DELTA }));
}

async function embeddings(engine: Engine, policy: CheckedPolicy, images: ReturnType<typeof noiseImages>) {
  if (policy.warmStart.kind !== 'moments') throw new FedError('PARAMETER_INVALID', 'the policy has no moment round');
  const features = featureSet(policy.warmStart.features, images);
  const summer = await MomentSummer.create(engine, features, images, policy.model.classes.length, 1);
  try {
    const all: Float64Array[] = [];
    for (let index = 0; index < images.n; index++)
      all.push(await summer.sum(images.pixels, [{ index, label: images.labels[index], weight: 1 }]));
    return all;
  } finally {
    await summer.dispose();
  }
}

const noNoise = (out: Int32Array): void => void out.fill(0);

function departed(
  base: CheckedPolicy,
  d: Departure,
  c: { sampleRate: number; patients: number; noiseMultiplier: number; steps: number },
): CheckedPolicy {
  return auditPolicy(base, {
    ...c,
    clipNorm: base.privacy.clipNorm * d.clip,
    // In units of the clip: doubled, it would bring double the noise with it.
    noiseMultiplier: (c.noiseMultiplier * d.noise) / d.clip,
  });
}

/** Standard deviation of the noise on every coordinate of a step's sum. */
function stdOf({ privacy }: CheckedPolicy, values: number): number {
  const sigma = privacy.mechanism === 'dp-sgd' ? privacy.noiseMultiplier : 0;
  return latticeFor(values, privacy.clipNorm, sigma).std;
}

function resultOf(target: string, departure: Departure, v: CanaryVerdict): AttackResult {
  const { canaries, guesses, correct, lowerBound, claimed, refuted } = v;
  return {
    target,
    variant: departure.variant,
    control: departure !== AS_IT_IS,
    found: refuted,
    claimed,
    lowerBound,
    says: `${correct} of ${guesses} guesses about ${canaries} canaries were right`,
    figures: { canaries, guesses, correct, delta: v.delta, confidence: v.confidence },
  };
}
