/**
 * Two accountants over one language of events. Each gives an upper bound on what an adversary learns about whether
 * one patient was in the data; what it does not understand costs infinity, and nothing costs nothing.
 *
 * `rdp` holds claims and budgets: its orders are fixed in advance, so it can be a filter. `pld` is tight, and stands
 * beside it: for the same events it states less, and how much less is what the claim gives away.
 */
import { costOfEvents, deltaFromRdp } from './convert.ts';
import type { PrivacyEvent } from './event.ts';
import { bisect } from './exact-gaussian.ts';
import { deltaOfCurve, epsilonOfCurve, lossCurve } from './pld.ts';
import { RDP_ORDERS, rdpOfEvents } from './rdp.ts';

export type AccountantName = 'rdp' | 'pld';

/** Which data sets count as neighbours. There is no figure of ours under any other relation. */
export const RELATION = 'add-or-remove-one-patient';
/** The same for a group that is there or not, as a whole. */
export const relationOf = (patients: number): string =>
  patients === 1 ? RELATION : `add-or-remove-${patients}-patients`;

/** A statement that can stand alone: what was bounded, by whom, and between which data sets. */
export interface Bound {
  /** Infinite when nothing can be stated. */
  readonly epsilon: number;
  readonly delta: number;
  readonly relation: string;
  readonly accountant: AccountantName;
}

export interface Accountant {
  readonly name: AccountantName;
  /** Smallest epsilon it can prove at `delta`; infinite when delta is not in (0, 1). */
  epsilon(events: Iterable<PrivacyEvent>, delta: number): Bound;
  /** Smallest delta it can prove at `epsilon` ≥ 0; 1 when nothing can be proved. */
  delta(events: Iterable<PrivacyEvent>, epsilon: number): number;
  /**
   * The same for a group of patients who are all there or all not: friends, a family, one person under several names.
   * @param patients - 1 to 64; infinite beyond.
   */
  epsilonForGroup(events: Iterable<PrivacyEvent>, patients: number, delta: number): Bound;
}

const bound = (accountant: AccountantName, epsilon: number, delta: number, patients = 1): Bound => ({
  epsilon: Number.isNaN(epsilon) ? Infinity : epsilon,
  delta,
  relation: relationOf(patients),
  accountant,
});

const isGroup = (patients: number): boolean => Number.isInteger(patients) && patients >= 1 && patients <= 64;

/** By Rényi divergences at fixed orders. */
export const rdpAccountant: Accountant = {
  name: 'rdp',
  epsilon: (events, delta) => bound('rdp', costOfEvents(events, delta).epsilon, delta),
  delta: (events, epsilon) => deltaFromRdp(RDP_ORDERS, rdpOfEvents(events), epsilon),
  epsilonForGroup(events, patients, delta) {
    if (patients === 1) return rdpAccountant.epsilon(events, delta);
    if (!isGroup(patients) || !(delta > 0 && delta < 1)) return bound('rdp', Infinity, delta, patients);
    // (ε, δ) for one patient is (kε, δ (e^kε - 1)/(e^ε - 1)) for k of them (Vadhan 2017, lemma 2.2).
    const rdp = rdpOfEvents(events);
    const holds = (epsilon: number): boolean => {
      const one = deltaFromRdp(RDP_ORDERS, rdp, epsilon);
      if (one === 0) return true;
      const growth = epsilon > 0 ? Math.expm1(patients * epsilon) / Math.expm1(epsilon) : patients;
      return one * growth <= delta;
    };
    return bound('rdp', patients * leastEpsilon(holds), delta, patients);
  },
};

/** Smallest epsilon at which `holds`, searched up to 10,000. */
function leastEpsilon(holds: (epsilon: number) => boolean): number {
  if (holds(0)) return 0;
  let high = 0.01;
  while (!holds(high)) {
    high *= 2;
    if (high > 10_000) return Infinity;
  }
  return bisect(0, high, holds);
}

/** By privacy-loss distributions: an upper bound, and from `pldBracket` how far it may be from the truth. */
export const pldAccountant: Accountant = {
  name: 'pld',
  epsilon: (events, delta) => pldAccountant.epsilonForGroup(events, 1, delta),
  delta(events, epsilon) {
    const curve = lossCurve(events);
    return curve === null ? 1 : deltaOfCurve(curve, epsilon);
  },
  epsilonForGroup(events, patients, delta) {
    const curve = isGroup(patients) ? lossCurve(events, 'upper', patients) : null;
    return bound('pld', curve === null ? Infinity : epsilonOfCurve(curve, delta), delta, patients);
  },
};

export const ACCOUNTANTS: Readonly<Record<AccountantName, Accountant>> = { rdp: rdpAccountant, pld: pldAccountant };

/**
 * The tight figure with its error stated: the true epsilon of these events at `delta` is in [lower, upper].
 * @returns upper is infinite and lower zero where nothing can be told.
 */
export function pldBracket(
  events: Iterable<PrivacyEvent>,
  delta: number,
  patients = 1,
): { readonly lower: number; readonly upper: number } {
  const list = [...events];
  const below = isGroup(patients) ? lossCurve(list, 'lower', patients) : null;
  const lower = below === null ? 0 : epsilonOfCurve(below, delta);
  return {
    lower: Number.isFinite(lower) ? lower : 0,
    upper: pldAccountant.epsilonForGroup(list, patients, delta).epsilon,
  };
}
