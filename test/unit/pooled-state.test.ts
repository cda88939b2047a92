import { describe, expect, test } from 'vitest';
import { inviteForSums, stepsLeft, stepsTaken } from '../../coordinator/core/pooled-state.ts';
import { pooledTrainerOf } from '../../coordinator/core/pooled-trainer.ts';
import type { DiscriminatorRecord } from '../../coordinator/store/store.ts';
import { clearCoordinator, clearSite } from '../../shared/aggregation/clear.ts';
import { packInt32, unpackInt32 } from '../../shared/aggregation/integers.ts';
import { dangerouslyTrustAsClippedSum } from '../../shared/dp/noised.ts';
import { drawShareNoise, noiseShare } from '../../shared/dp/pooled-share.ts';
import { pooledGradient } from '../../shared/dp/pooled-mean.ts';
import { publicBytes } from '../../shared/public-random.ts';
import { planFor, tinyPolicy } from '../support/glue-rig.ts';
import { StubTrainer } from '../support/round-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

const plan = { ...planFor(tinyPolicy(), 1, ['a', 'b']), kind: 'discriminator' as const, discriminatorSteps: 3 };
const record = (round: number, attempt: number, steps: number): DiscriminatorRecord => {
  const ref = { sha256: '0'.repeat(64), bytes: 1 };
  return { round, attempt, steps, total: 40, state: ref, weights: ref };
};

describe('steps of an attempt', () => {
  test('count where they were taken, and a later attempt takes what is left', () => {
    expect(stepsTaken(undefined, plan)).toBe(0);
    expect(stepsTaken(record(1, 0, 2), plan)).toBe(2);
    expect(stepsTaken(record(0, 0, 2), plan)).toBe(0);
    expect(stepsTaken(record(1, 0, 2), { ...plan, attempt: 1 })).toBe(0);
    expect(stepsLeft(plan, record(1, 0, 2))).toBe(1);
    expect(stepsLeft(plan, record(0, 3, 9))).toBe(3);
    expect(stepsLeft({ ...plan, attempt: 1, discriminatorSteps: 1 }, record(1, 0, 2))).toBe(1);
  });
});

describe('whom a sum invites', () => {
  const all = { invited: ['a', 'b', 'c', 'd', 'e', 'f'], awaited: ['a', 'b', 'c', 'd'] };
  test('all that are waited for, and of the others no more than may be missing', () => {
    expect(inviteForSums(all, { maxDropouts: 1, maxColluders: 1 })).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(inviteForSums(all, { maxDropouts: 0, maxColluders: 1 })).toEqual(['a', 'b', 'c', 'd']);
    expect(inviteForSums(all, { maxDropouts: 9, maxColluders: 1 })).toEqual(all.invited);
  });
});

describe('no second clip on a site’s sum', () => {
  const tensor = (values: number[]) => {
    const bytes = packInt32(Int32Array.from(values));
    return {
      bytes: bytes.length,
      async *chunks() {
        yield bytes.subarray(0, 3);
        yield bytes.subarray(3);
      },
    };
  };
  const check = (values: number[], over: object) =>
    clearCoordinator.check({
      plan,
      phase: 0,
      siteId: 'a',
      body: null,
      tensor: tensor(values),
      length: values.length,
      clipNorm: null,
      integerLimit: 1000,
      earlier: async () => new Map(),
      ...over,
    });

  test('a norm is refused beside a lattice; range and shape are all that is asked', async () => {
    expect(await codeOf(check([900, -1000, 900], {}))).toBe('no error');
    expect(await codeOf(check([1001, 0, 0], {}))).toBe('UPDATE_TOO_LARGE');
    expect(await codeOf(check([0, -1001, 0], {}))).toBe('UPDATE_TOO_LARGE');
    expect(await codeOf(check([1, 2, 3], { clipNorm: 1 }))).toBe('PARAMETER_INVALID');
    expect(await codeOf(check([1, 2, 3], { length: 4 }))).toBe('UPDATE_SHAPE');
  });
  test('a sum far longer than one clip goes out as it is; positive control: a clipped one is refused', () => {
    const lattice = { stepsPerClip: 100, norm: 1, share: 0, limit: 1e6 };
    const many = Float64Array.of(30, -40);
    const share = noiseShare(dangerouslyTrustAsClippedSum(many, 1), lattice, drawShareNoise(2, 0, publicBytes('x')));
    expect(Math.hypot(...share.values) / 100).toBeCloseTo(50, 1);
    // What another clip would have made of it has another norm than the lattice was made for.
    const again = dangerouslyTrustAsClippedSum(
      many.map((x) => x / 50),
      0.02,
    );
    expect(() => noiseShare(again, lattice, drawShareNoise(2, 0, publicBytes('x')))).toThrow(/clipped at 0.02/);
  });
});

describe('whole numbers in the open', () => {
  test('survive packing, little-endian, and add up exactly, a step a phase', async () => {
    expect([...packInt32(Int32Array.of(-2))]).toEqual([0xfe, 0xff, 0xff, 0xff]);
    const values = Int32Array.of(2 ** 31 - 1, -(2 ** 31), 7);
    expect(unpackInt32(packInt32(values))).toEqual(values);
    const answer = (v: number[]) => {
      const bytes = packInt32(Int32Array.from(v));
      return {
        body: null,
        tensor: {
          bytes: bytes.length,
          async *chunks() {
            yield bytes;
          },
        },
      };
    };
    const close = (phase: number) =>
      clearCoordinator.close({
        plan,
        phase,
        length: 2,
        integers: true,
        answers: new Map([
          ['b', answer([2 ** 31 - 1, -5])],
          ['a', answer([2 ** 31 - 1, 3])],
        ]),
        earlier: async () => new Map(),
      });
    const first = await close(0);
    if (!('step' in first)) throw new Error('no step');
    expect(first.step).toEqual({ index: 0, sum: Float64Array.of(2 ** 32 - 2, -2), contributors: ['a', 'b'] });
    expect(first.next?.phase).toBe(1);
    const last = await close(2);
    expect('step' in last && last.next).toBeNull();
    expect([0, 2, 3].map((phase) => clearSite.updateStep(plan, phase))).toEqual([0, 2, null]);
  });
});

test('a pooled gradient is both parts over what they stand for, and a trainer that pools nothing is refused', () => {
  const pooled = { sum: Float64Array.of(2048, -1024), over: 4, stepsPerClip: 2048, clipNorm: 0.5, noiseMultiplier: 1 };
  const { values } = pooledGradient(pooled, { sum: Float64Array.of(3, 6), over: 3 });
  expect([...values]).toEqual([0.5 / 4 + 1, -0.25 / 4 + 2]);
  expect(() => pooledGradient({ ...pooled, over: 0 }, { sum: Float64Array.of(1, 1), over: 1 })).toThrow(
    /PARAMETER_INVALID/,
  );
  expect(() => pooledTrainerOf(new StubTrainer())).toThrow(/PARAMETER_INVALID/);
});
