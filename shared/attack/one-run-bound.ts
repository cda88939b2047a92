/**
 * What guesses about canaries prove: privacy auditing with one training run (Steinke, Nasr and Jagielski 2023, arXiv
 * 2305.08846, theorem 5.2 and appendix D). Each of m canaries was put in by a fair coin of its own; from what leaves, an
 * attacker guesses r of the coins and has v right. No (epsilon, delta)-private mechanism lets that happen more often than
 * `pValue` says. A lower bound finds faults; it proves no mechanism private.
 */
import { FedError } from '../errors.ts';
import { logBinomialUpperTail, logGamma } from '../dp/special.ts';

/** What was guessed. */
export interface Guesses {
  /** m: canaries, each in by a fair coin. */
  readonly canaries: number;
  /** r: guesses that were made; about the others the attacker is silent. */
  readonly guesses: number;
  /** v: of them, right. */
  readonly correct: number;
}

/**
 * The most often that a mechanism of this epsilon and delta lets an attacker be right v times of r or more.
 * @throws {FedError} PARAMETER_INVALID
 */
export function pValue(g: Guesses, epsilon: number, delta: number): number {
  check(g);
  if (!(epsilon >= 0 && delta >= 0 && delta <= 1))
    throw new FedError('PARAMETER_INVALID', `epsilon=${epsilon}, delta=${delta}`);
  const { canaries: m, guesses: r, correct: v } = g;
  // The accuracy of randomised response.
  const q = 1 / (1 + Math.exp(-epsilon));
  const beta = Math.exp(logBinomialUpperTail(r, q, v));
  let alpha = 0;
  let below = 0;
  for (let i = 1; i <= v && delta > 0; i++) {
    below += Math.exp(logBinomial(r, q, v - i));
    alpha = Math.max(alpha, below / i);
  }
  return Math.min(1, beta + 2 * m * delta * alpha);
}

/**
 * The largest epsilon that the guesses refute at this confidence; 0 when they refute none.
 * @param confidence - such as 0.95: how often at least such a bound is right.
 */
export function epsilonLowerBound(g: Guesses, delta: number, confidence: number): number {
  if (!(confidence > 0 && confidence < 1)) throw new FedError('PARAMETER_INVALID', `confidence=${confidence}`);
  const refuted = (epsilon: number): boolean => pValue(g, epsilon, delta) < 1 - confidence;
  if (!refuted(0)) return 0;
  let [low, high] = [0, 1];
  while (refuted(high) && high < 64) high *= 2;
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (refuted(middle)) low = middle;
    else high = middle;
  }
  return low;
}

const logBinomial = (n: number, q: number, k: number): number => {
  if (q >= 1) return k === n ? 0 : -Infinity;
  return logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1) + k * Math.log(q) + (n - k) * Math.log1p(-q);
};

function check({ canaries, guesses, correct }: Guesses): void {
  const whole = [canaries, guesses, correct].every((x) => Number.isSafeInteger(x) && x >= 0);
  if (!whole || correct > guesses || guesses > canaries)
    throw new FedError('PARAMETER_INVALID', `${correct} right of ${guesses} guesses about ${canaries} canaries`);
}

/**
 * Guesses "in" for the highest scores and "out" for the lowest, half each; silent between.
 * @param scores - higher: more likely in. @param included - the coins.
 */
export function guess(scores: ArrayLike<number>, included: ArrayLike<number>, share: number): Guesses {
  const canaries = scores.length;
  const half = Math.max(1, Math.min(Math.floor(canaries / 2), Math.round((share * canaries) / 2)));
  const order = Array.from({ length: canaries }, (_, i) => i).sort((a, b) => scores[b] - scores[a]);
  const top = order.slice(0, half).filter((i) => included[i] === 1).length;
  const bottom = order.slice(canaries - half).filter((i) => included[i] === 0).length;
  return { canaries, guesses: 2 * half, correct: top + bottom };
}

/** Shares of the canaries that are guessed about, fixed beforehand: a choice made afterwards would have to be paid for. */
export const GUESS_SHARES = [0.015, 0.05, 0.2, 1] as const;

export interface CanaryVerdict extends Guesses {
  /** Of the mechanism's own account. */
  readonly claimed: number;
  readonly delta: number;
  /** At `confidence`, whichever of the shares gave most; the choice between them is paid for. */
  readonly lowerBound: number;
  readonly confidence: number;
  /** Whether the guesses refute the claim. */
  readonly refuted: boolean;
}

/** The best bound over the shares that were fixed beforehand, by the union bound. */
export function judgeCanaries(p: {
  readonly scores: ArrayLike<number>;
  readonly included: ArrayLike<number>;
  readonly claimed: number;
  readonly delta: number;
  readonly confidence?: number;
}): CanaryVerdict {
  const confidence = p.confidence ?? 0.95;
  const each = 1 - (1 - confidence) / GUESS_SHARES.length;
  const tried = GUESS_SHARES.map((share) => {
    const g = guess(p.scores, p.included, share);
    return { ...g, lowerBound: epsilonLowerBound(g, p.delta, each) };
  });
  const best = tried.reduce((a, b) => (b.lowerBound > a.lowerBound ? b : a));
  return { ...best, claimed: p.claimed, delta: p.delta, confidence, refuted: best.lowerBound > p.claimed };
}
