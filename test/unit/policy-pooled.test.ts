import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { summaryMarkdown } from '../../cli/summary.ts';
import { boundsFor } from '../../cli/site-folder.ts';
import type { RunSummary } from '../../cli/run-folder.ts';
import { costOfEvents } from '../../shared/dp/convert.ts';
import { poissonGaussianEvent, gaussianEvent } from '../../shared/dp/event.ts';
import { checkBounds } from '../../shared/policy/bounds.ts';
import { epsilonOfPolicy, eventsOfPolicy } from '../../shared/policy/cost.ts';
import { loadPolicy, loadPolicyText } from '../../shared/policy/load.ts';
import { integerLimitOf, planLatticeOf, sensitivityOf } from '../../shared/policy/pooled.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import { kindOfRound, leastContributors } from '../../shared/protocol/terms.ts';
import { pooledFile, pooledPolicy, type PooledOptions } from '../support/pooled-rig.ts';
import { tinyPolicy } from '../support/glue-rig.ts';

const SCHEMES = ['clear', 'secagg', 'bfv'] as const;
const load = (file: unknown) => loadPolicy(file, { availableSchemes: SCHEMES });
const refusal = (o: PooledOptions, over: Record<string, unknown> = {}): string => {
  try {
    load({ ...pooledFile(o), ...over });
  } catch (error) {
    return String(error);
  }
  return 'loads';
};
const shipped = loadPolicyText(
  readFileSync(new URL('../../policies/pooled-consortium.json', import.meta.url), 'utf8'),
  {
    availableSchemes: SCHEMES,
  },
);
const five = { invited: ['a', 'b', 'c', 'd', 'e'] };

describe('what a pooled policy has to say', () => {
  test('the rig’s own policies load', () => {
    expect(refusal({})).toBe('loads');
    expect(refusal({ secure: true, moments: true })).toBe('loads');
  });
  test('placement and section come together', () => {
    expect(refusal({}, { pooled: undefined })).toContain('pooled: is missing');
    expect(refusal({ secure: true }, { pooled: undefined })).toContain('pooled: is missing');
    const { pooled } = pooledFile();
    expect(() => load({ ...tinyPolicy(), pooled })).toThrow('pooled: belongs to placement "pooled"');
  });
  test('with a mechanism nobody may read a single update: only secure aggregation is accepted', () => {
    for (const scheme of ['clear', 'bfv']) {
      const aggregation = { scheme, minSites: 3, minSurvivors: 3, deadlineSeconds: 60 };
      expect(refusal({ secure: true }, { aggregation })).toMatch(/aggregation.scheme: is "(clear|bfv)"/);
    }
  });
  test('somebody must be left to make noise, and both sections must count the same colluders', () => {
    expect(refusal({ pooled: { maxDropouts: 1, maxColluders: 2 } })).toContain('leave nobody to make noise');
    expect(refusal({ pooled: { maxColluders: 0 } })).toContain('maxColluders');
    expect(refusal({ secure: true, pooled: { maxDropouts: 1 } })).toContain(
      'pooled.maxDropouts: is 1, and aggregation has 0',
    );
  });
  test('noise must fit its table, sums their words, values the bits of the masks', () => {
    expect(refusal({ secure: true, pooled: { stepsPerClip: 16_384 } })).toContain('too many for the noise');
    expect(refusal({ pooled: { stepsPerClip: 2 ** 24 }, privacy: { maxBatch: 200 } })).toContain('exceed 32 bits');
    expect(refusal({ secure: true, aggregation: { bits: 16 } })).toMatch(
      /aggregation.bits: 16 bits: a pooled update has values up to/,
    );
  });
  test('it may not spend more than it says', () => {
    expect(refusal({ secure: true, privacy: { noiseMultiplier: 0.4 } })).toContain('spends epsilon=');
  });
});

describe('what it costs', () => {
  const policy = pooledPolicy({ secure: true, moments: true });
  test('its events are pooled ones, with the sensitivity of the lattice and the noise of all who must be there', () => {
    const [moments, steps] = eventsOfPolicy(policy);
    expect(moments).toMatchObject({ kind: 'poisson-skellam', sampleRate: 1, count: 1 });
    expect(steps).toMatchObject({ kind: 'poisson-skellam', sampleRate: 0.5, count: 12 });
    const { l2, variance } = sensitivityOf(policy, 'discriminator');
    expect(Math.sqrt(variance) / l2).toBeCloseTo(1, 3);
  });
  test('a little more than the Gaussian noise of one central party', () => {
    const { epsilon, overflowDelta } = epsilonOfPolicy(policy);
    const central = costOfEvents([gaussianEvent(2), poissonGaussianEvent(0.5, 1, 12)], 1e-5 - overflowDelta).epsilon;
    expect(epsilon).toBeGreaterThan(central);
    expect(epsilon).toBeLessThan(1.05 * central);
  });
  test('what rounding and sampler take of delta is in the sum', () => {
    const local = tinyPolicy({ privacy: { maxSteps: 12 } });
    const { maxSteps } = policy.privacy;
    expect(maxSteps).toBe(local.privacy.maxSteps);
    expect(epsilonOfPolicy(policy).overflowDelta).toBeGreaterThan(epsilonOfPolicy(local).overflowDelta);
  });
  test('shares: of five sites less one gone and one colluding, each makes a third', () => {
    const { variance } = sensitivityOf(shipped, 'discriminator');
    expect(planLatticeOf(shipped, { kind: 'discriminator', ...five }).share).toBe(Math.ceil(variance / 3));
    expect(planLatticeOf(shipped, { kind: 'moments', ...five }).norm).toBe(1);
    expect(() => planLatticeOf(shipped, { kind: 'discriminator', invited: ['a', 'b'] })).toThrow(/PARAMETER_INVALID/);
    expect(integerLimitOf(shipped, { kind: 'discriminator', ...five })).toBeGreaterThan(120 * 2048);
    expect(integerLimitOf(tinyPolicy(), { kind: 'generator', ...five })).toBeNull();
  });
});

describe('rounds', () => {
  const terms = roundTermsOf(shipped);
  test('moments first, then rounds of discriminator steps; a sum may lack one site of five', () => {
    const kinds = ['moments', 'moments', 'moments', 'discriminator', 'discriminator'];
    expect(kinds.map((_, round) => kindOfRound(terms, round))).toEqual(kinds);
    expect(leastContributors(terms, five)).toBe(4);
    expect(leastContributors(terms, { invited: Array.from({ length: 20 }, (_, i) => `s${i}`) })).toBe(19);
    expect(leastContributors(roundTermsOf(tinyPolicy()), five)).toBe(2);
  });
});

describe('what a site says to it', () => {
  test('its first bounds let it pass; without a word on pooling it is declined, and with too few colluders', () => {
    const bounds = boundsFor(shipped);
    expect(checkBounds(shipped, bounds)).toEqual([]);
    const { pooled: _, ...silent } = bounds;
    expect(checkBounds(shipped, silent).map((b) => b.path)).toEqual(['placement']);
    const strict = { ...bounds, pooled: { minColluders: 2 } };
    expect(checkBounds(shipped, strict).map((b) => b.path)).toEqual(['pooled.maxColluders']);
    expect(checkBounds(tinyPolicy(), { ...boundsFor(tinyPolicy()) }).map((b) => b.path)).toEqual([]);
  });
  test('the summary says what was sent, and up to how many colluding sites the promise holds', () => {
    const summary = {
      epsilon: [{ siteId: 'a', epsilon: 1 }],
      rounds: 3,
      seconds: 1,
      generatorParameters: 5,
      files: 'all',
    };
    const text = summaryMarkdown({ ...summary, synthetic: null, real: null } as unknown as RunSummary, shipped);
    expect(text).toContain('with the site’s share of the noise');
    expect(text).toContain('up to 1 of the other sites working together');
    expect(text).not.toContain('the clipped change of a generator');
  });
});
