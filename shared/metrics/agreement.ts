/** How far readers agree beyond chance. */
import { FedError } from '../errors.ts';

/** How far apart two answers are, in [0, 1]: different is different, or by steps of an ordered scale. */
export type KappaWeights = 'none' | 'linear' | 'quadratic';

const distance = (a: number, b: number, categories: number, weights: KappaWeights): number => {
  const far = Math.abs(a - b) / Math.max(1, categories - 1);
  return weights === 'none' ? Number(a !== b) : weights === 'linear' ? far : far ** 2;
};

/**
 * Cohen's kappa of two readers who saw the same cases.
 *
 * @param a - [cases], categories as whole numbers in [0, categories).
 * @param b - [cases]
 * @returns at most 1; NaN where it is not defined: no case, or chance alone explains everything, as when both say the same always.
 * @throws {FedError} PARAMETER_INVALID
 * @see Cohen 1960, Educational and Psychological Measurement 20, 37-46; with weights, Cohen 1968, Psychological Bulletin 70, 213-220
 */
export function cohenKappa(
  a: readonly number[],
  b: readonly number[],
  categories: number,
  weights: KappaWeights = 'none',
): number {
  if (a.length !== b.length) throw new FedError('PARAMETER_INVALID', `${a.length} and ${b.length} answers`);
  const [ofA, ofB] = [a, b].map((answers) => counts(answers, categories));
  let observed = 0;
  a.forEach((x, i) => (observed += distance(x, b[i], categories, weights)));
  let expected = 0;
  for (let i = 0; i < categories; i++)
    for (let j = 0; j < categories; j++) expected += (ofA[i] * ofB[j] * distance(i, j, categories, weights)) / a.length;
  return expected > 0 ? 1 - observed / expected : NaN;
}

/**
 * Fleiss' kappa of several readers who all saw the same cases.
 *
 * @param table - [cases, categories]: how many readers chose the category; every row has the same sum of two or more.
 * @returns at most 1; NaN where it is not defined.
 * @throws {FedError} PARAMETER_INVALID
 * @see Fleiss 1971, Psychological Bulletin 76, 378-382
 */
export function fleissKappa(table: readonly (readonly number[])[]): number {
  if (table.length === 0) return NaN;
  const sum = (row: readonly number[]): number => row.reduce((x, y) => x + y, 0);
  const readers = sum(table[0]);
  if (readers < 2 || table.some((row) => sum(row) !== readers || row.length !== table[0].length))
    throw new FedError('PARAMETER_INVALID', 'every case needs the same number of readers, two or more');
  const agreed = sum(table.map((row) => sum(row.map((n) => n * (n - 1))) / (readers * (readers - 1)))) / table.length;
  const shares = table[0].map((_, k) => sum(table.map((row) => row[k])) / (table.length * readers));
  const byChance = sum(shares.map((p) => p * p));
  return byChance < 1 ? (agreed - byChance) / (1 - byChance) : NaN;
}

function counts(answers: readonly number[], categories: number): Float64Array {
  const out = new Float64Array(categories);
  for (const x of answers) {
    if (!(Number.isInteger(x) && x >= 0 && x < categories))
      throw new FedError('PARAMETER_INVALID', `category ${x} of ${categories}`);
    out[x]++;
  }
  return out;
}
