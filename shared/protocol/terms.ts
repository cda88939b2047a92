import { hashJson } from '../audit/canonical.ts';
import type { AdaptiveConfig } from '../dp/adaptive-schedule.ts';
import type { RoundPlan } from './plan.ts';

/**
 * What a round takes from the policy, and nothing else of it. Both sides derive it from the same hashed policy, so a
 * plan that departs from it is refused at the site.
 */
export interface RoundTerms {
  readonly policySha256: string;
  /** Rounds of a whole run, moment rounds included. */
  readonly rounds: number;
  /** How many moment rounds open the run; those after the first are in a critic's features. */
  readonly momentRounds: number;
  /** Discriminator steps of an ordinary generator round. */
  readonly discriminatorSteps: number;
  /** Further steps in the first generator round. */
  readonly warmUpSteps: number;
  /** How the steps of an ordinary round climb; null where they do not. */
  readonly adaptiveSteps: AdaptiveConfig | null;
  /** The most discriminator steps a run may ask of a site: what the stated epsilon covers. */
  readonly maxSteps: number;
  /** A round is not opened with fewer sites present. */
  readonly minSites: number;
  /** A round is not opened with more; null where the scheme sets no limit. */
  readonly maxSites: number | null;
  /** A phase with fewer answers at its deadline is void. */
  readonly quorum: number;
  readonly deadlineMs: number;
  /** Cosignatures without which a checkpoint does not carry a plan; 0 asks for none. */
  readonly witnessQuorum: number;
  readonly scheme: RoundPlan['scheme'];
  /** Number of classes of the generator. */
  readonly classes: number;
  /** Site to the classes it declares; a site that is not listed declares all. */
  readonly declared: ReadonlyMap<string, readonly number[]>;
  /** Largest L2 norm of a generator gradient. */
  readonly updateClipNorm: number;
  /** Where the discriminator is pooled; null where every site has its own. */
  readonly pooled: PooledTerms | null;
  /** The guarantee of one site over one run. */
  readonly epsilon: number;
  readonly delta: number;
}

/** What a pooled round asks of a sum, so that the noise in it is what the accountant was told. */
export interface PooledTerms {
  /** A sum may lack this many of the invited sites. */
  readonly maxDropouts: number;
  /** So many sites may subtract their own share of the noise. */
  readonly maxColluders: number;
}

/** The first round in which a discriminator trains. */
export const firstGeneratorRound = (terms: RoundTerms): number => terms.momentRounds;

/** What kind of round comes at this place. */
export const kindOfRound = (terms: RoundTerms, round: number): RoundPlan['kind'] =>
  round < firstGeneratorRound(terms) ? 'moments' : terms.pooled === null ? 'generator' : 'discriminator';

/**
 * The fewest sites whose updates a sum of this plan may hold. Under `pooled` every site holds the scheme to it: shares of
 * the noise are made for so many.
 */
export const leastContributors = (terms: RoundTerms, plan: Pick<RoundPlan, 'invited'>): number =>
  terms.pooled === null ? terms.quorum : Math.max(terms.quorum, plan.invited.length - terms.pooled.maxDropouts);

/** Whether a round is in the features of a critic: a moment round after the first. */
export const needsCritic = (terms: RoundTerms, round: number): boolean => round > 0 && round < terms.momentRounds;

/** The classes a site's generator gradient may use. */
export function declaredBy(terms: RoundTerms, siteId: string): readonly number[] {
  return terms.declared.get(siteId) ?? Array.from({ length: terms.classes }, (_, k) => k);
}

/** Per class, how many of these sites declare it. [classes] */
export function countDeclarers(terms: RoundTerms, sites: readonly string[]): number[] {
  const counts = new Array<number>(terms.classes).fill(0);
  for (const site of sites) for (const k of declaredBy(terms, site)) counts[k] += 1;
  return counts;
}

/**
 * How many discriminator steps a round takes when nothing adapts it: the warm-up joins the first generator round.
 * Public: a function of the policy and the round's number.
 */
export function scheduledSteps(terms: RoundTerms, round: number): number {
  if (kindOfRound(terms, round) === 'moments') return 0;
  return terms.discriminatorSteps + (round === firstGeneratorRound(terms) ? terms.warmUpSteps : 0);
}

/** The most discriminator steps an ordinary round may ask for. */
export const mostStepsOf = (terms: RoundTerms): number =>
  Math.max(terms.discriminatorSteps, ...(terms.adaptiveSteps?.ladder ?? []));

/** The seed of everything public in a round. Derived, not chosen: no one can try seeds until one suits. */
export const publicSeedOf = (runId: string, round: number, policySha256: string): string =>
  hashJson({ purpose: 'veilgan/public-seed/1', runId, round, policySha256 });
