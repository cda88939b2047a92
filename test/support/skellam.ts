/** The Skellam law in double precision, from its big-integer weights: an oracle for tests. */
import { skellamWeights } from '../../shared/dp/skellam-table.ts';

/** ln P[k] for |k| ≤ reach. */
export function skellamLogMass(variance: number, reach: number): (k: number) => number {
  const log = (x: bigint): number => {
    const bits = x.toString(2);
    const kept = Math.min(60, bits.length);
    return Math.log(parseInt(bits.slice(0, kept), 2)) + (bits.length - kept) * Math.LN2;
  };
  const logs = skellamWeights(variance, reach).map(log);
  const total = logs.reduce((sum, l, k) => sum + (k === 0 ? 1 : 2) * Math.exp(l - logs[0]), 0);
  const normaliser = logs[0] + Math.log(total);
  return (k) => (Math.abs(k) <= reach ? logs[Math.abs(k)] - normaliser : -Infinity);
}

/** Distribution function at k + 1/2, as a table from -reach. */
export function skellamCumulative(variance: number, reach: number): (k: number) => number {
  const mass = skellamLogMass(variance, reach);
  let sum = 0;
  const table = Float64Array.from({ length: 2 * reach + 1 }, (_, i) => (sum += Math.exp(mass(i - reach))));
  return (k) => (k < -reach ? 0 : table[Math.min(2 * reach, k + reach)]);
}
