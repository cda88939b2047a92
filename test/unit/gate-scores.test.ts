/** How near a patient is to synthetic images: closed forms on pictures of one grey level. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { Nearness } from '../../shared/gate/scores.ts';
import { gateSum } from '../../shared/gate/words.ts';
import type { LabelledImages } from '../../shared/imaging/images.ts';
import { testGate } from '../support/gate-rig.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

/** One image a grey level. */
const flat = (levels: readonly number[], labels: readonly number[] = levels.map(() => 0)): LabelledImages => ({
  ...{ n: levels.length, channels: 1, size: 28, classNames: ['a', 'b'], labels: Int32Array.from(labels) },
  pixels: Float32Array.from(levels.flatMap((x) => Array<number>(784).fill(x))),
  patients: levels.map((_, i) => `p${i}`),
});

test('nearness is the distance over what is usual in the class of the nearest synthetic image', async () => {
  // Class a: two images 0.4 apart, so usual is 0.4. Class b: 0.1 apart.
  const near = new Nearness(engine, flat([0, 0.4, 0.8, 0.9], [0, 0, 1, 1]), 0.25);
  const site = flat([0, 0.05, 0.2, -0.3, 0.81, -1]);
  const scores = await near.scores(site, [[0], [1], [2], [3], [4], [5], [5, 0]]);
  const ratios = [0, 0.125, 0.5, 0.75, 0.1, 1, 0];
  scores.forEach(({ nearness }, i) => expect(nearness).toBeCloseTo(1 - 2 * ratios[i], 5));
  expect(scores.map((s) => s.copied)).toEqual([true, true, false, false, true, false, true]);
});

test('a patient’s score depends on nobody else', async () => {
  const near = new Nearness(engine, flat([0, 0.4]), 0.25);
  const [alone] = await near.scores(flat([0.3]), [[0]]);
  const [, among] = await near.scores(flat([0.9, 0.3, 0.31]), [[0], [1], [2]]);
  expect(among).toEqual(alone);
});

test('a generator of one image has no usual distance; lying on that image is a copy all the same', async () => {
  const near = new Nearness(engine, flat([0.5, 0.5, 0.5]), 0.25);
  const scores = await near.scores(flat([0.5, 0.51]), [[0], [1]]);
  expect(scores).toEqual([
    { copied: true, nearness: 1 },
    { copied: false, nearness: -1 },
  ]);
});

test('what is no number is no proof of a distance: it counts against the candidate, or is refused', async () => {
  const trained = (nearness: number) => [...gateSum(testGate, [{ copied: false, nearness }], []).values];
  const heldOut = (nearness: number) => [...gateSum(testGate, [], [{ copied: false, nearness }]).values];
  expect(trained(NaN)).toEqual(trained(1));
  expect(heldOut(NaN)).toEqual(heldOut(-1));
  // Positive control: the other end of the range is another sum.
  expect(trained(NaN)).not.toEqual(trained(-1));
  expect(heldOut(NaN)).not.toEqual(heldOut(1));
  await expect(new Nearness(engine, flat([NaN, NaN]), 0.25).scores(flat([0.5]), [[0]])).rejects.toThrow(
    /^PARAMETER_INVALID: .*no finite number/,
  );
});
