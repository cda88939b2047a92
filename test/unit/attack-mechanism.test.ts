/** Attacks on the real computation of a site, small and seeded. The full ones are in test/slow. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AS_IT_IS, auditGenerator, auditSteps, type CanaryParts, NOISE_REMOVED } from '../../cli/attack/canaries.ts';
import { attackInversion } from '../../cli/attack/inversion.ts';
import { asExpected } from '../../cli/attack/result.ts';
import { builtInPolicy } from '../../cli/attack/run.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { publicBytes } from '../../shared/public-random.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());
const parts = (seed: string): CanaryParts => ({ engine, base: builtInPolicy(), random: publicBytes(seed) });

test('canaries in a discriminator step: within the claim as it is, found when the noise is removed', async () => {
  const o = { canaries: 60, steps: 3 };
  const kept = await auditSteps(parts('steps'), { ...o, departure: AS_IT_IS });
  expect(kept).toMatchObject({ found: false, control: false });
  expect(kept.lowerBound!).toBeLessThan(kept.claimed!);
  const broken = await auditSteps(parts('steps'), { ...o, departure: NOISE_REMOVED });
  expect(broken).toMatchObject({ found: true, control: true });
  expect(asExpected(kept) && asExpected(broken)).toBe(true);
});

test('canaries in the update that leaves: the same', async () => {
  const o = { canaries: 6, steps: 25 };
  expect(await auditGenerator(parts('generator'), { ...o, departure: AS_IT_IS })).toMatchObject({ found: false });
  expect(await auditGenerator(parts('generator'), { ...o, departure: NOISE_REMOVED })).toMatchObject({ found: true });
});

test('inversion in the clear: the image comes back without noise, and not with it', async () => {
  const results = await attackInversion(parts('inversion'), { training: 50, shown: 16, schemes: ['clear'] });
  expect(results.map((r) => [r.variant, r.found])).toEqual([
    ['noise removed', true],
    ['as it is', false],
  ]);
});
