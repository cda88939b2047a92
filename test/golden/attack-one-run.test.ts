import { expect, test } from 'vitest';
import { epsilonLowerBound, guess, judgeCanaries, pValue } from '../../shared/attack/one-run-bound.ts';
import { PublicRandom } from '../../shared/public-random.ts';

// Source: Steinke, Nasr, Jagielski 2023, arXiv 2305.08846v1. Printed with three decimals: one rounded, one cut off, hence
// 1e-3. Leaving the term of delta out moves the first to 0.70 and the second to 2.73.
test.each([
  ['appendix D, page 46', 1000, 100, 75, 1e-4, 0.673],
  ['section 7, page 28', 100_000, 1510, 1439, 1e-5, 2.675],
])('%s', (_, canaries, guesses, correct, delta, expected) => {
  const bound = epsilonLowerBound({ canaries, guesses, correct }, delta, 0.95);
  expect(Math.abs(bound - expected)).toBeLessThan(1e-3);
});

test('positive control: without the term of delta the published values are missed', () => {
  const g = { canaries: 1000, guesses: 100, correct: 75 };
  expect(Math.abs(epsilonLowerBound(g, 0, 0.95) - 0.673)).toBeGreaterThan(5e-3);
});

test('all of r right: the closed form q^r = 1 - confidence, with delta 0', () => {
  for (const r of [10, 100, 1000]) {
    const q = 0.05 ** (1 / r);
    expect(epsilonLowerBound({ canaries: r, guesses: r, correct: r }, 0, 0.95)).toBeCloseTo(Math.log(q / (1 - q)), 8);
  }
});

test('what guessing at random gives refutes nothing; p values fall with epsilon', () => {
  expect(epsilonLowerBound({ canaries: 100, guesses: 100, correct: 50 }, 1e-5, 0.95)).toBe(0);
  const g = { canaries: 500, guesses: 200, correct: 160 };
  const values = [0, 0.5, 1, 1.5, 2, 3].map((epsilon) => pValue(g, epsilon, 1e-5));
  expect(values.toSorted((a, b) => a - b)).toEqual(values);
  expect(values[0]).toBeLessThan(1e-3);
  expect(() => pValue({ canaries: 5, guesses: 6, correct: 1 }, 1, 0)).toThrow(/PARAMETER_INVALID/);
});

/** m answers by randomised response: exactly epsilon-private, and the worst there is. */
function randomisedResponse(epsilon: number, m: number, seed: string) {
  const random = new PublicRandom(seed);
  const truth = random.uniforms(m);
  const lies = random.uniforms(m);
  const included = Array.from(truth, (u) => (u < 0.5 ? 1 : 0));
  const scores = included.map((bit, i) => (lies[i] < 1 / (1 + Math.exp(epsilon)) ? 1 - bit : bit));
  return { included, scores };
}

test('randomised response: the bound comes near epsilon and exceeds it no more often than its confidence says', () => {
  const claimed = 1.5;
  const verdicts = Array.from({ length: 60 }, (_, i) =>
    judgeCanaries({ ...randomisedResponse(claimed, 2000, `fair ${i}`), claimed, delta: 0 }),
  );
  expect(verdicts.filter((v) => v.refuted).length).toBeLessThanOrEqual(7);
  expect(Math.min(...verdicts.map((v) => v.lowerBound))).toBeGreaterThan(1.1);
  // The same answers of a mechanism that says it is better than it is.
  const lying = judgeCanaries({ ...randomisedResponse(2.2, 2000, 'lie'), claimed, delta: 0 });
  expect(lying).toMatchObject({ refuted: true });
});

test('guesses are made at both ends', () => {
  const g = guess([5, 1, 4, 2, 3, 0], [1, 0, 1, 1, 0, 0], 0.66);
  expect(g).toEqual({ canaries: 6, guesses: 4, correct: 4 });
});
