/** The bar of a run: it ends at 1 and never goes back, however many moment rounds there are. */
import { expect, test } from 'vitest';
import { runShare } from '../../cli/coordinator-screen.ts';
import { policySentence } from '../../cli/policy-report.ts';
import { momentRoundsOf } from '../../shared/policy/cost.ts';
import { tinyCritic, tinyPolicy } from '../support/glue-rig.ts';

const policies = {
  none: tinyPolicy({ warmStart: null }),
  one: tinyPolicy(),
  three: tinyPolicy({ warmStart: { critic: tinyCritic } }),
  only: tinyPolicy({
    training: { rounds: 0, warmupDiscriminatorSteps: 0 },
    privacy: { maxSteps: 0 },
    warmStart: { critic: tinyCritic },
  }),
};

test.each(Object.entries(policies))('%s: shares ascend from 0 to 1', (_, policy) => {
  const shares = runShare(policy);
  const moments = momentRoundsOf(policy);
  const seen: number[] = [0];
  for (let round = 0; round < moments + policy.training.rounds; round++) {
    if (round < moments) for (const share of [0.5, 1]) seen.push(shares.after({ kind: 'fitting', round, share }));
    seen.push(
      shares.after({
        kind: 'round-closed',
        round,
        attempt: 0,
        contributors: [],
        missing: [],
        fakes: null,
        generatorSha256: '',
      }),
    );
  }
  expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  expect(seen.at(-1)).toBeCloseTo(1, 12);
});

test('the claim says how many moment rounds are in it', () => {
  expect(policySentence(policies.none)).toContain('private steps) spends');
  expect(policySentence(policies.one)).toContain('and the moment round) spends');
  expect(policySentence(policies.three)).toContain('and 3 moment rounds) spends');
});
