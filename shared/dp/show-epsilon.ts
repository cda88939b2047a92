/** Epsilons as people read them: what was spent or promised is never said to be less, what is left never more. */

/** Rounding of the binary fraction itself is no reason to write one more: 6.84 stays 6.84. */
const GRAIN = 1e-9;

const upwards = (x: number, digits: number): number => Math.ceil(x * 10 ** digits - GRAIN) / 10 ** digits;

/** Rounded upwards. */
export const showEpsilon = (epsilon: number | null, digits = 2): string =>
  epsilon === null || !Number.isFinite(epsilon) ? 'infinite' : upwards(epsilon, digits).toFixed(digits);

/** The same to three digits that count, for sentences: 7.23, 0.694, 24.8. */
export const sayEpsilon = (epsilon: number): string =>
  Number.isFinite(epsilon) && epsilon > 0
    ? `${upwards(epsilon, Math.max(0, 2 - Math.floor(Math.log10(epsilon))))}`
    : epsilon === 0
      ? '0'
      : 'infinite';

/** What is left of an epsilon, or is shown at least: rounded downwards. */
export const showRemaining = (epsilon: number | null): string =>
  epsilon === null || !Number.isFinite(epsilon) ? 'infinite' : (Math.floor(epsilon * 100 + GRAIN) / 100).toFixed(2);
