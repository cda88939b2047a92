/** The bounds a site starts with: enough for the run it joined, to its last charged step, and not for a second. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { boundsFor } from '../../cli/site-folder.ts';
import { checkBounds } from '../../shared/policy/bounds.ts';
import { epsilonOfPolicy } from '../../shared/policy/cost.ts';
import { loadPolicyText, policySha256 } from '../../shared/policy/load.ts';
import { runBudgetOf } from '../../site-agent/core/budget.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { RUN_ID } from '../support/round-rig.ts';

const OTHER_RUN = '11111111-2222-4333-8444-555555555555';

describe.each(['demo-insecure', 'research-consortium'])('%s', (name) => {
  const text = readFileSync(new URL(`../../policies/${name}.json`, import.meta.url), 'utf8');
  const policy = loadPolicyText(text, { availableSchemes: ['clear', 'secagg', 'bfv'] });
  const bounds = boundsFor(policy);
  const budget = runBudgetOf(policy, 'north');
  const caps = budget.caps ?? [];
  const of = { policySha256: policySha256(policy), round: 0, step: 0, timeMs: 0, budget };

  test('let the policy pass', () => {
    expect(checkBounds(policy, bounds)).toEqual([]);
  });

  test('pay for every event of one run; positive control: its own epsilon as lifetime ends it early', () => {
    const chargeAll = (lifetime: typeof bounds.lifetime) => {
      const ledger = new Ledger(':memory:');
      for (const cap of caps)
        for (let i = 0; i < cap.count; i++)
          ledger.charge({ ...of, runId: RUN_ID, event: { ...cap, count: 1 }, lifetime });
      return ledger;
    };
    const ledger = chargeAll(bounds.lifetime);
    expect(ledger.entries()).toHaveLength(caps.reduce((sum, { count }) => sum + count, 0));
    const { epsilon } = epsilonOfPolicy(policy);
    expect(() => chargeAll({ ...bounds.lifetime, epsilon })).toThrow(/all runs/);
    // Not for two.
    const steps = caps[caps.length - 1];
    const again = { ...of, runId: OTHER_RUN, event: { ...steps, count: 1 }, lifetime: bounds.lifetime };
    expect(() => ledger.assertAffordable({ ...again, count: steps.count })).toThrow(/BUDGET_EXHAUSTED: .*all runs/);
  });
});
