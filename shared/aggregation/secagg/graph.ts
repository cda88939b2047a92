/**
 * With many sites, each masks with a random few: its neighbours. How few is decided here and nowhere else.
 *
 * Every site draws its own `degree` neighbours from the invited sites with secure randomness and signs them together
 * with its keys, so nobody else has a say in who holds its shares; two sites mask with each other when either drew the
 * other. (Bell et al. 2020 let a server that is honest about it draw the graph; theirs with an active server draws as we
 * do.) What the two bounds promise, with at most `colluders` corrupt and at most `dropouts` vanished among `sites`:
 *
 * 1. except with probability 2^-σ, no honest site has `threshold` corrupt neighbours or more: they cannot open its masks;
 * 2. except with probability 2^-σ, honest sites that stay are connected: no sum of a part of them can be opened;
 * 3. except with probability 2^-η, every site keeps `threshold` neighbours that stay: the round can be closed.
 *
 * @see Bell, Bonawitz, Gascón, Lepoint, Raykova 2020, "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead",
 *   section 3.2: the same three conditions by hypergeometric tails
 */
import { FedError } from '../../errors.ts';
import { MAX_HOLDERS } from './shamir.ts';

export const SECURITY_BITS = 40;
export const CORRECTNESS_BITS = 30;

export interface GraphTerms {
  readonly sites: number;
  /** Corrupt sites among them. */
  readonly colluders: number;
  /** Sites among them that vanish. */
  readonly dropouts: number;
}

declare const checked: unique symbol;
/** A degree and a threshold that keep the three bounds; only `checkedGraph` makes one. */
export interface CheckedGraph extends GraphTerms {
  readonly [checked]: true;
  /** Neighbours that each site draws. */
  readonly degree: number;
  /** Of those, how many shares open a site's secret. */
  readonly threshold: number;
}

/**
 * The smallest degree that keeps the bounds, or the given one where that does.
 * @throws {FedError} PARAMETER_INVALID when a given degree, or every degree, breaks a bound.
 */
export function checkedGraph(terms: GraphTerms, degree?: number): CheckedGraph {
  const { sites, colluders, dropouts } = terms;
  const whole = [sites, colluders, dropouts].every((x) => Number.isInteger(x) && x >= 0);
  if (!whole || sites < 3 || colluders + dropouts >= sites - 1)
    throw new FedError('PARAMETER_INVALID', `${sites} sites, ${colluders} corrupt, ${dropouts} vanishing`);
  if (degree !== undefined) return graphOf(terms, degree);
  const known = KNOWN.get(`${sites} ${colluders} ${dropouts}`);
  if (known) return known;
  for (let k = 1; k <= Math.min(sites - 1, MAX_HOLDERS); k++) {
    const threshold = thresholdFor(terms, k);
    if (threshold !== null) {
      const graph = frozen(terms, k, threshold);
      KNOWN.set(`${sites} ${colluders} ${dropouts}`, graph);
      return graph;
    }
  }
  const said = `${colluders} corrupt and ${dropouts} vanishing of ${sites} sites`;
  throw new FedError('PARAMETER_INVALID', `no number of neighbours holds against ${said}`);
}
/** Searching takes milliseconds, and every site of a simulation asks for the same. */
const KNOWN = new Map<string, CheckedGraph>();

function graphOf(terms: GraphTerms, degree: number): CheckedGraph {
  const threshold =
    Number.isInteger(degree) && degree >= 1 && degree < terms.sites && degree <= MAX_HOLDERS
      ? thresholdFor(terms, degree)
      : null;
  if (threshold === null)
    throw new FedError('PARAMETER_INVALID', `${degree} neighbours of ${terms.sites} sites are too few, or too many`);
  return frozen(terms, degree, threshold);
}

const frozen = (terms: GraphTerms, degree: number, threshold: number): CheckedGraph =>
  Object.freeze({ ...terms, degree, threshold }) as CheckedGraph;

/** The smallest threshold that `k` neighbours allow; null when none keeps all three bounds. */
function thresholdFor({ sites: n, colluders, dropouts }: GraphTerms, k: number): number | null {
  const perSite = Math.log2(n);
  // The fewer are needed, the easier the round closes: so the smallest that is safe, found from above.
  let threshold = k + 1;
  let tail = -Infinity;
  while (threshold > 1) {
    tail = log2Add(tail, log2Probability(n - 1, colluders, k, threshold - 1));
    if (perSite + tail > -SECURITY_BITS) break;
    threshold -= 1;
  }
  if (threshold > k) return null;
  if (perSite + log2TailAtLeast(n - 1, dropouts, k, k - threshold + 1) > -CORRECTNESS_BITS) return null;
  return log2Disconnected(n, n - colluders - dropouts, k) <= -SECURITY_BITS ? threshold : null;
}

/** log2 of P[X ≥ x] for X hypergeometric: `drawn` of `total`, of which `marked` count. */
export function log2TailAtLeast(total: number, marked: number, drawn: number, x: number): number {
  if (x <= Math.max(0, drawn - (total - marked))) return 0;
  let tail = -Infinity;
  for (let i = x; i <= Math.min(marked, drawn); i++) tail = log2Add(tail, log2Probability(total, marked, drawn, i));
  return tail;
}

/** log2 of P[X = x]. */
const log2Probability = (total: number, marked: number, drawn: number, x: number): number =>
  log2Choose(marked, x) + log2Choose(total - marked, drawn - x) - log2Choose(total, drawn);

/**
 * log2 of a union bound on the chance that the `staying` honest sites fall into two parts without an edge: for every
 * size s of the smaller part, every choice of it, and all draws of both parts missing the other.
 */
function log2Disconnected(n: number, staying: number, k: number): number {
  let sum = -Infinity;
  const all = log2Choose(n - 1, k);
  for (let s = 1; s <= Math.floor(staying / 2); s++) {
    const missed = (others: number) => log2Choose(n - 1 - others, k) - all;
    sum = log2Add(sum, log2Choose(staying, s) + s * missed(staying - s) + (staying - s) * missed(s));
  }
  return sum;
}

const log2Add = (a: number, b: number): number => {
  const [high, low] = a > b ? [a, b] : [b, a];
  return low === -Infinity ? high : high + Math.log2(1 + 2 ** (low - high));
};

/** log2 of n over k; minus infinity where there is no choice. */
const log2Choose = (n: number, k: number): number =>
  k < 0 || k > n ? -Infinity : log2Factorial(n) - log2Factorial(k) - log2Factorial(n - k);

const FACTORIALS: number[] = [0];
function log2Factorial(n: number): number {
  for (let i = FACTORIALS.length; i <= n; i++) FACTORIALS.push(FACTORIALS[i - 1] + Math.log2(i));
  return FACTORIALS[n];
}
