import { readFileSync } from 'node:fs';
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

test('pooled steps: one noise for the sum of all sites, beside the patients that the others are declared to have', () => {
  const pooled = loadPolicyText(readFileSync(new URL('../../policies/demo-pooled.json', import.meta.url), 'utf8'), {
    availableSchemes: ['secagg'],
  });
  const { privacy, warmStart, aggregation } = pooled;
  if (privacy.mechanism !== 'dp-sgd' || warmStart.kind !== 'moments') throw new Error('it has a mechanism and moments');
  const d = openGan(ganConfigOf(pooled)).discriminator.layout.length;
  const { sampleRate, expectedBatch, patientsAtMost } = samplingOf(pooled);
  const found = siteSize(pooled, undefined, 30, [30]);
  // Three sites; shares of the noise are for two of them, since one may conspire.
  expect(aggregation.minSites).toBe(3);
  const noise = Math.sqrt(3 / 2) * privacy.noiseMultiplier * Math.sqrt(d);
  expect(found.step).toBeCloseTo(noise / (sampleRate * 30 + 2 * expectedBatch), 10);
  const text = found.sentences.join(' ');
  expect(text).toContain(
    `30 patients of this site and the ${2 * patientsAtMost} that the policy declares for the others`,
  );
  expect(text).toMatch(/Together the sites are/);
  expect(text).toMatch(/this site has 30, so its part counts 3\.0 %/);
  // Control: where each site makes its own noise, thirty patients are drowned in it.
  expect(siteSize(policy, undefined, 3, [3]).sentences.join(' ')).toContain('what it sends is noise');
});

test('a site without patients, all of them withdrawn for instance, is told so and no ratio', () => {
  expect(siteSize(policy, undefined, 0, [0])).toMatchObject({ step: null, verdict: 'drowned', sentences: [expect.stringContaining('There is no patient')] }); // prettier-ignore
});

test('delta that is not below one in the patients is named, and no mechanism is no protection', () => {
  const { privacy } = policy;
  if (privacy.mechanism !== 'dp-sgd') throw new Error('the tiny policy has a mechanism');
  const many = Math.ceil(2 / privacy.delta);
  expect(siteSize(policy, undefined, many, [many]).sentences.join(' ')).toContain('is not below one in');
});

test('pooled steps before joining: of the sites that a policy names one is the site that asks, not one more', () => {
  const pooled = loadPolicyText(readFileSync(new URL('../../policies/demo-pooled.json', import.meta.url), 'utf8'), {
    availableSchemes: ['secagg'],
  });
  const { sampleRate, expectedBatch, maxBatch } = samplingOf(pooled);
  const own = { sampleRate, expectedBatch, maxBatch, classes: pooled.model.classes };
  const named = { ...pooled, sites: { a: own, b: own, c: own } };
  expect(siteSize(named, undefined, 30, [30]).step).toBe(siteSize(pooled, undefined, 30, [30]).step);
  expect(siteSize(named, 'b', 30, [30]).step).toBe(siteSize(pooled, undefined, 30, [30]).step);
});
