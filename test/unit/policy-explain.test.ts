import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { costOfEvents } from '../../shared/dp/convert.ts';
import { gaussianDelta } from '../../shared/dp/exact-gaussian.ts';
import { costsOfPolicy } from '../../shared/policy/cost-by-accountant.ts';
import { epsilonOfPolicy } from '../../shared/policy/cost.ts';
import { differencesOf } from '../../shared/policy/diff.ts';
import { explainPolicy } from '../../shared/policy/explain.ts';
import type { Policy } from '../../shared/policy/schema.ts';

/** The research policy with its updates in the clear, and without the answers to its release gate. */
const research = (): Policy => ({
  ...(JSON.parse(readFileSync(new URL('../../policies/research-consortium.json', import.meta.url), 'utf8')) as Policy),
  aggregation: { scheme: 'clear', minSites: 3, minSurvivors: 3, deadlineSeconds: 600 },
  release: { maxImages: 10_000, gate: null },
});
const d = { discriminatorValues: 10_000 };
const textOf = (policy: Policy): string =>
  explainPolicy(policy, d)
    .sections.flatMap((s) => s.lines)
    .join('\n');

describe('what a policy spends, by accountant', () => {
  const costs = costsOfPolicy(research());
  test('the tight figure is below the one that budgets are held by, which is that of the policy check', () => {
    expect(costs.patient.rdp).toBe(epsilonOfPolicy(research()).epsilon);
    expect(costs.patient.pld).toBeLessThan(costs.patient.rdp);
    expect(costs.patient.pldLower).toBeLessThan(costs.patient.pld);
    expect(costs.patient.pldLower).toBeGreaterThan(0.99 * costs.patient.pld);
    expect(costs.patient.pld).toBeGreaterThan(0.7 * costs.patient.rdp);
  });
  test('groups cost more than one patient, two sites less than two patients of one', () => {
    const [two, three] = costs.group;
    expect(two.epsilon).toBeGreaterThan(costs.patient.pld);
    expect(three.epsilon).toBeGreaterThan(two.epsilon);
    const [both] = costs.sites!;
    expect(both.epsilon).toBeGreaterThan(costs.patient.pld);
    // Sites draw the patient by coins of their own; a group of one site is drawn by coins of each, and so costs more.
    expect(both.epsilon).toBeLessThan(two.epsilon);
    const twice = [...costs.events, ...costs.events];
    expect(both.epsilon).toBeLessThanOrEqual(costOfEvents(twice, costs.delta / 2).epsilon);
  });
  test('one Gaussian release: groups and attackers are those of the exact formula', () => {
    const policy = research();
    Object.assign(policy.warmStart, { noiseMultiplier: 4, maxReleases: 1 });
    Object.assign(policy.privacy, { maxSteps: 0 });
    const { group, attacker, delta } = costsOfPolicy(policy);
    for (const { patients, epsilon } of group) {
      expect(gaussianDelta(epsilon, patients / 4)).toBeLessThanOrEqual(delta);
      expect(gaussianDelta(epsilon * 0.98, patients / 4)).toBeGreaterThan(delta);
    }
    // The best test against N(0, 1) and N(1/4, 1) at one false alarm in a thousand: Φ(Φ⁻¹(0.001) + 1/4).
    const [one] = attacker;
    expect(one.truePositiveRate).toBeGreaterThanOrEqual(0.002254);
    expect(one.truePositiveRate).toBeLessThan(0.0023);
  });
});

describe('in plain language', () => {
  test('pooled: the accountant that has no bound says so, and where it has one it does not', () => {
    const file = new URL('../../policies/demo-pooled.json', import.meta.url);
    const pooled = JSON.parse(readFileSync(file, 'utf8')) as Policy;
    expect(costsOfPolicy(pooled).patient.pld).toBe(Infinity);
    expect(costsOfPolicy(pooled).patient.rdp).toBeLessThan(7);
    const nothing = 'The accountant of loss distributions has no bound for these events.';
    expect(textOf(pooled)).toContain(nothing);
    expect(textOf(pooled)).toContain('while none of the sites that were invited to a sum is missing from it');
    expect(textOf(research())).not.toContain(nothing);
  });
  test('local, in the clear: against everyone, and the coordinator reads', () => {
    const text = textOf(research());
    expect(text).toMatch(/adding or removing that one patient/);
    expect(text).toMatch(/Against everyone: the coordinator, all other sites/);
    expect(text).toMatch(/The coordinator reads every update/);
    expect(text).toMatch(/By Rényi accounting, which the ledgers are held to: epsilon 7\.93 at delta 0\.00001/);
    expect(text).toMatch(/By loss distributions/);
    expect(text).toMatch(/2 patients: epsilon/);
    expect(text).toMatch(/tune on public data/);
  });
  test.each([
    [
      'secagg',
      { bits: 16, maxSites: 20, maxColluders: 1, maxDropouts: 1, graphAboveSites: 40 },
      /up to 1 other site\./,
    ],
    ['bfv', { bits: 16, maxSites: 20 }, /any one site together can open/],
  ] as const)('%s says who has to work together to read an update', (scheme, more, says) => {
    const policy = research();
    Object.assign(policy.aggregation, { scheme, ...more });
    expect(textOf(policy)).toMatch(says);
    expect(textOf(policy)).not.toMatch(/The coordinator reads every update/);
  });
  test('masks without colluders say so; a pooled promise rests on them and says that too', () => {
    const policy = research();
    const masked = { scheme: 'secagg', bits: 16, maxSites: 20, maxColluders: 0, maxDropouts: 1, graphAboveSites: 40 } as const; // prettier-ignore
    Object.assign(policy.aggregation, masked);
    expect(textOf(policy)).toMatch(/while the coordinator works together with no site/);
    expect(textOf(policy)).toMatch(/This rests on .* cryptography; the promise on privacy above does not/);
    policy.placement = 'pooled';
    policy.pooled = { stepsPerClip: 4096, coordinates: 30_000, maxDropouts: 1, maxColluders: 1, generatorSteps: 1 };
    expect(textOf(policy)).toMatch(/cryptography; so does the promise on privacy above/);
  });
  test('pooled names its colluders and what happens beyond', () => {
    const policy = research();
    policy.placement = 'pooled';
    policy.pooled = { stepsPerClip: 4096, coordinates: 30_000, maxDropouts: 1, maxColluders: 2, generatorSteps: 1 };
    const { sections, noise, costs } = explainPolicy(policy, d);
    const text = sections.flatMap((s) => s.lines).join('\n');
    expect(text).toMatch(/up to 2 of the sites/);
    expect(text).toMatch(/does not hold against more than 2/);
    expect(text).not.toMatch(/all of them together\. Each site adds all/);
    expect(text).toMatch(/counts as a group of two/);
    expect(costs!.sites).toBeNull();
    // The lattice costs a little more than the noise itself.
    const step = noise.find((n) => n.what === 'discriminator')!;
    const sigma = policy.privacy.mechanism === 'dp-sgd' ? policy.privacy.noiseMultiplier : NaN;
    expect(step.standardDeviation).toBeGreaterThan(sigma);
    expect(step.standardDeviation).toBeLessThan(1.1 * sigma);
  });
  test.each([
    [0, 1, /No cosignature .* could lead two groups of sites on in two histories/],
    [1, 1, /too few to hold any number of members/],
    // Any two quorums of q of n share 2q - n sites, which must be more than those that may lie.
    [3, 1, /cosignatures of 3 sites; .* up to 4 members .* coordinator and one of the sites work together/],
    [5, 1, /up to 8 members/],
    [5, 3, /up to 6 members .* coordinator and 3 of the sites/],
  ])('a quorum of %d witnesses, %d that may lie: how many members it holds to one history', (quorum, liars, says) => {
    const policy = research();
    policy.log = { witnessQuorum: quorum };
    policy.aggregation.maxColluders = liars;
    expect(textOf(policy)).toMatch(says);
  });
  test('without a mechanism nothing is promised, and no number is shown', () => {
    const policy = research();
    const { epsilon: _, delta: __, noiseMultiplier: ___, ...rest } = policy.privacy as Record<string, unknown>;
    policy.privacy = { ...rest, mechanism: 'none-insecure' } as Policy['privacy'];
    expect(textOf(policy)).toMatch(/^Nothing\. There is no privacy mechanism/);
    expect(textOf(policy)).not.toMatch(/epsilon \d/);
  });
});

describe('diff', () => {
  test('says what changed, in which group, in which direction, and why', () => {
    const after = research();
    Object.assign(after.privacy, { noiseMultiplier: 1.2, clipNorm: 2, maxSteps: 250 });
    after.why['privacy.maxSteps'] = 'more rounds, agreed in June';
    expect(differencesOf(research(), after)).toEqual([
      expect.objectContaining({ path: 'privacy.clipNorm', before: 1, after: 2, group: 'guarantee', protects: null }),
      expect.objectContaining({ path: 'privacy.maxSteps', protects: 'less', why: 'more rounds, agreed in June' }),
      expect.objectContaining({ path: 'privacy.noiseMultiplier', group: 'epsilon', protects: 'more' }),
      expect.objectContaining({ path: 'why.privacy.maxSteps', group: 'label' }),
    ]);
  });
  test('finds what one of them does not have, and nothing between equals', () => {
    const after = research();
    after.sites = { 'hospital-a': { classes: ['hand'] } };
    delete (after.warmStart as { maxReleases?: number }).maxReleases;
    expect(differencesOf(research(), after).map(({ path, before, after: now }) => [path, before, now])).toEqual([
      ['sites.hospital-a.classes', undefined, ['hand']],
      ['warmStart.maxReleases', 4, undefined],
    ]);
    expect(differencesOf(research(), research())).toEqual([]);
  });
});
