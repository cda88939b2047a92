import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { stepsFor } from '../../shared/dp/calibrate.ts';
import { costOfEvents } from '../../shared/dp/convert.ts';
import { gaussianEvent, poissonGaussianEvent } from '../../shared/dp/event.ts';
import { checkBounds, requireWithinBounds, SiteBounds } from '../../shared/policy/bounds.ts';
import { epsilonOfPolicy, eventsOfPolicy, samplingOf } from '../../shared/policy/cost.ts';
import { loadPolicy } from '../../shared/policy/load.ts';
import { tinyCritic } from '../support/glue-rig.ts';

const text = readFileSync(new URL('../../policies/research-consortium.json', import.meta.url), 'utf8');

interface Overrides {
  privacy?: Record<string, unknown>;
  training?: Record<string, unknown>;
  sites?: Record<string, unknown>;
  warmStart?: Record<string, unknown>;
}

/** The example of the manual: q = 0.02, σ = 1.1, epsilon 8 at 1e-5; every patient fits, so that delta is whole. */
const example = ({ privacy = {}, training = {}, sites, warmStart = { kind: 'none' } }: Overrides = {}) => {
  const tree = JSON.parse(text) as Record<string, Record<string, unknown>>;
  Object.assign(tree.privacy, { epsilon: 8, delta: 1e-5, noiseMultiplier: 1.1, sampleRate: 0.02 });
  Object.assign(tree.privacy, { expectedBatch: 100, maxBatch: 5000, maxSteps: 4000 }, privacy);
  Object.assign(tree.training, training);
  tree.warmStart = warmStart;
  // Without the answers to the release gate: the manual knows of none.
  tree.release.gate = null;
  for (const path of Object.keys(tree.why)) if (/^warmStart\.|^release\.gate\./.test(path)) delete tree.why[path];
  return loadPolicy({ ...tree, ...(sites && { sites }) }, { availableSchemes: ['clear', 'secagg'] });
};
const { critic: _, ...warm } = (JSON.parse(text) as { warmStart: Record<string, unknown> }).warmStart;

describe('a policy within its own epsilon', () => {
  test('4,000 steps are within 8, and the figure is that of the accountant', () => {
    const cost = epsilonOfPolicy(example());
    expect(cost.epsilon).toBe(costOfEvents([poissonGaussianEvent(0.02, 1.1, 4000)], 1e-5).epsilon);
    expect(cost).toMatchObject({ delta: 1e-5, overflowDelta: 0, events: [poissonGaussianEvent(0.02, 1.1, 4000)] });
    expect(cost.epsilon).toBeLessThanOrEqual(8);
    expect(cost.epsilon).toBeGreaterThan(7);
  });

  test('5,000 are not: loading fails and names what they spend', () => {
    const spent = Math.ceil(100 * costOfEvents([poissonGaussianEvent(0.02, 1.1, 5000)], 1e-5).epsilon) / 100;
    expect(() => example({ privacy: { maxSteps: 5000 } })).toThrow(
      `privacy.maxSteps: spends epsilon=${spent}, more than 8`,
    );
  });

  test('the limit is exact: the last step that fits loads, the next does not', () => {
    const last = stepsFor({ epsilon: 8, delta: 1e-5, sampleRate: 0.02, noiseMultiplier: 1.1 });
    expect(example({ privacy: { maxSteps: last } }).privacy.maxSteps).toBe(last);
    expect(() => example({ privacy: { maxSteps: last + 1 } })).toThrow(/spends epsilon=8.01/);
  });

  test('the moment round counts', () => {
    const policy = example({ warmStart: { ...warm, noiseMultiplier: 20, maxReleases: 2 } });
    expect(eventsOfPolicy(policy)).toEqual([gaussianEvent(20, 2), poissonGaussianEvent(0.02, 1.1, 4000)]);
    expect(epsilonOfPolicy(policy).epsilon).toBeGreaterThan(epsilonOfPolicy(example()).epsilon);
    expect(() => example({ warmStart: { ...warm, noiseMultiplier: 0.5 } })).toThrow(/spends epsilon=/);
    expect(() => example({ warmStart: { ...warm, noiseMultiplier: 0 } })).toThrow(/spends epsilon=infinite/);
  });

  test('every critic round is one more release of the moment round’s noise', () => {
    const critic = { ...tinyCritic, rounds: 3 };
    const policy = example({ warmStart: { ...warm, noiseMultiplier: 20, maxReleases: undefined, critic } });
    expect(eventsOfPolicy(policy)[0]).toEqual(gaussianEvent(20, 4));
    const spare = example({ warmStart: { ...warm, noiseMultiplier: 20, maxReleases: 6, critic } });
    expect(eventsOfPolicy(spare)[0]).toEqual(gaussianEvent(20, 6));
    expect(() => example({ warmStart: { ...warm, noiseMultiplier: 20, maxReleases: 3, critic } })).toThrow(
      'warmStart.maxReleases: there are 4 moment rounds',
    );
    // What one release may spend, four may not.
    const one = { ...warm, noiseMultiplier: 3, maxReleases: undefined };
    expect(() => example({ warmStart: one })).not.toThrow();
    expect(() => example({ warmStart: { ...one, critic } })).toThrow(/spends epsilon=/);
  });

  test('every site it names is held to it, with that site’s own numbers', () => {
    const at = (sampleRate: number) => ({ sites: { small: { classes: ['hand'], sampleRate, maxBatch: 100_000 } } });
    expect(() => example(at(0.04))).toThrow(/sites.small: spends epsilon=/);
    const policy = example(at(0.01));
    expect(epsilonOfPolicy(policy, 'small').epsilon).toBeLessThan(epsilonOfPolicy(policy, 'another').epsilon);
    expect(epsilonOfPolicy(policy).epsilon).toBe(epsilonOfPolicy(policy, 'another').epsilon);
    expect(samplingOf(policy, 'small')).toEqual({
      sampleRate: 0.01,
      expectedBatch: 100,
      maxBatch: 100_000,
      patientsAtMost: 10_000,
    });
    expect(samplingOf(policy, 'another').patientsAtMost).toBe(5000);
  });

  test('a small cap on the batch takes from delta, and too small a one takes all of it', () => {
    const roomy = epsilonOfPolicy(example({ privacy: { maxBatch: 200 } }));
    expect(roomy.overflowDelta).toBeGreaterThan(0);
    expect(roomy.overflowDelta).toBeLessThan(1e-7);
    expect(roomy.epsilon).toBeGreaterThan(epsilonOfPolicy(example()).epsilon);
    expect(() => example({ privacy: { maxBatch: 120 } })).toThrow(/spends epsilon=infinite.*maxBatch is so small/);
  });

  test('without a mechanism nothing is claimed', () => {
    const tree = JSON.parse(text) as Record<string, Record<string, unknown>>;
    tree.privacy.mechanism = 'none-insecure';
    for (const key of ['epsilon', 'delta', 'noiseMultiplier']) {
      delete tree.privacy[key];
      delete tree.why[`privacy.${key}`];
    }
    const policy = loadPolicy(tree, { availableSchemes: ['clear', 'secagg'] });
    expect(epsilonOfPolicy(policy).epsilon).toBe(Infinity);
    // The moment round is one more.
    expect(eventsOfPolicy(policy)).toEqual([{ kind: 'not-private', count: policy.privacy.maxSteps + 1 }]);
  });
});

describe('a site’s own bounds', () => {
  const bounds: SiteBounds = {
    maxEpsilon: 8,
    maxDelta: 1e-5,
    minNoiseToSampleRate: 50,
    maxSteps: 5000,
    maxImagesPerPatient: 4,
    minSites: 3,
    minSurvivors: 3,
    schemes: ['clear', 'secagg'],
    allowInsecure: false,
    lifetime: { epsilon: 10, delta: 1e-5 },
  };
  const policy = example();

  test('a policy within them passes, and is not changed', () => {
    expect(checkBounds(policy, bounds)).toEqual([]);
    expect(() => requireWithinBounds(policy, bounds)).not.toThrow();
    expect(SiteBounds.safeParse(bounds).success).toBe(true);
  });

  test.each<[string, Partial<SiteBounds>, string, RegExp]>([
    ['epsilon', { maxEpsilon: 2 }, 'privacy.epsilon', /epsilon of a whole run is 7\.504; this site allows at most 2\./],
    ['delta', { maxDelta: 1e-6 }, 'privacy.delta', /Delta is 0\.00001/],
    [
      'noise over rate',
      { minNoiseToSampleRate: 56 },
      'privacy.noiseMultiplier',
      /is 55; this site asks for at least 56/,
    ],
    ['steps', { maxSteps: 3999 }, 'privacy.maxSteps', /4000; this site allows at most 3999/],
    ['images', { maxImagesPerPatient: 1 }, 'privacy.imagesPerPatient', /images of one patient/],
    ['sites', { minSites: 6 }, 'aggregation.minSites', /at least 6/],
    ['survivors', { minSurvivors: 6 }, 'aggregation.minSurvivors', /at least 6/],
    ['schemes', { schemes: ['bfv'] }, 'aggregation.scheme', /"secagg"; this site allows bfv/],
  ])('%s', (_, narrower, path, sentence) => {
    const found = checkBounds(policy, { ...bounds, ...narrower });
    expect(found).toHaveLength(1);
    expect(found[0].path).toBe(path);
    expect(found[0].sentence).toMatch(sentence);
    expect(() => requireWithinBounds(policy, { ...bounds, ...narrower })).toThrow(/BOUNDS_EXCEEDED/);
  });

  test('all that is outside is listed at once', () => {
    expect(checkBounds(policy, { ...bounds, maxEpsilon: 1, maxSteps: 1, schemes: ['bfv'] })).toHaveLength(3);
  });

  test('a bound that cannot be compared declines', () => {
    expect(checkBounds(policy, { ...bounds, maxEpsilon: NaN })).toHaveLength(1);
    expect(checkBounds(policy, { ...bounds, minSites: NaN })).toHaveLength(1);
  });

  test('the file must hold every bound and nothing else', () => {
    const { maxSteps: _, ...missing } = bounds;
    expect(SiteBounds.safeParse(missing).success).toBe(false);
    expect(SiteBounds.safeParse({ ...bounds, maxPatients: 3 }).success).toBe(false);
  });
});
