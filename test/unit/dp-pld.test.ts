import { describe, expect, test } from 'vitest';
import { pldAccountant, pldBracket } from '../../shared/dp/accountant.ts';
import { gaussianEvent, poissonGaussianEvent } from '../../shared/dp/event.ts';
import { complexZeros, forwardFft, inverseFft, oppositePairs } from '../../shared/dp/pld-fft.ts';
import { discretise } from '../../shared/dp/pld-discretise.ts';
import { lossAt, normalBetween, pointOfLoss, shiftMixture } from '../../shared/dp/pld-mechanism.ts';
import { lossCurve } from '../../shared/dp/pld.ts';
import { mulberry32 } from '../support/rng.ts';

const reversed = (k: number, n: number): number => {
  let r = 0;
  for (let bit = 1; bit < n; bit *= 2) r = 2 * r + (k & bit ? 1 : 0);
  return r;
};

describe.each([2, 4, 8, 16, 128, 1024])('a transform of %i points', (n) => {
  const draw = mulberry32(n);
  const x = complexZeros(n);
  for (let j = 0; j < n; j++) [x.re[j], x.im[j]] = [draw() - 0.5, draw() - 0.5];
  const y = { re: x.re.slice(), im: x.im.slice() };
  forwardFft(y);

  test('is the sum of the definition, in bit-reversed order', () => {
    for (let k = 0; k < n; k += Math.max(1, n / 16)) {
      let [re, im] = [0, 0];
      for (let j = 0; j < n; j++) {
        const angle = (-2 * Math.PI * ((j * k) % n)) / n;
        re += x.re[j] * Math.cos(angle) - x.im[j] * Math.sin(angle);
        im += x.re[j] * Math.sin(angle) + x.im[j] * Math.cos(angle);
      }
      expect(Math.hypot(y.re[reversed(k, n)] - re, y.im[reversed(k, n)] - im)).toBeLessThan(1e-12 * n);
    }
  });

  test('is undone', () => {
    const back = { re: y.re.slice(), im: y.im.slice() };
    inverseFft(back);
    for (let j = 0; j < n; j++) expect(Math.hypot(back.re[j] - x.re[j], back.im[j] - x.im[j])).toBeLessThan(1e-14);
  });

  test('knows which places hold opposite frequencies', () => {
    const pairs = oppositePairs(n);
    for (let i = 0; i < pairs.length; i += 2) expect((reversed(pairs[i], n) + reversed(pairs[i + 1], n)) % n).toBe(0);
    expect(new Set(pairs).size).toBe(n);
  });
});

test('a transform of another size is refused', () => {
  expect(() => forwardFft(complexZeros(12))).toThrow(/PARAMETER_INVALID/);
});

describe('the mechanism', () => {
  test.each([
    [0.01, 0.5, 1],
    [0.3, 2, 1],
    [1, 1, 1],
    [0.2, 1, 5],
    [0.999, 0.7, 3],
  ])('rate %d, noise %d, group %i: the point of a loss has that loss', (q, sigma, group) => {
    const m = shiftMixture(q, sigma, group)!;
    for (const x of [-6 * sigma, -1, 0, 0.3, 1, 5, 9 * sigma]) {
      // Far left the loss of a sampled mechanism hardly moves: there only its value is compared.
      const loss = lossAt(m, x);
      const again = lossAt(m, pointOfLoss(m, loss));
      if (Number.isFinite(again)) expect(Math.abs(again - loss)).toBeLessThan(1e-12 * (1 + Math.abs(loss)));
    }
  });

  // mpmath with 50 digits: (erfc(-b/√2) - erfc(-a/√2))/2.
  test.each([
    [-1, 1, 0.682689492137085897],
    [8, 8.001, 5.03211494547582507e-18],
    [-20, -19.99, 6.11165899040707538e-90],
    [3, 3.00001, 4.4317819348027379e-8],
    [-Infinity, -5, 2.86651571879193912e-7],
  ])('mass of the normal between %d and %d', (a, b, expected) => {
    // Of narrow ones the last digits are those of their ends.
    expect(Math.abs(normalBetween(a, b) / expected - 1)).toBeLessThan(Math.max(1e-13, 1e-14 / (b - a)));
  });

  test('mass between adds up, over both ways of computing it', () => {
    for (const [from, to] of [
      [-9, -6],
      [-0.5, 0.5],
      [5, 7],
    ]) {
      let sum = 0;
      for (let i = 0; i < 300; i++) {
        const [a, b] = [from + ((to - from) * i) / 300, from + ((to - from) * (i + 1)) / 300];
        sum += normalBetween(a, b);
      }
      expect(Math.abs(sum / normalBetween(from, to) - 1)).toBeLessThan(1e-12);
    }
  });

  test('parameters out of range are not bounded', () => {
    for (const [q, sigma, group] of [
      [0, 1, 1],
      [1.1, 1, 1],
      [NaN, 1, 1],
      [0.1, 0, 1],
      [0.1, NaN, 1],
      [0.1, 1, 65],
    ])
      expect(shiftMixture(q, sigma, group)).toBeNull();
  });
});

describe('a discretised loss', () => {
  const m = shiftMixture(0.1, 0.8)!;
  const o = { grid: 0.01, widest: 8, tail: 1e-15 };

  test('from above holds all mass, and the mass of the other direction by its ratio', () => {
    const { remove, add } = discretise(m, o, 'upper')!;
    for (const { mass, infinite } of [remove, add]) expect(mass.reduce((a, b) => a + b, infinite)).toBeCloseTo(1, 12);
    // Σ mass e^(-loss) is the mass of the other distribution where this one has any.
    const other = remove.mass.reduce((sum, p, i) => sum + p * Math.exp(-remove.at[i] * o.grid), 0);
    expect(other).toBeCloseTo(1, 12);
  });

  test('from below holds no more than all mass', () => {
    const { remove, add } = discretise(m, o, 'lower')!;
    for (const { mass, at } of [remove, add]) {
      expect(mass.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(1 + 1e-12);
      expect(at.every((k, i) => i === 0 || k > at[i - 1])).toBe(true);
    }
  });

  test('a grid too fine to be held is given back', () => {
    expect(discretise(m, { ...o, grid: 1e-12 }, 'upper')).toBeNull();
  });
});

test('plain Gaussians are one: no composition, whatever their number', () => {
  const [many, one] = [
    lossCurve([gaussianEvent(2, 3), poissonGaussianEvent(1, 2, 1)])!,
    lossCurve([gaussianEvent(1)])!,
  ];
  expect(many.pair.remove.mass).toEqual(one.pair.remove.mass);
});

test('however events are written, the figure is the same to the last digit', () => {
  // 3/0.6² and three times 1/0.6² differ in their last digit, and a grid that follows it moved epsilon by 6e-5 of itself.
  const sampled = poissonGaussianEvent(0.01, 0.5, 5);
  const one = gaussianEvent(0.6);
  const [whole, apart, turned] = [
    [sampled, gaussianEvent(0.6, 3)],
    [sampled, one, one, one],
    [one, poissonGaussianEvent(1, 0.6, 1), poissonGaussianEvent(0.01, 0.5, 3), one, poissonGaussianEvent(0.01, 0.5, 2)],
  ].map((events) => lossCurve(events)!);
  expect(apart).toEqual(whole);
  expect(turned).toEqual(whole);
  const [up, down] = [gaussianEvent(0.7), gaussianEvent(3.3)];
  expect(lossCurve([down, sampled, up])).toEqual(lossCurve([up, down, sampled]));
});

test('five thousand steps of fifty kinds', () => {
  const kinds = (n: number, of: number) =>
    Array.from({ length: n }, (_, i) => poissonGaussianEvent(0.02 + 1e-5 * (i % of), 1 + ((i % of) * 0.7) / of, 1));
  const start = process.cpuUsage();
  expect(lossCurve(kinds(5000, 50))).not.toBeNull();
  // The bench says how long it takes on a quiet machine; here other work goes on, so processor time, with room.
  expect(process.cpuUsage(start).user / 1e6).toBeLessThan(2);
});

test('two thousand steps of which no two are alike: known to a hundredth, and quickly', () => {
  const events = Array.from({ length: 2000 }, (_, i) =>
    poissonGaussianEvent(0.01 + (0.04 * ((i * 7919) % 2000)) / 2000, 1 + (0.7 * i) / 2000, 1),
  );
  const start = process.cpuUsage();
  const upper = pldAccountant.epsilon(events, 1e-5).epsilon;
  expect(process.cpuUsage(start).user / 1e6).toBeLessThan(2);
  const { lower } = pldBracket(events, 1e-5);
  expect(lower).toBeLessThan(upper);
  expect((upper - lower) / upper).toBeLessThan(0.01);
});
