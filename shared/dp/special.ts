/**
 * The few special functions that accounting needs, in double precision. All work on logarithms where the plain value
 * would under- or overflow. Not audited by anyone outside the project.
 */

const SQRT1_2 = Math.SQRT1_2;
const LOG_SQRT_2PI = 0.5 * Math.log(2 * Math.PI);

// Rational approximations of W. J. Cody, "Rational Chebyshev approximations for the error function",
// Math. Comp. 23 (1969), as in the CALERF routine of SPECFUN. Relative error about 1e-16.
const A = [
  1.85777706184603153e-1, 3.1611237438705656, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3,
];
const B = [1, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3];
const C = [
  2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
  8.8195222124176909e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
];
const D = [
  1, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3, 3.29079923573345963e3,
  4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
];
const P = [
  1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
  1.60837851487422766e-2, 6.58749161529837803e-4,
];
const Q = [
  1, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3,
];

const horner = (coefficients: readonly number[], x: number): number => {
  let sum = 0;
  for (const c of coefficients) sum = sum * x + c;
  return sum;
};

/** exp(x²)·erfc(x) for x ≥ 0.46875, where neither factor need be representable. */
const scaledErfc = (x: number): number => {
  if (x <= 4) return horner(C, x) / horner(D, x);
  const y = 1 / (x * x);
  return (1 / Math.sqrt(Math.PI) - (y * horner(P, y)) / horner(Q, y)) / x;
};

/** ln erfc(x) for every finite x, to about 1e-15 relative or absolute, whichever is larger. */
export function logErfc(x: number): number {
  if (Math.abs(x) <= 0.46875) return Math.log1p((-x * horner(A, x * x)) / horner(B, x * x));
  if (x > 0) return Math.log(scaledErfc(x)) - x * x;
  return Math.log(2 - Math.exp(-x * x) * scaledErfc(-x));
}

/** ln Φ(x), Φ the standard normal distribution function. */
export const logNormalCdf = (x: number): number => logErfc(-x * SQRT1_2) - Math.LN2;

/** Φ(x), to about 1e-15 relative for x > -5 and 1e-14 far out in the lower tail; 0 once it is no number any more. */
export function normalCdf(x: number): number {
  const z = -x * SQRT1_2;
  if (Math.abs(z) <= 0.46875) return 0.5 - (z * horner(A, z * z)) / horner(B, z * z) / 2;
  const tail = (Math.exp(-z * z) * scaledErfc(Math.abs(z))) / 2;
  return z > 0 ? tail : 1 - tail;
}

/** ln(e^a + e^b); -Infinity stands for zero. */
export function logAdd(a: number, b: number): number {
  if (a === -Infinity) return b;
  if (b === -Infinity) return a;
  return Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));
}

/** ln Γ(x) for x > 0, by Stirling's series after shifting x above 12. Absolute error below 1e-13 times max(1, result). */
export function logGamma(x: number): number {
  let shift = 0;
  let z = x;
  while (z < 12) {
    shift += Math.log(z);
    z += 1;
  }
  const r = 1 / (z * z);
  const series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r * (1 / 1188 - (r * 691) / 360360))))) / z;
  return (z - 0.5) * Math.log(z) - z + LOG_SQRT_2PI + series - shift;
}

/**
 * ln P[Binomial(n, q) ≥ m].
 *
 * Guarantee: the sum starts at m and stops once the rest, bounded by a geometric series, is below 1e-16 of it.
 * @param n - number of trials, a whole number ≥ 0.
 * @param q - in [0, 1].
 */
export function logBinomialUpperTail(n: number, q: number, m: number): number {
  if (m <= 0) return 0;
  if (m > n || q <= 0) return -Infinity;
  if (q >= 1) return 0;
  const odds = q / (1 - q);
  let term = logGamma(n + 1) - logGamma(m + 1) - logGamma(n - m + 1) + m * Math.log(q) + (n - m) * Math.log1p(-q);
  let sum = -Infinity;
  for (let k = m; k <= n; k++) {
    sum = logAdd(sum, term);
    const ratio = ((n - k) / (k + 1)) * odds;
    term += Math.log(ratio);
    if (ratio < 1 && term - Math.log1p(-ratio) < sum - 37) break;
  }
  return Math.min(0, sum);
}
