import { describe, expect, test } from 'vitest';
import { type Evidence, judge, type Verdict } from '../../coordinator/core/release-gate.ts';
import { cannotTellRate, errorRates, passRate, questionWeights } from '../../shared/gate/error-rates.ts';
import { candidateOf, candidateSha256 } from '../../shared/gate/candidate.ts';
import { costsOfPolicy } from '../../shared/policy/cost-by-accountant.ts';
import { epsilonOfPolicy, eventsOfPolicy } from '../../shared/policy/cost.ts';
import { explainPolicy } from '../../shared/policy/explain.ts';
import { loadPolicy } from '../../shared/policy/load.ts';
import { gatedFile, gatedPolicy, goodEvidence, KEY_A, KEY_B, testGate } from '../support/gate-rig.ts';
import { refusalOf } from '../support/glue-rig.ts';

const policy = gatedPolicy({}, { privacy: { epsilon: 1000 } });
const verdict = (changed: Partial<Evidence>, of = policy): Verdict => judge({ ...goodEvidence, ...changed }, of);
/** Bounds that do not hold. */
const against = (changed: Partial<Evidence>, of = policy): string[] =>
  verdict(changed, of).findings.flatMap((f) => (f.holds ? [] : [f.bound]));
const sayOf = (changed: Partial<Evidence>, bound: string): string =>
  verdict(changed).findings.find((f) => f.bound === bound)!.say;
const [one, two, three] = goodEvidence.sites;
const words = (memorisation: 'yes' | 'no' | 'cannot-tell', membership: 'yes' | 'no' | 'cannot-tell' = 'no') =>
  ({ kind: 'answered', memorisation, membership }) as const;

describe('one bound at a time', () => {
  test('what holds everywhere passes, every bound named with its limit and its measure', () => {
    const { passed, findings } = verdict({});
    expect(passed).toBe(true);
    expect(findings.map((f) => f.bound)).toEqual([
      ...['log', 'epsilon', 'sites', 'memorisation', 'membership', 'diversity', 'sign-off'],
    ]);
    expect(findings.find((f) => f.bound === 'diversity')).toMatchObject({ limit: 0.8, measured: 0.8, holds: true });
  });
  test('the log: a problem, no entries, no audit', () => {
    expect(against({ log: { problems: 1, first: 'entry 7: no', entries: 40 } })).toEqual(['log']);
    expect(sayOf({ log: { problems: 1, first: 'entry 7: no', entries: 40 } }, 'log')).toMatch(/entry 7: no/);
    expect(against({ log: { problems: 0, first: null, entries: 0 } })).toEqual(['log']);
    expect(against({ log: null })).toEqual(['log']);
  });
  test('epsilon: at the bound, above it and by how much, infinite, never stated, of nobody', () => {
    const spent = (epsilon: number | null) => ({ sites: [{ ...one, epsilon }, two, three] });
    expect(against(spent(1000))).toEqual([]);
    expect(against(spent(1001))).toEqual(['epsilon']);
    expect(sayOf(spent(1002.5), 'epsilon')).toMatch(/spent 1003, 2.5 more than the policy's 1000/);
    expect(against(spent(null))).toEqual(['epsilon']);
    expect(against(spent(NaN))).toEqual(['epsilon']);
    expect(against({ sites: [] })).toEqual(['epsilon', 'sites', 'memorisation', 'membership']);
  });
  test('a policy without a mechanism never passes, whatever was measured', () => {
    const { epsilon: _, delta: __, noiseMultiplier: ___, ...rest } = gatedFile().privacy;
    const file = { ...gatedFile(), privacy: { ...rest, mechanism: 'none-insecure' } };
    const why = Object.fromEntries(Object.entries(file.why).filter(([k]) => !/epsilon|delta|noiseM/.test(k)));
    const insecure = loadPolicy({ ...file, why }, { availableSchemes: ['clear'] });
    expect(against({}, insecure)).toEqual(['epsilon']);
  });
  test('sites: too few answers, one that took part and did not, one that declined, one that was revoked', () => {
    expect(against({ sites: [one, two] })).toEqual([]);
    expect(against({ sites: [one] })).toEqual(['sites']);
    expect(against({ sites: [one, two, { ...three, words: null }] })).toEqual(['sites']);
    expect(sayOf({ sites: [one, two, { ...three, words: null }] }, 'sites')).toMatch(/site-3 took part and has not/);
    const declined = { kind: 'declined', code: 'BUDGET_EXHAUSTED' } as const;
    expect(against({ sites: [one, two, { ...three, words: declined }] })).toEqual(['sites']);
    expect(against({ sites: [one, two, { ...three, words: null, revoked: true }] })).toEqual([]);
    expect(sayOf({ sites: [one, two, { ...three, words: null, revoked: true }] }, 'sites')).toMatch(/revoked/);
  });
  test('memorisation and membership: one yes of one site refuses, by name', () => {
    expect(against({ sites: [one, two, { ...three, words: words('yes') }] })).toEqual(['memorisation']);
    expect(against({ sites: [one, two, { ...three, words: words('no', 'yes') }] })).toEqual(['membership']);
    const say = sayOf({ sites: [one, two, { ...three, words: words('yes') }] }, 'memorisation');
    expect(say).toBe('site-3 found copies of more than 5 % of their patients.');
  });
  test('"cannot tell" refuses unless the policy says that it passes, and never passes alone', () => {
    const unsure = { sites: [one, two, { ...three, words: words('cannot-tell', 'cannot-tell') }] };
    expect(against(unsure)).toEqual(['memorisation', 'membership']);
    const lenient = gatedPolicy({ cannotTell: 'pass' });
    expect(against(unsure, lenient)).toEqual([]);
    const all = { sites: unsure.sites.map((s) => ({ ...s, words: words('cannot-tell', 'cannot-tell') })) };
    expect(against(all, lenient)).toEqual(['memorisation', 'membership']);
  });
  test('diversity: at the bound, above it and by how much, not measured, not a number', () => {
    expect(against({ similarity: [0.1, null, 0.8] })).toEqual([]);
    expect(against({ similarity: [0.1, 0.85, 0.8] })).toEqual(['diversity']);
    expect(sayOf({ similarity: [0.1, 0.85, 0.8] }, 'diversity')).toMatch(/"hand" are alike by 0.85 .* 0.05 too alike/);
    for (const similarity of [null, [], [null, null, null], [0.1, NaN, 0.2]])
      expect(against({ similarity })).toEqual(['diversity']);
  });
  test('sign-off: nobody, a stranger, a name with another key, one person twice', () => {
    expect(against({ signOffs: [] })).toEqual(['sign-off']);
    expect(against({ signOffs: [{ name: 'Eve', key: KEY_A }] })).toEqual(['sign-off']);
    expect(against({ signOffs: [{ name: 'Ada', key: KEY_B }] })).toEqual(['sign-off']);
    const both = gatedPolicy({ signOff: { ...testGate.signOff, needed: 2 } });
    const ada = { name: 'Ada', key: KEY_A };
    expect(against({ signOffs: [ada, ada] }, both)).toEqual(['sign-off']);
    expect(against({ signOffs: [ada, { name: 'Bo', key: KEY_B }] }, both)).toEqual([]);
  });
  test('without a gate nothing passes', () => {
    expect(verdict({}, gatedPolicy(null))).toMatchObject({
      passed: false,
      findings: [{ bound: 'gate', holds: false }],
    });
  });
});

describe('what a gate in a policy has to fulfil', () => {
  const load = (gate: object) => refusalOf(() => gatedPolicy(gate));
  test('a site that would often be wrong, or could never tell, is refused when the policy is loaded', async () => {
    expect(await load({})).toBe('no error');
    expect(await load({ noiseMultiplier: 40 })).toMatch(/release\.gate\.leastPatients: a site of 200 would be wrong/);
    expect(await load({ leastPatients: 601 })).toMatch(/a site declares 600: it could never tell/);
    expect(await load({ images: 100, holdOut: 0.4 })).toMatch(/holdOut/);
    expect(await load({ signOff: { ...testGate.signOff, needed: 3 } })).toMatch(/is 3, and 2 people are named/);
    const twice = { name: 'Ada', key: KEY_A };
    expect(await load({ signOff: { needed: 1, people: [twice, twice] } })).toMatch(/names somebody twice/);
    expect(await load({ signOff: { needed: 1, people: [twice, { ...twice, name: 'Bo' }] } })).toMatch(/one key/);
  });
  test('its answers are charged: to the policy’s own check, and beside moments of the same noise', () => {
    const without = epsilonOfPolicy(gatedPolicy(null)).epsilon;
    expect(epsilonOfPolicy(gatedPolicy()).epsilon).toBeGreaterThan(without);
    const kinds = eventsOfPolicy(gatedPolicy({ noiseMultiplier: 3 })).map((e) => `${e.kind} ${e.count}`);
    expect(kinds).toEqual(['gaussian 1', 'poisson-gaussian 50', 'gaussian 3']);
    // Moments at σ 2 and the gate at σ 2 are one mechanism.
    expect(eventsOfPolicy(gatedPolicy()).map((e) => `${e.kind} ${e.count}`)).toEqual([
      'gaussian 4',
      'poisson-gaussian 50',
    ]);
    expect(costsOfPolicy(gatedPolicy()).patient.pld).toBeLessThan(Infinity);
    const tight = gatedPolicy(null).privacy.mechanism === 'dp-sgd' ? without * 1.0001 : 0;
    expect(() => gatedPolicy(null, { privacy: { epsilon: tight } })).not.toThrow();
    expect(() => gatedPolicy({}, { privacy: { epsilon: tight } })).toThrow(/spends epsilon/);
  });
  test('it is explained, error rates included', () => {
    const text = JSON.stringify(explainPolicy(gatedPolicy(), { discriminatorValues: 100 }).sections);
    expect(text).toMatch(/1 of these people have to sign: Ada, Bo/);
    expect(text).toMatch(/keeps 20 % of its patients out of all training/);
    expect(text).toMatch(/answers to the release gate at noise 2/);
    expect(JSON.stringify(explainPolicy(gatedPolicy(null), { discriminatorValues: 1 }))).toMatch(/No gate judges/);
  });
});

describe('error rates', () => {
  test('no patient’s vector is longer than 1, for every gate the schema lets through', () => {
    for (const holdOut of [0.01, 0.1, 0.3])
      for (const advantageAtMost of [0.01, 0.2, 0.499]) {
        const terms = { ...testGate, holdOut, membership: { advantageAtMost } };
        const w = questionWeights(terms);
        const trained = Math.hypot(w.copies, w.membership * w.ratio * (1 + 2 * advantageAtMost), w.size);
        expect(trained).toBeLessThanOrEqual(1 + 1e-12);
        expect(Math.hypot(w.membership, w.size)).toBeLessThanOrEqual(1 + 1e-12);
        expect(w.copies).toBeGreaterThan(0);
      }
  });
  test('more patients and less noise make fewer errors; healthy sites mostly pass', () => {
    const at = (n: number, noiseMultiplier = 8) => errorRates({ ...testGate, noiseMultiplier }, n);
    expect(at(1000).memorisation).toBeLessThan(at(500).memorisation);
    expect(at(1000).membership).toBeLessThan(at(500).membership);
    expect(at(500, 4).memorisation).toBeLessThan(at(500).memorisation);
    expect(cannotTellRate(testGate, 200)).toBeCloseTo(0.5, 10);
    expect(passRate(testGate, [600, 600, 600])).toBeGreaterThan(0.99);
  });
});

test('a candidate is its generator, run and policy: seed and counts are nobody’s choice', () => {
  const of = { runId: '3d0c6a52-7a35-4d0b-8a52-0d6f1f3f9a11', policySha256: 'a'.repeat(64), bytes: 8 };
  const make = (generatorSha256: string) =>
    candidateOf(policy, { ...of, generatorSha256, releasedSha256: 'c'.repeat(64) });
  const first = make('b'.repeat(64));
  expect(first.counts).toEqual([40, 40, 40]);
  expect(first).toEqual(make('b'.repeat(64)));
  expect(candidateSha256(first)).not.toBe(candidateSha256(make('d'.repeat(64))));
  expect(make('d'.repeat(64)).seed).not.toBe(first.seed);
});
