import { describe, expect, test } from 'vitest';
import { gaussianDelta, gaussianEpsilon, gaussianSigma } from '../../shared/dp/exact-gaussian.ts';
import { logBinomialUpperTail, logErfc, logGamma, logNormalCdf } from '../../shared/dp/special.ts';

describe('the exact Gaussian', () => {
  test('row 14, DPA pld_privacy_accountant_test.py: σ = √3, three times, delta at epsilon 1', () => {
    // Six digits are printed, the last of them not rounded.
    expect(Math.abs(gaussianDelta(1, 1) - 0.126936)).toBeLessThan(1e-6);
  });

  test('epsilon 1, delta 1e-5: a root found with 30 digits (mpmath)', () => {
    expect(Math.abs(gaussianSigma(1, 1e-5) / 3.73063163481594183 - 1)).toBeLessThan(2e-9);
  });

  test.each([0.01, 0.5, 1, 8, 40])('sigma, epsilon and delta are inverse to one another at epsilon %d', (epsilon) => {
    for (const delta of [1e-3, 1e-5, 1e-9]) {
      const sigma = gaussianSigma(epsilon, delta);
      expect(gaussianDelta(epsilon, 1 / sigma)).toBeLessThanOrEqual(delta);
      expect(gaussianDelta(epsilon, 1.0001 / sigma)).toBeGreaterThan(delta);
      expect(Math.abs(gaussianEpsilon(1 / sigma, delta) / epsilon - 1)).toBeLessThan(1e-6);
    }
  });

  test('fails closed', () => {
    expect(gaussianDelta(1, NaN)).toBe(1);
    expect(gaussianDelta(NaN, 1)).toBe(1);
    expect(gaussianEpsilon(Infinity, 1e-5)).toBe(Infinity);
    expect(gaussianEpsilon(NaN, 1e-5)).toBe(Infinity);
    expect(() => gaussianSigma(NaN, 1e-5)).toThrow(/PARAMETER_INVALID/);
  });
});

// mpmath with 15 digits shown: erfc, loggamma; scipy.stats.binom.logsf(99, 500, 0.1).
describe('special functions', () => {
  test.each([
    [-3, 0.693136135250447],
    [-0.5, 0.41903914777556],
    [0.2, -0.251932233782617],
    [0.47, -0.680714884581681],
    [1, -1.84960550993325],
    [4.1, -18.8211541830826],
    [30, -903.974117110644],
  ])('ln erfc(%d)', (x, expected) => {
    expect(Math.abs(logErfc(x) / expected - 1)).toBeLessThan(1e-14);
  });

  test('ln Φ far out', () => expect(logNormalCdf(-40)).toBeCloseTo(-804.608442013753788, 9));
  test('ln Γ', () => {
    expect(logGamma(0.5)).toBeCloseTo(0.5723649429247, 13);
    expect(logGamma(100.5)).toBeCloseTo(361.435540467778, 10);
  });
  test('binomial tail', () => expect(logBinomialUpperTail(500, 0.1, 100)).toBeCloseTo(-24.739647495164963, 11));
});
