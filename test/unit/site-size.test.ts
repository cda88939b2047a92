import { expect, test } from 'vitest';
import { openGan } from '../../shared/gan/registry.ts';
import { samplingOf } from '../../shared/policy/cost.ts';
import { loadPolicyText } from '../../shared/policy/load.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { siteSize } from '../../site-agent/core/site-size.ts';
import { tinyPolicy } from '../support/cli-rig.ts';

const policyWith = (change?: Parameters<typeof tinyPolicy>[0]) =>
  loadPolicyText(tinyPolicy(change), { availableSchemes: ['clear', 'secagg', 'bfv'] });
const policy = policyWith();

test('the noise of a step over the longest signal is σ √d over the expected patients', () => {
  const d = openGan(ganConfigOf(policy)).discriminator.layout.length;
  const { sampleRate } = samplingOf(policy);
  const { step, allSteps, moments } = siteSize(policy, undefined, 40, [10, 10, 10, 10]);
  expect(step).toBeCloseTo((2 * Math.sqrt(d)) / (sampleRate * 40), 10);
  expect(allSteps).toBeCloseTo(step! / Math.sqrt(20), 10);
  expect(moments).toBeNull();
});

test('more patients, less noise over signal; a verdict for each end, and for a small class', () => {
  const verdicts = [1, 30, 100_000].map((n) => siteSize(policy, undefined, n, [n]).verdict);
  expect([verdicts[0], verdicts[2]]).toEqual(['drowned', 'clear']);
  const uneven = siteSize(policy, undefined, 100_000, [99_999, 1]);
  expect(uneven.sentences.join(' ')).toContain('Its smallest class has 1 patient:');
  expect(siteSize(policy, undefined, 4, [4]).sentences.join(' ')).toMatch(/this site has 4, so its part counts \d+ %/);
});

test('delta that is not below one in the patients is named, and no mechanism is no protection', () => {
  const { privacy } = policy;
  if (privacy.mechanism !== 'dp-sgd') throw new Error('the tiny policy has a mechanism');
  const many = Math.ceil(2 / privacy.delta);
  expect(siteSize(policy, undefined, many, [many]).sentences.join(' ')).toContain('is not below one in');
});
