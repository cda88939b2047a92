/**
 * The tight accountant: privacy-loss distributions, computed numerically, rounded to the safe side.
 *
 * What it is: an upper bound on the privacy curve of Gaussian and Poisson-sampled Gaussian events in any number and mix,
 * in both directions of add-or-remove, with a lower bound beside it when asked: the truth is between them. What it is
 * not: a privacy filter. Budgets are held by RDP at orders fixed in advance; this figure is shown beside it.
 * What it cannot bound (an unknown kind, a parameter out of range) costs infinity. Not audited outside.
 */
import type { PrivacyEvent } from './event.ts';
import { composeAll, CUT_TAIL, MOST_POINTS, type Part } from './pld-compose.ts';
import { discretise, type Grid, type LossPair, type LossPmf, type Side } from './pld-discretise.ts';
import { lossRange, lossVariance, type ShiftMixture, shiftMixture } from './pld-mechanism.ts';

/** A mechanism, `count` times. */
interface Repeated {
  readonly mixture: ShiftMixture;
  readonly count: number;
}

/** The losses of a list of events: where delta and epsilon are read from. */
export interface LossCurve {
  readonly side: Side;
  readonly pair: LossPair;
  /** Stride of the grid, in units of epsilon. */
  readonly grid: number;
  /** By how much rounding may have moved the losses themselves. */
  readonly slack: number;
}

/** Stride over the standard deviation of the loss of one step, on average: composition of many adds its square over six to the variance. */
const FINE = 0.1;
/** The same where very many different mechanisms are left: half the work, and some three parts in a thousand of epsilon. */
const FINE_FOR_MANY = 0.2;
/** Strides over the standard deviation of the whole, at least: for a few steps a fine grid costs nothing. */
const STRIDES = 100;
/** Widest bin over the standard deviation of the whole: tails that hardly matter may be coarse, and not coarser. */
const WIDEST = 0.03;
/** What rounding moves the loss of one step by, at most. */
const LOSS_ROUNDING = 1e-13;
/** Different mechanisms from which on those that are nearly alike are taken together. */
const MANY = 500;
const NEARLY = 2e-3;
const MOST_STEPS = 1e9;
const COARSER = 40;

/**
 * Losses of these events; null when they cannot be bounded. No events: a loss of zero.
 * @param group - patients that are added or removed together.
 */
export function lossCurve(events: Iterable<PrivacyEvent>, side: Side = 'upper', group = 1): LossCurve | null {
  const mechanisms = mechanismsOf(events, group);
  if (mechanisms === null) return null;
  if (mechanisms.length === 0) return { side, pair: { remove: NOTHING, add: NOTHING }, grid: 1, slack: 0 };
  const steps = mechanisms.reduce((sum, { count }) => sum + count, 0);
  const variance = mechanisms.reduce((sum, { mixture, count }) => sum + count * lossVariance(mixture), 0);
  if (!(steps <= MOST_STEPS && variance > 0 && variance < Infinity)) return null;
  const ranges = mechanisms.map(({ mixture }) => lossRange(mixture, CUT_TAIL / steps));
  const fine = Math.min(
    (mechanisms.length > MANY ? FINE_FOR_MANY : FINE) * Math.sqrt(variance / steps),
    Math.sqrt(variance) / STRIDES,
    // Merging is blind inside one stride, and what a step does to most patients is a loss between ln(1 - q) and 0.
    ...(side === 'lower' ? mechanisms.map(({ mixture }) => -Math.log1p(mixture.restMinus1) / 4) : []),
  );
  let grid = Math.max(fine, ...ranges.map(({ low, high }) => (high - low) / MOST_POINTS));
  for (let attempt = 0; attempt < COARSER; attempt++, grid *= 2) {
    const widest = Math.max(1, Math.floor((WIDEST * Math.sqrt(variance)) / grid));
    const pair = onGrid(mechanisms, { grid, widest, tail: CUT_TAIL / steps }, side);
    if (pair !== null) return { side, pair, grid, slack: steps * LOSS_ROUNDING };
  }
  return null;
}

const NOTHING: LossPmf = { at: Int32Array.of(0), mass: Float64Array.of(1), infinite: 0, error: 0 };

function onGrid(mechanisms: readonly Repeated[], o: Grid, side: Side): LossPair | null {
  const parts: Part[] = [];
  for (const { mixture, count } of mechanisms) {
    const pair = discretise(mixture, o, side);
    if (pair === null) return null;
    parts.push({ pair, count });
  }
  return composeAll(parts);
}

/** Mechanisms by kind; all plain Gaussians are one, exactly. Null when there is one that cannot be bounded. */
function mechanismsOf(events: Iterable<PrivacyEvent>, group: number): Repeated[] | null {
  const kinds = kindsOf(events);
  if (kinds === null) return null;
  const all: Repeated[] = [];
  for (const { rate, noise, count } of alike(kinds.filter((k) => k.rate < 1))) {
    const mixture = shiftMixture(rate, noise, group);
    if (mixture === null) return null;
    all.push({ mixture, count });
  }
  const precision = kinds.reduce((sum, { rate, noise, count }) => (rate < 1 ? sum : sum + count / noise ** 2), 0);
  if (precision === 0) return all;
  const plain = shiftMixture(1, 1 / (group * Math.sqrt(precision)));
  return plain === null ? null : [...all, { mixture: plain, count: 1 }];
}

/** Steps at one rate with one noise; a rate of 1 takes everybody. */
interface Sampled {
  readonly rate: number;
  readonly noise: number;
  readonly count: number;
}

/**
 * What was done, as one entry a kind in an order of its own. However events were written and in whatever order, the grid,
 * every rounding and so the figure are the same: a last digit that differs in one sum would move the whole grid.
 */
function kindsOf(events: Iterable<PrivacyEvent>): readonly Sampled[] | null {
  const kinds = new Map<string, Sampled>();
  for (const event of events) {
    if (event.kind !== 'gaussian' && event.kind !== 'poisson-gaussian') return null;
    if (event.kind === 'gaussian' && (event.sensitivity as number) !== 1) return null;
    if (!Number.isSafeInteger(event.count) || event.count < 1) return null;
    const rate = event.kind === 'gaussian' ? 1 : event.sampleRate;
    const noise = event.noiseMultiplier;
    if (!(rate > 0 && rate <= 1 && noise > 0)) return null;
    const key = `${rate} ${noise}`;
    const count = event.count + (kinds.get(key)?.count ?? 0);
    if (!Number.isSafeInteger(count)) return null;
    kinds.set(key, { rate, noise, count });
  }
  return [...kinds.values()].sort((a, b) => a.rate - b.rate || a.noise - b.noise);
}

/**
 * Where there are very many different mechanisms, those that are nearly alike are charged as the worst of them: a higher
 * rate with less noise dominates, so this only adds, at most two parts in a thousand to either parameter.
 */
function alike(sampled: readonly Sampled[]): readonly Sampled[] {
  if (sampled.length <= MANY) return sampled;
  const boxes = new Map<string, Sampled>();
  for (const one of sampled) {
    const key = `${Math.floor(Math.log(one.rate) / NEARLY)} ${Math.floor(Math.log(one.noise) / NEARLY)}`;
    const box = boxes.get(key) ?? { ...one, count: 0 };
    const worst = { rate: Math.max(box.rate, one.rate), noise: Math.min(box.noise, one.noise) };
    boxes.set(key, { ...worst, count: box.count + one.count });
  }
  return [...boxes.values()];
}

const bothOf = ({ pair }: LossCurve): LossPmf[] => [pair.remove, pair.add];
const sign = ({ side }: LossCurve): 1 | -1 => (side === 'upper' ? 1 : -1);

/** Delta at this epsilon, the larger of both directions. In [0, 1]. */
export function deltaOfCurve(curve: LossCurve, epsilon: number): number {
  if (!(epsilon >= 0)) return 1;
  const from = epsilon - sign(curve) * curve.slack;
  const deltas = bothOf(curve).map(({ at, mass, infinite, error }) => {
    let delta = infinite + sign(curve) * error;
    for (let i = at.length - 1; i >= 0 && at[i] * curve.grid > from; i--)
      delta -= mass[i] * Math.expm1(from - at[i] * curve.grid);
    return delta;
  });
  return Math.min(1, Math.max(0, ...deltas));
}

/** Smallest epsilon at this delta, the larger of both directions. */
export function epsilonOfCurve(curve: LossCurve, delta: number): number {
  if (!(delta > 0 && delta < 1)) return Infinity;
  return Math.max(...bothOf(curve).map((pmf) => epsilonOfPmf(curve, pmf, delta)));
}

/** delta(ε) = infinite + Σ_{loss > ε} mass (1 - e^(ε - loss)): between two losses, an equation in e^ε. */
function epsilonOfPmf(curve: LossCurve, { at, mass, infinite, error }: LossPmf, delta: number): number {
  const { grid, slack } = curve;
  const budget = delta - infinite - sign(curve) * error;
  if (!(budget > 0)) return Infinity;
  let above = 0;
  let tilted = 0;
  for (let i = at.length - 1; i >= 0; i--) {
    const loss = at[i] * grid;
    // `above - tilted` is delta at this loss; between it and the one above, delta is above - e^(ε - loss) tilted.
    if (above - tilted > budget) {
      const crossing = loss + Math.log((above - budget) / tilted);
      return Math.max(0, Math.min(crossing, at[i + 1] * grid) + sign(curve) * slack);
    }
    if (loss < -slack) return 0;
    // Σ mass e^(loss - its own), relative to the next lower loss, so that nothing overflows.
    const step = i > 0 ? (at[i] - at[i - 1]) * grid : 0;
    above += mass[i];
    tilted = (tilted + mass[i]) * Math.exp(-step);
  }
  return 0;
}
