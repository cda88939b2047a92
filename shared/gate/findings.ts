/**
 * The bounds of a release gate, held against what was measured. Pure, and the same at the coordinator and at an auditor
 * who has only the log. What was not measured does not hold.
 */
import type { ReleaseGate } from '../policy/gate-schema.ts';
import type { DeepReadonly } from '../policy/freeze.ts';
import type { Bound, GateFinding, GateWords, Word } from './outcome.ts';

/** What is known of one site. */
export interface SiteEvidence {
  readonly siteId: string;
  /** As it stated it last, its answer to the gate included; null where it is infinite or was never stated. */
  readonly epsilon: number | null;
  /** Null before it has answered. */
  readonly words: GateWords | null;
  readonly revoked: boolean;
}

export interface Measured {
  /** Every site that took part in the run. */
  readonly sites: readonly SiteEvidence[];
  /** Mean MS-SSIM of two candidate images of one class, by class; null where a class has none. Null: not measured. */
  readonly similarity: readonly (number | null)[] | null;
}

/** Every bound that measurements decide. @param epsilon - of the policy; infinite without a mechanism. */
export function measuredFindings(
  gate: DeepReadonly<ReleaseGate>,
  epsilon: number,
  classNames: readonly string[],
  { sites, similarity }: Measured,
): GateFinding[] {
  return [
    epsilonFinding(epsilon, sites),
    sitesFinding(gate, sites),
    wordsFinding('memorisation', gate, sites),
    wordsFinding('membership', gate, sites),
    diversityFinding(gate, classNames, similarity),
  ];
}

function epsilonFinding(limit: number, sites: readonly SiteEvidence[]): GateFinding {
  const most = sites.reduce((worst, s) => Math.max(worst, s.epsilon ?? Infinity), sites.length === 0 ? Infinity : 0);
  const holds = Number.isFinite(limit) && most <= limit * (1 + 1e-9);
  const without = sites.filter((s) => s.epsilon === null).map((s) => s.siteId);
  const say = holds
    ? `No site has spent more than ${show(most)}; the policy has ${show(limit)}.`
    : sites.length === 0
      ? 'No site has stated what it has spent.'
      : !Number.isFinite(limit)
        ? 'The policy has no privacy mechanism: epsilon is infinite.'
        : without.length > 0
          ? `${without.join(', ')} stated no finite epsilon.`
          : `A site has spent ${show(most)}, ${show(most - limit)} more than the policy's ${show(limit)}.`;
  return finding('epsilon', limit, most, 'epsilon', holds, say);
}

function sitesFinding({ minSites }: DeepReadonly<ReleaseGate>, sites: readonly SiteEvidence[]): GateFinding {
  const answered = sites.filter((s) => s.words?.kind === 'answered').length;
  const missing = sites.filter((s) => s.words === null && !s.revoked).map((s) => s.siteId);
  const declined = sites.flatMap((s) =>
    s.words?.kind === 'declined' ? [`${s.siteId} declined (${s.words.code})`] : [],
  );
  const revoked = sites
    .filter((s) => s.words === null && s.revoked)
    .map((s) => `${s.siteId} was revoked and has not answered`);
  const holds = answered >= minSites && missing.length === 0 && declined.length === 0;
  const rest = [...missing.map((s) => `${s} took part and has not answered`), ...declined, ...revoked];
  const say = `${answered} sites have judged the images; at least ${minSites} must${rest.length > 0 ? `. ${rest.join('; ')}` : ''}.`;
  return finding('sites', minSites, answered, 'sites that answered', holds, say);
}

const ASKED = {
  memorisation: (g: DeepReadonly<ReleaseGate>) =>
    `copies of more than ${show(100 * g.memorisation.shareAtMost)} % of their patients`,
  membership: (g: DeepReadonly<ReleaseGate>) =>
    `their training patients told from others by more than ${show(g.membership.advantageAtMost)}`,
} as const;

/** @returns unit "sites": a site says yes or no, and by how much it does not say. */
function wordsFinding(
  bound: keyof typeof ASKED,
  gate: DeepReadonly<ReleaseGate>,
  sites: readonly SiteEvidence[],
): GateFinding {
  const said = (word: Word) =>
    sites.flatMap((s) => (s.words?.kind === 'answered' && s.words[bound] === word ? [s.siteId] : []));
  const [yes, unsure, no] = [said('yes'), said('cannot-tell'), said('no')];
  const against = [...yes, ...(gate.cannotTell === 'refuse' ? unsure : [])];
  const holds = against.length === 0 && no.length > 0;
  const what = ASKED[bound](gate);
  const parts = [
    ...(yes.length > 0 ? [`${yes.join(', ')} found ${what}`] : []),
    ...(unsure.length > 0 ? [`${unsure.join(', ')} cannot tell: too few patients for the noise`] : []),
    ...(yes.length + unsure.length > 0
      ? []
      : [no.length > 0 ? `No site of ${no.length} found ${what}` : 'No site has said']),
  ];
  const measured = no.length + yes.length + unsure.length === 0 ? null : against.length;
  return finding(bound, 0, measured, 'sites against it', holds, `${parts.join('; ')}.`);
}

function diversityFinding(
  { diversity }: DeepReadonly<ReleaseGate>,
  classNames: readonly string[],
  similarity: Measured['similarity'],
): GateFinding {
  const limit = diversity.similarityAtMost;
  const of = (similarity ?? []).flatMap((value, k) =>
    value === null ? [] : [{ value, name: classNames[k] ?? `${k}` }],
  );
  const worst = of.find(({ value }) => !Number.isFinite(value)) ?? of.toSorted((x, y) => y.value - x.value).at(0);
  if (worst === undefined)
    return finding(
      'diversity',
      limit,
      null,
      'mean MS-SSIM in a class',
      false,
      'How alike the images are was not measured.',
    );
  const holds = worst.value <= limit;
  const by = holds ? '' : `, ${show(worst.value - limit)} too alike`;
  const say = `Two images of class "${worst.name}" are alike by ${show(worst.value)} in the mean; at most ${show(limit)}${by}.`;
  return finding('diversity', limit, worst.value, 'mean MS-SSIM in a class', holds, say);
}

export function finding(
  bound: Bound,
  limit: number,
  measured: number | null,
  unit: string,
  holds: boolean,
  say: string,
): GateFinding {
  const finite = (x: number | null) => (x !== null && Number.isFinite(x) ? x : null);
  return { bound, limit: finite(limit), measured: finite(measured), unit, holds, say };
}

const show = (x: number): string => (Number.isFinite(x) ? `${Number(x.toPrecision(4))}` : 'infinitely much');
