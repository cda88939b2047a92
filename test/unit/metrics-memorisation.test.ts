/** Copies are told from fresh images by every measure of memorisation; membership is found where there is some. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { membershipInference, membershipScores } from '../../shared/metrics/membership.ts';
import {
  authenticity,
  memorisation,
  neighbourDistanceRatios,
  trainingDistances,
} from '../../shared/metrics/memorisation.ts';
import { nearestNeighbours } from '../../shared/metrics/neighbours.ts';
import { PublicRandom } from '../../shared/public-random.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

const D = 16;
const random = new PublicRandom('memorisation');
const fresh = (n: number) => random.gaussians(n * D);
const training = fresh(400);
const heldOut = fresh(400);
/** Every training image once, with a little noise: a generator that has learnt by heart. */
const copies = (noise: number) => {
  const errors = random.gaussians(training.length);
  return training.map((x, i) => x + noise * errors[i]);
};

test('one dimension by hand: training at 0, 1, 5', async () => {
  const [found] = await trainingDistances(engine, [Float32Array.of(0.25, 4, 5, -3)], Float32Array.of(0, 1, 5), 1);
  expect([...found.nearest]).toEqual([0.25, 1, 0, 3]);
  expect([...found.second]).toEqual([0.75, 3, 4, 4]);
  // 0's neighbour is 1 away, 5's is 4 away.
  expect([...found.aroundNearest]).toEqual([1, 4, 4, 1]);
  // Only the image at -3 is further from its source than that is from the rest.
  expect(authenticity(found)).toBe(0.25);
  expect([...neighbourDistanceRatios(found)]).toEqual([1 / 3, 1 / 3, 0, 0.75]);
});

test('an image that the training set holds twice: its copy is neither authentic nor without a ratio', async () => {
  const [found] = await trainingDistances(engine, [Float32Array.of(1)], Float32Array.of(1, 1, 9), 1);
  expect(authenticity(found)).toBe(0);
  expect([...neighbourDistanceRatios(found)]).toEqual([0]);
});

test('around the nearest: as a search of the whole training set within itself has it, duplicates included', async () => {
  const some = training.slice();
  some.copyWithin(0, 7 * D, 8 * D);
  const [own] = await trainingDistances(engine, [some], some, D);
  const whole = (await nearestNeighbours(engine, some, some, D, { withinOneSet: true })).distances;
  // Each row's nearest is itself, or the row it is a copy of.
  expect([...own.aroundNearest]).toEqual([...whole]);
  expect(whole[0]).toBe(0);
});

test('progress rises to the end', async () => {
  const shares: number[] = [];
  await trainingDistances(engine, [fresh(600), fresh(10)], training, D, (share) => shares.push(share));
  expect(shares).toEqual(shares.toSorted((x, y) => x - y));
  expect(shares.at(-1)).toBe(1);
});

test('copies are counted also where held-out images are equal to training images', async () => {
  const leaked = heldOut.slice();
  leaked.set(training.subarray(0, 8 * D));
  const [same, other, h] = await trainingDistances(engine, [training, fresh(400), leaked], training, D);
  expect(memorisation(same, h).copyShare).toBe(1);
  expect(memorisation(other, h).copyShare).toBe(0);
});

describe('positive control: copies against fresh images', () => {
  const measure = async (synthetic: Float32Array) => {
    const [s, h] = await trainingDistances(engine, [synthetic, heldOut], training, D);
    return memorisation(s, h);
  };
  test('fresh images look like held-out ones', async () => {
    const m = await measure(fresh(400));
    expect(m.synthetic.authenticity).toBeGreaterThan(0.4);
    expect(Math.abs(m.synthetic.authenticity - m.heldOut.authenticity)).toBeLessThan(0.1);
    expect(m.copyShare).toBeLessThan(0.04);
    expect(Math.abs(m.copyingZ)).toBeLessThan(3);
    expect(Math.abs(m.synthetic.ratioMedian - m.heldOut.ratioMedian)).toBeLessThan(0.03);
  });
  test('copies, exact and with noise, do not', async () => {
    for (const noise of [0, 0.1]) {
      const m = await measure(copies(noise));
      expect(m.synthetic.authenticity).toBe(0);
      expect(m.copyShare).toBe(1);
      expect(m.copyingZ).toBeLessThan(-20);
      expect(m.synthetic.ratioMedian).toBeLessThan(0.25);
    }
  });
  test('one copy in ten is seen in the share of copies', async () => {
    const some = fresh(400);
    some.set(copies(0.1).subarray(0, 40 * D));
    expect((await measure(some)).copyShare).toBeGreaterThan(0.09);
  });
});

describe('membership inference', () => {
  test('by hand: 100 others score 1 to 100, members 51 to 150', () => {
    const others = Array.from({ length: 100 }, (_, i) => i + 1);
    const found = membershipInference({ members: others.map((x) => x + 50), others }, { aims: [0.01, 0.1] });
    expect(found.points.map((p) => [p.threshold, p.truePositiveRate, p.falsePositiveRate])).toEqual([
      [99, 0.51, 0.01],
      [90, 0.6, 0.1],
    ]);
    // scipy.stats.beta.ppf([.025, .975], [51, 52], [50, 49]) and beta.ppf(.95, 2, 99)
    expect(found.points[0].truePositiveInterval[0]).toBeCloseTo(0.40803632915545374, 10);
    expect(found.points[0].truePositiveInterval[1]).toBeCloseTo(0.6113558348383622, 10);
    expect(found.points[0].falsePositiveUpper).toBeCloseTo(0.046559811453538935, 10);
    expect(found.area).toBe(0.875);
  });
  test('too few others for the aim: no false alarm among them, and a bound that says how little that means', () => {
    const [point] = membershipInference({ members: [3, 1], others: [1, 2] }, { aims: [0.001] }).points;
    expect(point).toMatchObject({ threshold: 2, truePositiveRate: 0.5, falsePositiveRate: 0 });
    expect(point.falsePositiveUpper).toBeCloseTo(1 - Math.sqrt(0.05), 9);
  });
  test('the interval and the bound hold as often as they say', () => {
    let [missed, exceeded] = [0, 0];
    // Members N(1, 1), others N(0, 1) on a fine grid: the rates at a threshold t are known.
    const beyond = (t: number) => {
      let share = 0;
      for (let x = t; x < 8; x += 0.001) share += (0.001 * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
      return share;
    };
    for (let i = 0; i < 200; i++) {
      const members = random.gaussians(150).map((x) => x + 1);
      const [p] = membershipInference({ members, others: random.gaussians(150) }, { aims: [0.05] }).points;
      const [hit, alarm] = [beyond(p.threshold - 1), beyond(p.threshold)];
      if (hit < p.truePositiveInterval[0] || hit > p.truePositiveInterval[1]) missed++;
      if (alarm > p.falsePositiveUpper) exceeded++;
    }
    // 5 % each at most, 10 in 200: 20 and more have a chance below 0.3 %.
    expect(missed).toBeLessThan(20);
    expect(exceeded).toBeLessThan(20);
    expect(exceeded).toBeGreaterThan(0);
  });
  test('positive control: copies give their members away, fresh images do not', async () => {
    const attack = async (synthetic: Float32Array, reference?: Float32Array) => {
      const options = reference === undefined ? {} : { reference };
      const [members, others] = await Promise.all(
        [training, heldOut].map((images) => membershipScores(engine, images, synthetic, D, options)),
      );
      return membershipInference({ members, others }, { aims: [0.01] });
    };
    const found = await attack(copies(0.1));
    expect(found.area).toBeGreaterThan(0.99);
    expect(found.points[0].truePositiveInterval[0]).toBeGreaterThan(0.9);
    const nothing = await attack(fresh(400));
    expect(nothing.pValue).toBeGreaterThan(0.001);
    expect(nothing.points[0].truePositiveInterval[0]).toBeLessThan(0.03);
  });
  test('images that differ in how ordinary they are hide members; the calibrated attack finds them', async () => {
    const own = new PublicRandom('ordinary');
    // Half of all images are near the middle, where every image has a neighbour.
    const uneven = (n: number) => own.gaussians(n * D).map((g, at) => (Math.floor(at / D) % 2 === 0 ? g : 0.4 * g));
    const [members, others, reference] = [uneven(400), uneven(400), uneven(400)];
    const noise = own.gaussians(members.length);
    const synthetic = members.map((x, at) => x + noise[at] * (Math.floor(at / D) % 2 === 0 ? 0.4 : 0.16));
    const attack = async (options: { reference?: Float32Array }) => {
      const score = (images: Float32Array) => membershipScores(engine, images, synthetic, D, options);
      return membershipInference({ members: await score(members), others: await score(others) }, { aims: [0.01] });
    };
    const [plain, calibrated] = [await attack({}), await attack({ reference })];
    expect(plain.points[0].truePositiveInterval[1]).toBeLessThan(0.6);
    expect(calibrated.points[0].truePositiveInterval[0]).toBeGreaterThan(0.7);
    expect(plain.area).toBeLessThan(0.85);
    expect(calibrated.area).toBeGreaterThan(0.95);
  });
  test('refused: no members, an aim that is no rate, a score that is no number', () => {
    expect(() => membershipInference({ members: [], others: [1] })).toThrow(/PARAMETER_INVALID/);
    expect(() => membershipInference({ members: [1], others: [1] }, { aims: [1] })).toThrow(/PARAMETER_INVALID/);
    expect(() => membershipInference({ members: [NaN], others: [1] })).toThrow(/PARAMETER_INVALID/);
  });
});
