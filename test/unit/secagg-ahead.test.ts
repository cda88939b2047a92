/** What a site works out while it waits: it sends the same bytes as without, and nothing that was made for something else. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { addMasks } from '../../shared/aggregation/secagg/mask.ts';
import type { Mask } from '../../shared/aggregation/secagg/mask.ts';
import { type MaskedStep, MasksAhead } from '../../shared/aggregation/secagg/masks-ahead.ts';
import { decodeSecret, SecretMemory } from '../../shared/aggregation/secagg/secret.ts';
import type { RandomBytes } from '../../shared/random.ts';
import { turn } from '../../shared/turn.ts';
import { pooledPolicy } from '../support/pooled-rig.ts';
import { LENGTH, play, sceneOf } from '../support/secagg-rig.ts';

const seedOf = (name: string): Uint8Array => createHash('sha256').update(name).digest();
const MASKS: Mask[] = [
  { seed: seedOf('own'), sign: 1 },
  ...Array.from({ length: 10 }, (_, i): Mask => ({ seed: seedOf(`peer ${i}`), sign: i % 2 === 0 ? 1 : -1 })),
];
const STEP = { plan: {}, secret: {}, step: 3, sites: ['a', 'b', 'c'] } as unknown as MaskedStep;
const valuesOf = (d = 1000): Uint32Array => Uint32Array.from({ length: d }, (_, i) => i * 4_000_037);
const masked = (masks: readonly Mask[], d = 1000): Uint32Array => {
  const values = valuesOf(d);
  addMasks(values, masks);
  return values;
};
/** Masks values for `then` after the masks of `begun` were begun. @returns what came out, and whether they were used. */
async function after(begun: MaskedStep, then: MaskedStep, masks: () => Mask[] = () => MASKS, d = 1000) {
  const ahead = new MasksAhead();
  await ahead.add(valuesOf(1000), STEP, () => []);
  ahead.begin(begun, masks);
  let asked = 0;
  const values = valuesOf(d);
  await ahead.add(values, then, () => {
    asked += 1;
    return MASKS;
  });
  return { values, used: asked === 0, ahead };
}

test('masks that were begun are the masks', async () => {
  const { values, used, ahead } = await after(STEP, STEP);
  expect([values, used]).toEqual([masked(MASKS), true]);
  // And they are gone.
  const again = valuesOf();
  let asked = 0;
  await ahead.add(again, STEP, () => ((asked += 1), MASKS));
  expect([again, asked]).toEqual([masked(MASKS), 1]);
});

test.each([
  ['another step', { ...STEP, step: 4 }, 1000],
  ['other sites', { ...STEP, sites: ['a', 'b'] }, 1000],
  ['another plan', { ...STEP, plan: { ...STEP.plan } }, 1000],
  ['another secret', { ...STEP, secret: { ...STEP.secret } }, 1000],
  ['another length', STEP, 999],
] as const)('for %s they are worked out anew', async (_, then, d) => {
  const { values, used } = await after(STEP, then, () => [{ seed: seedOf('wrong'), sign: 1 }], d);
  expect([values, used]).toEqual([masked(MASKS, d), false]);
});

test('masks that could not be begun are worked out when they are needed', async () => {
  const { values, used } = await after(STEP, STEP, () => {
    throw new Error('a key of low order');
  });
  expect([values, used]).toEqual([masked(MASKS), false]);
});

test('a secret is read from its bytes, and from no others', () => {
  expect(() => new SecretMemory().read(null)).toThrow('STORE_CORRUPT');
  const memory = new SecretMemory();
  const key = Buffer.alloc(32, 1).toString('base64url');
  const written = { sealing: key, masking: [key], seeds: [key], own: { sealing: key, masking: [key], neighbours: null, signature: 'a.b.c' }, peers: {}, held: {}, sites: ['a'], progress: null }; // prettier-ignore
  const bytes = Buffer.from(JSON.stringify(written));
  const secret = memory.read(bytes);
  expect(memory.recent(bytes)).toBeNull();
  const kept = memory.write({ ...secret, sites: ['a', 'b'] });
  expect(memory.read(Uint8Array.from(kept))).toBe(memory.recent(kept));
  expect(memory.read(kept)).toEqual(decodeSecret(kept));
  // An outbox that says otherwise is believed.
  expect(memory.read(bytes).sites).toEqual(['a']);
  memory.forget();
  expect(memory.recent(kept)).toBeNull();
});

test('masks that are not used are overwritten: made for something else, begun anew, or let go', async () => {
  const settled = async () => {
    for (let i = 0; i < 10; i++) await turn();
  };
  const begun = async (then: (ahead: MasksAhead) => Promise<unknown> | void) => {
    const summed: Uint32Array[] = [];
    const ahead = new MasksAhead((values, masks) => {
      summed.push(values);
      addMasks(values, masks);
    });
    await ahead.add(valuesOf(), STEP, () => []);
    summed.length = 0;
    ahead.begin(STEP, () => MASKS);
    await settled();
    const [total] = summed;
    expect(total.some((word) => word !== 0)).toBe(true);
    await then(ahead);
    await settled();
    return total.every((word) => word === 0);
  };
  expect(await begun((ahead) => ahead.add(valuesOf(), { ...STEP, step: 4 }, () => []))).toBe(true);
  expect(await begun((ahead) => ahead.add(valuesOf(), STEP, () => []))).toBe(true);
  expect(await begun((ahead) => ahead.begin({ ...STEP, step: 4 }, () => []))).toBe(true);
  expect(await begun((ahead) => ahead.forget())).toBe(true);
  // Control: left alone they are there.
  expect(await begun(() => undefined)).toBe(false);
});

const STEPS = 3;
const policy = pooledPolicy({
  secure: true,
  training: { rounds: 2, discriminatorSteps: STEPS, warmupDiscriminatorSteps: 0 },
  aggregation: { minSites: 5, minSurvivors: 4, maxDropouts: 1, maxColluders: 1, maxSites: 5 },
  pooled: { maxDropouts: 1 },
});
const shareOf = (index: number, step: number): Int32Array =>
  Int32Array.from({ length: LENGTH }, (_, i) => ((i * 7919 + index * 104_729 + step * 31) % 4001) - 2000);
/** The same bytes in every play, for each site its own. */
const fixedRandom = (siteId: string): RandomBytes => {
  let drawn = 0;
  return (to) => {
    for (let i = 0; i < to.length; i += 32) to.set(seedOf(`${siteId} ${drawn++}`).subarray(0, to.length - i), i);
  };
};

test.each([
  ['everybody stays', () => false],
  ['one is gone from the second upload on', (step: number, siteId: string) => step >= 1 && siteId === 'site-e'],
] as const)('a site that prepares sends the same bytes: %s', async (_, isGone) => {
  const scene = sceneOf(5, policy);
  const d = {
    update: shareOf,
    randomOf: fixedRandom,
    gone: (at: object, siteId: string) => 'step' in at && isGone(at.step as number, siteId),
  };
  const [prepared, not] = [await play(scene, d), await play(scene, { ...d, unprepared: true })];
  expect(prepared.steps).toHaveLength(STEPS);
  expect(prepared.said).toEqual(not.said);
});
