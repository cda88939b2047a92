/** A policy for a demonstration's data, from a base policy: the base's noise and steps, the data's classes and counts. */
import { leastSurvivors, thresholdOf } from '../../shared/aggregation/secagg/threshold.ts';
import { overflowDelta } from '../../shared/dp/poisson.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { countByClass, type LabelledImages } from '../../shared/imaging/images.ts';
import { leastBits, pooledKindsOf } from '../../shared/policy/pooled.ts';
import type { Policy } from '../../shared/policy/schema.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { momentLengths } from '../../site-agent/site-computation.ts';
import type { SiteFacts } from './data.ts';

export interface DerivedFrom {
  readonly sites: readonly SiteFacts[];
  /** Held out and public: the shares of the classes are counted on it. */
  readonly test: LabelledImages;
  readonly imagesPerPatient: number;
  readonly patientsKnown: boolean;
  /** Generator rounds, when other than the base's. */
  readonly rounds?: number;
}

/** Steps to spare for sites that are killed and started again. */
const SPARE_STEPS = 10;
/** Share of delta that the cap on the batch may use up, at most. */
const OVERFLOW_SHARE = 0.01;

/**
 * Adapts a policy; nothing of it is checked here, `loadPolicy` does that.
 *
 * Every site joins with the base's sample rate, or a lower one where it has more patients than the base declares, so
 * that the base's noise pays for it.
 */
export function derivePolicy(base: Policy, from: DerivedFrom): Policy {
  const { test } = from;
  const training = { ...base.training, rounds: from.rounds ?? base.training.rounds };
  const steps = training.rounds * training.discriminatorSteps + training.warmupDiscriminatorSteps;
  const maxSteps = steps + SPARE_STEPS;
  const delta = base.privacy.mechanism === 'dp-sgd' ? base.privacy.delta : 1e-5;
  const sites = from.sites.map((facts) => [facts.siteId, siteNumbers(base, facts, maxSteps, delta)] as const);
  // A gate that could not tell anything of so few patients is left out.
  const { gate: asked } = base.release;
  const gate = asked !== null && from.sites.every((s) => s.patients >= asked.leastPatients) ? asked : null;
  const imagesPerPatient = Math.min(base.privacy.imagesPerPatient, from.imagesPerPatient);
  const model = { ...base.model, imageSize: test.size as 28, channels: test.channels, classes: [...test.classNames] };
  return withRoom({
    ...base,
    id: 'demo-derived',
    model,
    training,
    privacy: { ...base.privacy, imagesPerPatient, maxSteps },
    labels: { distribution: shares(test) },
    sites: Object.fromEntries(sites),
    aggregation: aggregationFor(base.aggregation, from.sites.length),
    ...(base.log && { log: { witnessQuorum: quorumFor(base.log.witnessQuorum, from.sites.length) } }),
    release: { ...base.release, gate },
    evaluation: { publicTestSet: { source: 'held out by the demonstration; at no site' } },
    why: {
      ...Object.fromEntries(
        Object.entries(base.why).filter(([path]) => gate !== null || !path.startsWith('release.gate.')),
      ),
      ...(gate === null && { 'release.gate': 'none: a demonstration’s images are public' }),
      sites: 'classes and patients as dealt: a demonstration’s images are public, so they may be counted',
      'labels.distribution': 'shares of the classes in the held-out part, which is public',
      'privacy.unit': from.patientsKnown
        ? 'a patient’s images count once, however many there are'
        : 'the data name no patients: every image counts as one, and the claim protects single images',
      'privacy.imagesPerPatient': 'as many as the data have, at most the base policy’s',
      'privacy.maxSteps': `${steps} steps of training, and ${SPARE_STEPS} to spare for restarts`,
    },
  });
}

/** The base's scheme for so many sites, all of them needed: as many colluders and drop-outs as the base has and they bear. */
function aggregationFor(base: Policy['aggregation'], sites: number): Policy['aggregation'] {
  const of = { ...base, minSites: sites, minSurvivors: Math.min(base.minSurvivors, sites) };
  if (base.maxSites !== undefined) of.maxSites = Math.max(base.maxSites, sites);
  if (base.maxColluders === undefined || base.maxDropouts === undefined) return of;
  const bears = (c: number) => Math.max(leastSurvivors(c), thresholdOf(sites, c));
  of.maxColluders = base.maxColluders;
  while (of.maxColluders > 0 && bears(of.maxColluders) > sites) of.maxColluders -= 1;
  of.minSurvivors = Math.max(of.minSurvivors, leastSurvivors(of.maxColluders));
  of.maxDropouts = Math.max(0, Math.min(base.maxDropouts, sites - Math.max(of.minSurvivors, bears(of.maxColluders))));
  return of;
}

/** A pooled policy with noise for as many colluders and drop-outs as its sums bear, and room for these vectors and values. */
function withRoom(policy: Policy): Policy {
  const { pooled: base, aggregation } = policy;
  if (base === undefined) return policy;
  const discriminator = openGan(ganConfigOf(policy)).discriminator.layout.length;
  const pooled = {
    ...base,
    coordinates: Math.max(base.coordinates, discriminator, ...momentLengths(policy)),
    maxColluders: aggregation.maxColluders ?? base.maxColluders,
    maxDropouts: aggregation.maxDropouts ?? base.maxDropouts,
  };
  const wide = { ...policy, pooled };
  if (aggregation.bits === undefined) return wide;
  const bits = Math.max(aggregation.bits, ...pooledKindsOf(wide).map((kind) => leastBits(wide, kind)));
  return { ...wide, aggregation: { ...aggregation, bits } };
}

/** Above half of the sites and one that lies, which for three is all of them; none where the base asks for none. */
const quorumFor = (base: number, sites: number): number =>
  base === 0 ? 0 : Math.min(sites, Math.floor((sites + 1) / 2) + 1);

function siteNumbers(base: Policy, { patients, classes }: SiteFacts, steps: number, delta: number) {
  const { privacy } = base;
  const sampleRate = Math.min(privacy.sampleRate, privacy.expectedBatch / patients);
  const expectedBatch = Number((sampleRate * patients).toPrecision(12));
  let maxBatch = Math.ceil(expectedBatch + 6 * Math.sqrt(expectedBatch));
  const overflow = () => overflowDelta({ sampleRate, maxBatch, patientsAtMost: patients, steps });
  while (overflow() > OVERFLOW_SHARE * delta) maxBatch += 1;
  return { classes: [...classes], sampleRate, expectedBatch, maxBatch };
}

/** Share of each class; the last takes what rounding leaves. */
function shares(images: LabelledImages): Record<string, number> {
  const counts = countByClass(images);
  const rounded = Array.from(counts, (n) => Math.round((1000 * n) / images.n));
  rounded[rounded.length - 1] += 1000 - rounded.reduce((sum, x) => sum + x, 0);
  return Object.fromEntries(images.classNames.map((name, k) => [name, rounded[k] / 1000]));
}
