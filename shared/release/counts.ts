/** How many images of each class a release has: the caller's choice, since a generator makes as many as one likes of each. */
import { z } from 'zod';
import { FedError } from '../errors.ts';

/** Weights of the classes, in any unit, as a file gives them; a class that is not named has none. */
export const BalanceFile = z.record(z.string(), z.number().min(0));

export type Balance =
  | { readonly kind: 'policy' }
  | { readonly kind: 'uniform' }
  | { readonly kind: 'weights'; readonly weights: Readonly<Record<string, number>> };

/**
 * Shares out `total` images; by the largest remainder, so that the counts add up to it. A class with a share of more than
 * nothing has at least one image, where there are enough.
 *
 * @param shares - the policy's, in the order of `classes`.
 * @throws {FedError} PARAMETER_INVALID when weights name a class that is not there, or none at all.
 */
export function classCounts(
  classes: readonly string[],
  shares: readonly number[],
  balance: Balance,
  total: number,
): number[] {
  const wanted = weightsOf(classes, shares, balance);
  const sum = wanted.reduce((a, b) => a + b, 0);
  if (!(sum > 0)) throw new FedError('PARAMETER_INVALID', 'no class has a share of the images');
  const exact = wanted.map((w) => (total * w) / sum);
  const least = exact.map((x, k) => Math.max(Math.floor(x), wanted[k] > 0 && total >= classes.length ? 1 : 0));
  const order = exact.map((x, k) => ({ k, rest: x - least[k] })).sort((a, b) => b.rest - a.rest || a.k - b.k);
  let left = total - least.reduce((a, b) => a + b, 0);
  for (let i = 0; left > 0; i = (i + 1) % order.length) {
    if (wanted[order[i].k] === 0) continue;
    least[order[i].k]++;
    left--;
  }
  // Ones that were given to rare classes are taken from the largest.
  for (; left < 0; left++) least[least.indexOf(Math.max(...least))]--;
  return least;
}

function weightsOf(classes: readonly string[], shares: readonly number[], balance: Balance): readonly number[] {
  if (balance.kind === 'policy') return shares;
  if (balance.kind === 'uniform') return classes.map(() => 1);
  const unknown = Object.keys(balance.weights).find((name) => !classes.includes(name));
  if (unknown !== undefined)
    throw new FedError('PARAMETER_INVALID', `no class "${unknown}"; there are ${classes.join(', ')}`);
  return classes.map((name) => balance.weights[name] ?? 0);
}

/** How often a class is drawn, over how often the policy's public shares would draw it; null where those never do. */
export function oversampling(counts: readonly number[], shares: readonly number[]): (number | null)[] {
  const total = counts.reduce((a, b) => a + b, 0);
  return counts.map((n, k) => (shares[k] > 0 && total > 0 ? n / total / shares[k] : null));
}

/** [sum of counts] labels: classes by turns until one after the other runs out, so that the first images show them all. */
export function labelsInTurn(counts: readonly number[]): Int32Array {
  const left = [...counts];
  const labels = new Int32Array(counts.reduce((a, b) => a + b, 0));
  for (let i = 0; i < labels.length;)
    for (let k = 0; k < left.length; k++) {
      if (left[k] === 0) continue;
      left[k]--;
      labels[i++] = k;
    }
  return labels;
}
