import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { SpooledTensor } from '../../shared/aggregation/aggregation.ts';
import { clearCoordinator, clearSite, packFloat32, unpackFloat32 } from '../../shared/aggregation/clear.ts';
import { coordinatorScheme, siteScheme } from '../../shared/aggregation/registry.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { castOf, testPolicy } from '../support/round-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

const plan = { invited: ['a', 'b'] } as unknown as RoundPlan;
/** Cut at every `piece` bytes, so that values lie across chunks. */
const spooled = (bytes: Uint8Array, piece = 3): SpooledTensor => ({
  bytes: bytes.length,
  async *chunks() {
    for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
  },
});
const check = (values: number[], clipNorm: number | null = 1, length = values.length, body: unknown = null) =>
  clearCoordinator.check({
    plan,
    phase: 0,
    siteId: 'a',
    body,
    tensor: spooled(packFloat32(Float32Array.from(values))),
    length,
    clipNorm,
    integerLimit: null,
    earlier: async () => new Map(),
  });

test('an update survives packing, little-endian', () => {
  const update = Float32Array.of(1, -0.5, 3.25e-30);
  expect([...packFloat32(Float32Array.of(1))]).toEqual([0, 0, 0x80, 0x3f]);
  expect(unpackFloat32(packFloat32(update))).toEqual(update);
});

test('the coordinator checks shape, finiteness and norm', async () => {
  expect(await codeOf(check([0.6, 0.8]))).toBe('no error');
  expect(await codeOf(check([0.6, 0.81]))).toBe('UPDATE_TOO_LARGE');
  expect(await codeOf(check([NaN, 0]))).toBe('UPDATE_NOT_FINITE');
  expect(await codeOf(check([0, -Infinity]))).toBe('UPDATE_NOT_FINITE');
  expect(await codeOf(check([0, 0], 1, 3))).toBe('UPDATE_SHAPE');
  expect(await codeOf(check([0, 0], 1, 2, { n: 17 }))).toBe('MESSAGE_INVALID');
  // Where the update carries its own noise its norm has no bound; it must be finite all the same.
  expect(await codeOf(check([30, 40], null))).toBe('no error');
  expect(await codeOf(check([30, Infinity], null))).toBe('UPDATE_NOT_FINITE');
});

test('an update clipped in float32 is not refused for its rounding', async () => {
  const x = Math.fround(1 / Math.sqrt(1000));
  expect(await codeOf(check(new Array<number>(1000).fill(x)))).toBe('no error');
});

test('the sum is added by site id, in float64, whatever the order of the answers', async () => {
  const make = (values: number[]) => ({ body: null, tensor: spooled(packFloat32(Float32Array.from(values)), 5) });
  const parts: [string, ReturnType<typeof make>][] = [
    ['c', make([1e8, 1])],
    ['a', make([1, 2])],
    ['b', make([-1e8, 3])],
  ];
  const close = (answers: typeof parts) =>
    clearCoordinator.close({
      plan,
      phase: 0,
      length: 2,
      integers: false,
      answers: new Map(answers),
      earlier: async () => new Map(),
    });
  const result = await close(parts);
  expect(result).toEqual({ sum: Float64Array.of(1, 6), contributors: ['a', 'b', 'c'] });
  expect(await close(parts.toReversed())).toEqual(result);
});

/** Bytes by which the memory of a process grows that sums 30 uploads of `length` values. */
function growth(length: number, mode: 'stream' | 'hold'): number {
  const folder = mkdtempSync(join(tmpdir(), 'veilgan-sum-'));
  const script = fileURLToPath(new URL('../support/round-sum-memory.ts', import.meta.url));
  try {
    return Number(execFileSync(process.execPath, [script, folder, String(length), mode], { encoding: 'utf8' }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('thirty spooled uploads are summed in the memory of one sum; holding them all is noticed', () => {
  const length = 2_000_000; // 8 MB each, 240 MB together; the sum is 16 MB
  const slack = 96 * 1024 * 1024;
  expect(growth(length, 'stream')).toBeLessThan(8 * length + slack);
  expect(growth(length, 'hold')).toBeGreaterThan(8 * length + slack);
});

test('the registry names what there is', async () => {
  const [policy, cast] = [testPolicy({}), castOf(3)];
  const terms = roundTermsOf(policy);
  const keys = cast.sites.get('site-a')!;
  const siteParts = { siteId: 'site-a', keys, policy, terms, roster: async () => cast.roster, nowMs: () => 0 };
  const coordinatorParts = { policy, terms, roster: () => cast.roster };
  expect(siteScheme('clear', siteParts)).toBe(clearSite);
  expect(coordinatorScheme('clear', coordinatorParts)).toBe(clearCoordinator);
  await expect(async () => siteScheme('rot13', siteParts)).rejects.toThrow(/SCHEME_UNKNOWN.*"rot13".*clear/);
  expect(await codeOf(async () => coordinatorScheme('rot13', coordinatorParts))).toBe('SCHEME_UNKNOWN');
});
