/** Every attack with every control, at the effort of the command: minutes. Seeded, so that a failure can be repeated. */
import { expect, test } from 'vitest';
import { AS_IT_IS, auditSteps } from '../../cli/attack/canaries.ts';
import { asExpected } from '../../cli/attack/result.ts';
import { builtInPolicy, runAttacks } from '../../cli/attack/run.ts';
import { openEngine } from '../../shared/engine/open.ts';
import { publicBytes } from '../../shared/public-random.ts';

test('nothing is found that should not be, and every control is', async () => {
  const engine = await openEngine('cpu');
  const results = await runAttacks({ engine, base: builtInPolicy(), random: publicBytes('slow attacks') });
  await engine.dispose();
  expect(results.filter((r) => !asExpected(r))).toEqual([]);
  expect(results.filter((r) => r.control).length).toBeGreaterThanOrEqual(9);
  expect(new Set(results.map((r) => r.target)).size).toBeGreaterThanOrEqual(8);
});

test('the lower bound stays below the claim over many seeds', async () => {
  const engine = await openEngine('cpu');
  for (let i = 0; i < 10; i++) {
    const parts = { engine, base: builtInPolicy(), random: publicBytes(`seed ${i}`) };
    const { lowerBound, claimed } = await auditSteps(parts, { canaries: 200, steps: 10, departure: AS_IT_IS });
    expect(lowerBound!).toBeLessThan(claimed!);
    // The attack is no straw man.
    expect(lowerBound!).toBeGreaterThan(0.2);
  }
  await engine.dispose();
});
