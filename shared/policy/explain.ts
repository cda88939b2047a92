/**
 * A policy in plain language: what it promises, to whom, against whom, at what cost in noise, and what it does not say.
 * Every figure in the text is in the structure beside it. Pure.
 */
import { sayEpsilon } from '../dp/show-epsilon.ts';
import { type PolicyCosts, costsOfPolicy } from './cost-by-accountant.ts';
import { gateLines } from './explain-gate.ts';
import type { DeepReadonly } from './freeze.ts';
import { pooledOf, sensitivityOf } from './pooled.ts';
import { samplingOf } from './sampling.ts';
import type { Policy } from './schema.ts';

/** A heading and its sentences. */
export interface Section {
  readonly title: string;
  readonly lines: readonly string[];
}

/** How much noise there is beside what it hides. */
export interface NoiseCost {
  readonly what: 'discriminator' | 'moments';
  /** Values in the noised vector. */
  readonly values: number;
  /** Of the noise on every value of the sum. */
  readonly standardDeviation: number;
  /** Length of the noise over the longest that the whole expected sum can be. */
  readonly toSignal: number;
}

export interface Explanation {
  /** Null without a mechanism. */
  readonly costs: PolicyCosts | null;
  readonly noise: readonly NoiseCost[];
  readonly sections: readonly Section[];
}

/** @param discriminatorValues - parameters of the policy's discriminator. */
export function explainPolicy(
  policy: DeepReadonly<Policy>,
  { discriminatorValues, siteId }: { discriminatorValues: number; siteId?: string },
): Explanation {
  const insecure = policy.privacy.mechanism === 'none-insecure';
  const costs = insecure ? null : costsOfPolicy(policy, siteId);
  const noise = noiseOf(policy, discriminatorValues);
  const sections = [
    promised(policy, costs),
    counted(policy, costs),
    several(costs),
    against(policy),
    unread(policy),
    price(policy, noise),
    leaves(policy),
    { title: 'The release gate', lines: gateLines(policy) },
    unsaid(policy),
  ];
  return { costs, noise, sections: sections.filter((s) => s.lines.length > 0) };
}

function promised({ privacy }: DeepReadonly<Policy>, costs: PolicyCosts | null): Section {
  const title = 'What is promised, and to whom';
  if (privacy.mechanism === 'none-insecure' || costs === null)
    return { title, lines: ['Nothing. There is no privacy mechanism: whoever sees what leaves may learn anything.'] };
  const { epsilon, delta, imagesPerPatient } = privacy;
  const attacks = costs.attacker.map(
    ({ falsePositiveRate: f, truePositiveRate: t }) => `${percent(t)} where ${percent(f)} of the others are named too`,
  );
  return {
    title,
    lines: [
      `To every patient of every site: whether or not the patient's images take part, what leaves is nearly the same. ` +
        `It is (${epsilon}, ${delta})-differentially private with respect to adding or removing that one patient.`,
      `One patient means all of the patient's images that the site holds; at most ${imagesPerPatient} of them are used. ` +
        'This rests on data that name their patients.',
      'It covers the discriminator, every update that is sent, the generator of every round, and all images drawn from ' +
        'it, however many and for ever. It is a claim for one whole run.',
      `In other words: whoever tests "was this patient in the data?" finds, of those who were, at most ` +
        `${attacks.join('; ')}.`,
    ],
  };
}

/** What a Gaussian release is of: moments, answers to the gate, or both where their noise is the same. */
function gaussianUse({ release, warmStart }: DeepReadonly<Policy>, noiseMultiplier: number): string {
  const gate = release.gate?.noiseMultiplier === noiseMultiplier;
  const moments = warmStart.kind === 'moments' && warmStart.noiseMultiplier === noiseMultiplier;
  return gate ? `${moments ? 'releases of moments and ' : ''}answers to the release gate` : 'releases of moments';
}

function counted(policy: DeepReadonly<Policy>, costs: PolicyCosts | null): Section {
  if (costs === null) return { title: 'How it is counted', lines: [] };
  const { delta, patient, events } = costs;
  const list = events.map((e) => {
    if (e.kind === 'gaussian')
      return `${e.count} ${gaussianUse(policy, e.noiseMultiplier)} at noise ${e.noiseMultiplier}`;
    if (e.kind === 'poisson-gaussian')
      return `${e.count} steps at noise ${e.noiseMultiplier}, each with a share of ${e.sampleRate} of the patients`;
    if (e.kind === 'poisson-skellam')
      return `${e.count} pooled sums at whole-number noise of variance ${show(e.variance)}, each with a share of ${e.sampleRate} of the patients`;
    return `${e.count} uses without a mechanism`;
  });
  return {
    title: 'How it is counted',
    lines: [
      `At most: ${list.join('; ')}. Steps that were interrupted and taken again are among them.`,
      `By Rényi accounting, which the ledgers are held to: epsilon ${sayEpsilon(patient.rdp)} at delta ${delta}.`,
      Number.isFinite(patient.pld)
        ? `By loss distributions, which are tighter and rounded upwards: epsilon ${sayEpsilon(patient.pld)}, of which rounding is at most ${sayEpsilon(patient.pld - patient.pldLower)}.`
        : 'The accountant of loss distributions has no bound for these events.',
    ],
  };
}

function several(costs: PolicyCosts | null): Section {
  const title = 'Families, and patients known at several sites';
  if (costs === null) return { title, lines: [] };
  const { group, sites, delta } = costs;
  const bounded = group.filter((g) => Number.isFinite(g.epsilon));
  const groups = bounded.map((g) => `${g.patients} patients: epsilon ${sayEpsilon(g.epsilon)}`).join('; ');
  const lines = [
    bounded.length === 0
      ? 'For several patients added or removed together there is no bound here.'
      : `Added or removed together at delta ${delta}: ${groups}. The promise is made to single patients.`,
  ];
  if (sites === null) lines.push('A patient whom two sites hold counts as a group of two: there is one sum for all.');
  else {
    const all = sites.map((s) => `${s.sites} sites: epsilon ${sayEpsilon(s.epsilon)}`).join('; ');
    lines.push(
      `A patient whom several sites hold is paid for at each: ${all} at delta ${delta}. Sites do not compare their ` +
        'lists. Where one of them knows, it leaves the patient out: veilgan site withdraw.',
    );
  }
  return { title, lines };
}

function against(policy: DeepReadonly<Policy>): Section {
  const title = 'Against whom';
  const { placement, privacy } = policy;
  if (privacy.mechanism === 'none-insecure') return { title, lines: [] };
  if (placement === 'local')
    return {
      title,
      lines: [
        'Against everyone: the coordinator, all other sites, whoever receives images, and all of them together. Each ' +
          'site adds all of the noise itself, so nobody else has to be trusted with it.',
        'Against the site itself nothing is promised: it has the images.',
      ],
    };
  const { maxColluders = 0, maxDropouts = 0 } = policy.pooled ?? {};
  return {
    title,
    lines: [
      `Against everyone, up to ${maxColluders} of the sites among them, while ${maxDropouts === 0 ? 'none' : `at most ${maxDropouts}`} of the ` +
        'sites that were invited to a sum is missing from it. Each site adds a share of the noise, and could subtract its own.',
      `It does not hold against more than ${maxColluders} of the sites working together: with each more, less noise is left.`,
      'It rests on sums that nobody can open into their parts: a single update carries only a share of the noise.',
    ],
  };
}

function unread({ aggregation: a, placement }: DeepReadonly<Policy>): Section {
  const title = 'Who can read a single update';
  const whole = placement === 'local' ? 'what they then read is clipped and noised, and within the promise' : '';
  switch (a.scheme) {
    case 'clear':
      return {
        title,
        lines: [`The coordinator reads every update; ${whole || 'each carries only a share of noise'}.`],
      };
    case 'secagg':
      return { title, lines: maskedLines(a, placement) };
    case 'bfv':
      return {
        title,
        lines: [
          'The coordinator adds up ciphertexts that it cannot open. Every site holds the key, so the coordinator and any ' +
            `one site together can open a single update${whole === '' ? '' : `; ${whole}`}.`,
        ],
      };
    default:
      return a.scheme satisfies never;
  }
}

/** Under masks. A pooled promise rests on them; a local one does not. */
function maskedLines(a: DeepReadonly<Policy>['aggregation'], placement: Policy['placement']): string[] {
  const { maxColluders: colluders = 0, maxSites = 0, graphAboveSites = 0, minSurvivors } = a;
  const nobody =
    colluders === 0
      ? 'Nobody but the site, while the coordinator works together with no site: with one, it may read the others’ updates.'
      : `Nobody but the site: not the coordinator, also together with up to ${colluders} other ${colluders === 1 ? 'site' : 'sites'}.`;
  const always =
    maxSites <= graphAboveSites
      ? 'This'
      : `In rounds of more than ${graphAboveSites} sites this is so but for a tiny chance; below, always. It`;
  const above =
    placement === 'local' ? 'the promise on privacy above does not' : 'so does the promise on privacy above';
  return [
    `${nobody} A sum is opened when it holds at least ${minSurvivors} updates, and only as a whole.`,
    `${always} rests on the usual assumptions of cryptography; ${above}.`,
  ];
}

function price({ privacy, placement, aggregation }: DeepReadonly<Policy>, noise: readonly NoiseCost[]): Section {
  const title = 'What it costs in noise';
  if (privacy.mechanism === 'none-insecure') return { title, lines: [] };
  const sum = placement === 'pooled' ? `of ${aggregation.minSites} sites` : 'of a site';
  const lines = noise.map(({ what, values, standardDeviation: std, toSignal }) => {
    const of = what === 'discriminator' ? 'A discriminator step' : 'A release of moments';
    return (
      `${of} adds noise of standard deviation ${show(std)} to each of ${values} values of the sum ${sum}. The noise is ` +
      `${show(toSignal)} times as long as that sum can be at most.`
    );
  });
  return { title, lines };
}

function noiseOf(policy: DeepReadonly<Policy>, discriminatorValues: number): NoiseCost[] {
  const { privacy, warmStart, model, placement, aggregation } = policy;
  if (privacy.mechanism === 'none-insecure') return [];
  const sites = placement === 'pooled' ? aggregation.minSites : 1;
  const { expectedBatch, patientsAtMost } = samplingOf(policy);
  const found: NoiseCost[] = [];
  const add = (what: NoiseCost['what'], values: number, sigma: number, norm: number, patients: number) => {
    const standardDeviation = placement === 'pooled' ? pooledDeviation(policy, what) * norm : sigma * norm;
    found.push({
      what,
      values,
      standardDeviation,
      toSignal: (standardDeviation * Math.sqrt(values)) / (patients * sites * norm),
    });
  };
  if (warmStart.kind === 'moments') {
    const frequencies = warmStart.features.blocks.reduce((all, block) => all + block.frequencies, 0);
    const values = model.classes.length * (2 * frequencies + 1);
    add('moments', values, warmStart.noiseMultiplier, 1, patientsAtMost);
  }
  if (privacy.maxSteps > 0)
    add('discriminator', discriminatorValues, privacy.noiseMultiplier, privacy.clipNorm, expectedBatch);
  return found;
}

/** Standard deviation of what is left of all shares, in units of the norm that one patient adds at most. */
const pooledDeviation = (policy: DeepReadonly<Policy>, what: NoiseCost['what']): number =>
  Math.sqrt(sensitivityOf(policy, what).variance) / pooledOf(policy).stepsPerClip;

function leaves(policy: DeepReadonly<Policy>): Section {
  const { aggregation: a, release, evaluation } = policy;
  return {
    title: 'What leaves, and what is needed for it',
    lines: [
      `A round opens with ${a.minSites} sites and counts with ${a.minSurvivors} updates.`,
      `One release is at most ${release.maxImages} images.`,
      witnessed(policy),
      evaluation.publicTestSet === null
        ? 'Nothing is measured on real images.'
        : `Measured on images declared public: ${evaluation.publicTestSet.source}.`,
    ],
  };
}

/** How many members a quorum of witnesses holds to one history: any two quorums share more sites than may lie. */
const membersHeld = (quorum: number, colluders: number): number => 2 * quorum - colluders - 1;

function witnessed({ log, aggregation, pooled }: DeepReadonly<Policy>): string {
  const quorum = log?.witnessQuorum ?? 0;
  if (quorum === 0)
    return (
      'No cosignature of a site is asked for under a checkpoint of the log: a coordinator could lead two groups of sites on ' +
      'in two histories.'
    );
  const colluders = Math.max(1, aggregation.maxColluders ?? 0, pooled?.maxColluders ?? 0);
  const counts = `A checkpoint of the log counts with the cosignatures of ${quorum} sites; without them no round opens.`;
  const held = membersHeld(quorum, colluders);
  if (held < quorum) return `${counts} That is too few to hold any number of members to one history.`;
  const liars = colluders === 1 ? 'one of the sites' : `${colluders} of the sites`;
  return (
    `${counts} With up to ${held} members in the roster nobody can be led on in two histories, also where the ` +
    `coordinator and ${liars} work together; with more members it takes more.`
  );
}

function unsaid({ privacy }: DeepReadonly<Policy>): Section {
  const lines = [
    'What somebody learns about a person from what is true of many patients, with or without that person.',
    'What is learnt by choosing these numbers in view of private results: tune on public data.',
    'Several runs: they add up, and the lifetime bound of each site holds them.',
    'That a site’s images are real, or its list of patients right.',
    'That the law is complied with. The profiles say which question of a rule a setting helps to answer, no more.',
  ];
  return { title: 'What it does not say', lines: privacy.mechanism === 'none-insecure' ? lines.slice(3) : lines };
}

const show = (x: number): string =>
  Number.isFinite(x) ? `${Math.abs(x) >= 100 ? Math.round(x) : Number(x.toPrecision(3))}` : 'infinite';
const percent = (x: number): string => `${Number((100 * x).toPrecision(2))} %`;
