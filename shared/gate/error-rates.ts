/**
 * How a site's three sums are weighed against one another, and how often its answers are wrong. Everything here is a
 * function of the policy and of public numbers.
 *
 * One patient adds one vector (copies, membership, size) of norm at most 1:
 *
 *   trained on:  w₁·(c - β),  w₂·ρ·(u - 2γ),  w₃        held out:  0,  -w₂·u,  w₃
 *
 * with c = 1 where an image of the patient has a copy among the synthetic ones, else 0; u in [-1, 1], 1 where one lies on
 * a synthetic image; β and γ the policy's bounds; ρ = h / (1 - h) for the share h that is held out. No sum is divided by
 * anything, so no count of patients is needed, true or public: the first is above 0 when more than a share β of the
 * training patients has a copy, the second when members are nearer than non-members by more than γ.
 */
import { normalCdf } from '../dp/special.ts';

/** What the weights follow from. */
export interface QuestionTerms {
  readonly holdOut: number;
  readonly noiseMultiplier: number;
  readonly memorisation: { readonly shareAtMost: number };
  readonly membership: { readonly advantageAtMost: number };
}

export interface QuestionWeights {
  readonly copies: number;
  readonly membership: number;
  readonly size: number;
  /** ρ: what one training patient weighs beside one that is held out. */
  readonly ratio: number;
}

/** Counting patients needs the least precision. */
const SIZE = 0.25;

/** Guarantee: w₁² + (w₂·ρ·(1 + 2γ))² + w₃² ≤ 1 and w₂² + w₃² ≤ 1, which bounds every patient's vector by 1. */
export function questionWeights({ holdOut, membership }: QuestionTerms): QuestionWeights {
  const ratio = holdOut / (1 - holdOut);
  const member = Math.sqrt(1 - SIZE ** 2);
  const ofTraining = member * ratio * (1 + 2 * membership.advantageAtMost);
  return { copies: Math.sqrt(1 - SIZE ** 2 - ofTraining ** 2), membership: member, size: SIZE, ratio };
}

export interface ErrorRates {
  /** No copies, and "yes"; just as often: twice the bound, and "no". */
  readonly memorisation: number;
  /** No advantage, and "yes"; just as often: twice the bound, and "no". An upper bound. */
  readonly membership: number;
}

/**
 * How often a site of `patients` gives a wrong answer.
 *
 * The second counts beside the noise the luck of who is held out, at its worst: n·h / (1 - h) for |u| ≤ 1.
 */
export function errorRates(gate: QuestionTerms, patients: number): ErrorRates {
  const { holdOut: h, noiseMultiplier: sigma, memorisation, membership } = gate;
  const w = questionWeights(gate);
  const copies = (memorisation.shareAtMost * patients * (1 - h) * w.copies) / sigma;
  const luck = w.membership ** 2 * patients * w.ratio;
  const near = (2 * membership.advantageAtMost * h * patients * w.membership) / Math.sqrt(sigma ** 2 + luck);
  return { memorisation: normalCdf(-copies), membership: normalCdf(-near) };
}

/** How often a site of `patients` says that it cannot tell. */
export const cannotTellRate = (gate: QuestionTerms & { leastPatients: number }, patients: number): number =>
  normalCdf((-(patients - gate.leastPatients) * questionWeights(gate).size) / gate.noiseMultiplier);

/** How often a candidate with no copies and no advantage is let through by so many sites, at least. */
export function passRate(gate: QuestionTerms & { leastPatients: number }, patients: readonly number[]): number {
  const wrong = patients.map((n) => {
    const { memorisation, membership } = errorRates(gate, n);
    return memorisation + membership + cannotTellRate(gate, n);
  });
  return Math.max(0, 1 - wrong.reduce((sum, p) => sum + p, 0));
}
