/** Rounds of several steps, as pooled rounds have them: what a drop-out in one step opens of it, and what it does not. */
import { expect, test } from 'vitest';
import { addMasks } from '../../shared/aggregation/secagg/mask.ts';
import { bytesOf } from '../../shared/aggregation/secagg/messages.ts';
import type { KeysBody, RevealBody } from '../../shared/aggregation/secagg/messages.ts';
import type { Phase } from '../../shared/aggregation/secagg/phases.ts';
import { pairSeed } from '../../shared/aggregation/secagg/seeds.ts';
import { combine } from '../../shared/aggregation/secagg/shamir.ts';
import { codecOf } from '../../shared/aggregation/secagg/values.ts';
import { agree, publicOf } from '../../shared/aggregation/secagg/x25519.ts';
import { addPacked } from '../../shared/aggregation/bit-pack.ts';
import { hashJson } from '../../shared/audit/canonical.ts';
import { secureBytes } from '../../shared/random.ts';
import type { RandomBytes } from '../../shared/random.ts';
import { pooledPolicy } from '../support/pooled-rig.ts';
import { LENGTH, play, sceneOf } from '../support/secagg-rig.ts';
import type { Direction, Played, Scene } from '../support/secagg-rig.ts';

const STEPS = 3;
const policy = pooledPolicy({
  secure: true,
  training: { rounds: 2, discriminatorSteps: STEPS, warmupDiscriminatorSteps: 0 },
  pooled: { maxDropouts: 1 },
  aggregation: { minSites: 5, minSurvivors: 4, maxDropouts: 1, maxColluders: 1, maxSites: 5 },
});
const shareOf = (index: number, step: number): Int32Array =>
  Int32Array.from({ length: LENGTH }, (_, i) => ((i * 7919 + index * 104_729 + step * 31) % 4001) - 2000);
const exact = (indices: readonly number[], step: number): number[] =>
  Array.from({ length: LENGTH }, (_, i) => indices.reduce((sum, k) => sum + shareOf(k, step)[i], 0));
const isAt = (at: Phase, kind: Phase['kind'], step: number): boolean =>
  at.kind === kind && 'step' in at && at.step === step;
const LAST = 'site-e';

test('every step gives the exact sum of whole numbers', async () => {
  const played = await play(sceneOf(5, policy), { update: shareOf });
  expect(played.failed).toBeNull();
  expect(played.steps.map((s) => [s.index, s.contributors.length])).toEqual([0, 1, 2].map((k) => [k, 5]));
  played.steps.forEach(({ sum }, step) => expect([...sum]).toEqual(exact([0, 1, 2, 3, 4], step)));
});

test('where nobody is missing no step has an agreement; where one is, that step has', async () => {
  const agreements = (played: Played) =>
    played.said.flatMap((s) => (s.at.kind === 'agree' ? [[s.at.step, s.siteId]] : []));
  const whole = await play(sceneOf(5, policy), { update: shareOf });
  expect(agreements(whole)).toEqual([]);
  // Keys and shares, and two answers a site and step.
  expect(whole.said.length).toBe(5 * (2 + 2 * STEPS));
  const gone: NonNullable<Direction['gone']> = (at, siteId) => siteId === LAST && isAt(at, 'upload', 1);
  const some = await play(sceneOf(5, policy), { update: shareOf, gone });
  // The next step is among the four that are left, and whole again.
  expect(agreements(some)).toEqual(['site-a', 'site-b', 'site-c', 'site-d'].map((id) => [1, id]));
  expect([...some.steps[1].sum]).toEqual(exact([0, 1, 2, 3], 1));
  expect([...some.steps[2].sum]).toEqual(exact([0, 1, 2, 3], 2));
});

test('a site that vanishes while the others agree is in the sum, and out of the next step', async () => {
  const seven = pooledPolicy({
    secure: true,
    training: { rounds: 2, discriminatorSteps: STEPS, warmupDiscriminatorSteps: 0 },
    pooled: { maxDropouts: 2 },
    aggregation: { minSites: 7, minSurvivors: 5, maxDropouts: 2, maxColluders: 1, maxSites: 8 },
  });
  const gone: NonNullable<Direction['gone']> = (at, siteId) =>
    (siteId === 'site-g' && isAt(at, 'upload', 1)) || (siteId === 'site-f' && isAt(at, 'agree', 1));
  const played = await play(sceneOf(7, seven), { update: shareOf, gone });
  expect(played.failed).toBeNull();
  expect(played.steps.map((s) => s.contributors.length)).toEqual([7, 6, 5]);
  played.steps.forEach(({ sum, contributors }, step) =>
    expect([...sum]).toEqual(exact(Array.from(contributors.keys()), step)),
  );
});

test.each(['upload', 'reveal'] as const)('a site that vanishes in phase %s of a step', async (kind) => {
  const gone: NonNullable<Direction['gone']> = (at, siteId) => siteId === LAST && isAt(at, kind, 1);
  const played = await play(sceneOf(5, policy), { update: shareOf, gone });
  const counts = kind === 'upload' ? 4 : 5;
  expect(played.steps.map((s) => s.contributors.length)).toEqual([5, counts, 4]);
  played.steps.forEach(({ sum, contributors }, step) =>
    expect([...sum]).toEqual(exact(contributors.length === 5 ? [0, 1, 2, 3, 4] : [0, 1, 2, 3], step)),
  );
});

test('a site that is out of one step is not let into the next', async () => {
  const gone: NonNullable<Direction['gone']> = (at, siteId) => siteId === LAST && isAt(at, 'upload', 1);
  const everybody = ['site-a', 'site-b', 'site-c', 'site-d', LAST];
  // The coordinator says that it is back; the others have it out of their step already.
  const show: NonNullable<Direction['show']> = (at) =>
    isAt(at, 'upload', 2) ? { sites: everybody, shares: null } : undefined;
  const played = await play(sceneOf(5, policy), { update: shareOf, gone, show });
  expect(played.refused.get('site-a upload')).toBe('MESSAGE_INVALID');
  expect(played.steps.length).toBe(2);
});

/**
 * All that a coordinator can make of a run in which the last site's update of step 0 is in the sum, and that site drops
 * out of step 1: it opens the site's masking key of step 1 by the shares it was given for it, and turns it, with the
 * seed it was given at step 0, against the site's masked update of step 0.
 * @returns the update of step 0 as it would then be.
 */
async function openEarlier({ plan }: Scene, played: Played): Promise<Float64Array> {
  const bodies = <T>(kind: Phase['kind'], step?: number) =>
    new Map(
      played.said
        .filter((s) => s.at.kind === kind && (step === undefined || isAt(s.at, kind, step)))
        .map((s) => [s.siteId, s.body as T]),
    );
  const keys = bodies<KeysBody>('keys');
  const sharesOf = (step: number, kind: keyof RevealBody) =>
    [...bodies<RevealBody>('reveal', step)].flatMap(([holder, body]) => {
      const share = body[kind][LAST];
      return share === undefined ? [] : [{ x: plan.invited.indexOf(holder) + 1, bytes: bytesOf(share) }];
    });
  const opened = combine(sharesOf(1, 'keys').slice(0, 4));
  // The attack holds what it believes it holds.
  expect(publicOf(opened)).toBe(keys.get(LAST)!.masking[1]);
  const seed = combine(sharesOf(0, 'seeds').slice(0, 4));
  const { runId, round, attempt, checkpoint } = plan;
  const context = { runId, round, attempt, checkpoint, planSha256: hashJson(plan) };
  const pairs = [...keys].flatMap(([siteId, body]) => {
    if (siteId === LAST) return [];
    const ends = [
      { siteId: LAST, key: keys.get(LAST)!.masking[0] },
      { siteId, key: body.masking[0] },
    ] as const;
    const between = pairSeed(agree(opened, body.masking[0]), context, 0, ...ends);
    return [{ seed: between, sign: LAST < siteId ? (-1 as const) : (1 as const) }];
  });
  const upload = played.said.find((s) => s.siteId === LAST && isAt(s.at, 'upload', 0))!.tensor!;
  const words = new Uint32Array(LENGTH);
  const codec = codecOf(policy, plan);
  const tensor = {
    bytes: upload.length,
    async *chunks() {
      yield upload;
    },
  };
  await addPacked(words, tensor, codec.width);
  addMasks(words, [{ seed, sign: -1 }, ...pairs]);
  const limit = -codec.decode(new Uint32Array(1), 1)[0];
  return Float64Array.from(words, (w) => (w & (2 ** codec.width - 1)) - limit);
}

/** Masking keys are the second to fourth thing a site draws: here they are all one, a key for the whole round. */
function oneKeyForAllSteps(siteId: string): RandomBytes {
  if (siteId !== LAST) return secureBytes;
  let draws = 0;
  const key = new Uint8Array(32);
  return (out) => {
    draws += 1;
    secureBytes(out);
    if (draws === 2) key.set(out);
    if (draws > 2 && draws <= 1 + STEPS) out.set(key);
  };
}

test('a drop-out does not open earlier steps; with one key for all steps it does', async () => {
  const scene = sceneOf(5, policy);
  const gone: NonNullable<Direction['gone']> = (at, siteId) => siteId === LAST && isAt(at, 'upload', 1);
  const plain = [...shareOf(4, 0)];
  const alike = (opened: Float64Array) => [...opened].filter((v, i) => v === plain[i]).length;
  const played = await play(scene, { update: shareOf, gone });
  expect(played.steps.map((s) => s.contributors.length)).toEqual([5, 4, 4]);
  expect(alike(await openEarlier(scene, played))).toBeLessThan(3);
  // Positive control: the very same attack on a site that keeps one masking key opens all of its update.
  const broken = await play(scene, { update: shareOf, gone, randomOf: oneKeyForAllSteps });
  expect(broken.steps.map((s) => s.contributors.length)).toEqual([5, 4, 4]);
  expect(alike(await openEarlier(scene, broken))).toBe(LENGTH);
});

test('every attempt has keys of its own: a site that was out comes back with new ones', async () => {
  const cast = sceneOf(5, policy).cast;
  const attempts = await Promise.all(
    [0, 1].map((attempt) => play(sceneOf(5, policy, { attempt }, cast), { update: shareOf })),
  );
  const [first, second] = attempts.map((played) =>
    played.said.filter((s) => s.at.kind === 'keys').flatMap((s) => (s.body as KeysBody).masking),
  );
  expect(new Set([...first, ...second]).size).toBe(2 * 5 * STEPS);
});
