import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { siteNames } from '../../cli/demo/data.ts';
import { derivePolicy } from '../../cli/demo/policy.ts';
import { DEFAULT_PHANTOM_CLASSES, phantomImages } from '../../shared/imaging/phantom.ts';
import { epsilonOfPolicy } from '../../shared/policy/cost.ts';
import { type CheckedPolicy, loadPolicy } from '../../shared/policy/load.ts';
import { Policy } from '../../shared/policy/schema.ts';
import { momentLengths } from '../../site-agent/site-computation.ts';

/** The policies that `npm run demo -- --policy` is pointed at: on the phantoms they were made for, and on other data. */
const folder = new URL('../../policies/', import.meta.url);
const names = readdirSync(folder).filter((name) => name.startsWith('demo-'));
const baseOf = (name: string) => Policy.parse(JSON.parse(readFileSync(new URL(name, folder), 'utf8')));
const load = (policy: unknown): CheckedPolicy => loadPolicy(policy, { availableSchemes: ['clear', 'secagg', 'bfv'] });

test('there is one for every scheme and placement', () => {
  const kinds = names.map((name) => `${baseOf(name).placement} ${baseOf(name).aggregation.scheme}`);
  expect(kinds.toSorted()).toEqual(['local bfv', 'local clear', 'local secagg', 'pooled secagg']);
});

describe.each(names)('%s', (name) => {
  const base = baseOf(name);

  test('is for three sites of a thousand phantoms, spends less than 10, and lets nobody believe it is for patients', () => {
    expect(base.aggregation.minSites).toBe(3);
    expect(base.privacy.expectedBatch / base.privacy.sampleRate).toBeGreaterThanOrEqual(1000);
    expect(base.model.classes).toEqual(DEFAULT_PHANTOM_CLASSES);
    expect(epsilonOfPolicy(load(base)).epsilon).toBeLessThan(10);
    expect(base.why['id']).toMatch(/never to be pointed at real patients/);
  });

  // More classes make longer vectors, more patients larger sums, more sites other shares.
  test.each([
    { sites: 5, patients: 1000, classNames: ['a', 'b'] },
    { sites: 3, patients: 5000, classNames: [...'abcdefghij'] },
  ])('is adapted to $sites sites with $patients patients of other data', ({ sites, patients, classNames }) => {
    const test = phantomImages({ size: 28, channels: 1, patients: 40, classes: ['chest', 'hand'], seed: 'other' });
    const labels = Int32Array.from({ length: test.n }, (_, i) => i % classNames.length);
    const facts = siteNames(sites).map((siteId) => ({ siteId, patients, classes: classNames }));
    const from = { sites: facts, test: { ...test, classNames, labels }, imagesPerPatient: 1, patientsKnown: true };
    const policy = load(derivePolicy(base, { ...from, rounds: 2 }));
    expect(policy.aggregation.minSites).toBe(sites);
    expect(epsilonOfPolicy(policy).epsilon).toBeLessThanOrEqual(10);
    if (policy.pooled === undefined) return;
    expect(policy.pooled.coordinates).toBeGreaterThanOrEqual(Math.max(...momentLengths(policy)));
    // As it was, it would not do for larger sites.
    const narrow = { ...policy, aggregation: { ...policy.aggregation, bits: base.aggregation.bits! } };
    if (patients > 1000) expect(() => load(narrow)).toThrow(/aggregation.bits: 23 bits/);
  });
});
