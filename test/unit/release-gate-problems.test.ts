import { expect, test } from 'vitest';
import { gateProblems } from '../../cli/release/gate-problems.ts';
import { SIGN_OFF_TYP } from '../../shared/gate/answers.ts';
import { createSigningKeys } from '../../shared/identity/keys.ts';
import { CONSORTIUM, signJson } from '../../shared/identity/signed.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import type { SignedManifest } from '../../shared/release/manifest.ts';

const HASH = 'ab'.repeat(32);
const of = { runId: '01234567-89ab-4cde-8f01-23456789abcd', policySha256: HASH };
const [ada, bob] = [createSigningKeys(), createSigningKeys()];
const people = [
  { name: 'Ada', key: ada.signing.x },
  { name: 'Bob', key: bob.signing.x },
];
/** Only what is looked at. */
const policy = (gate: object | null) =>
  ({ release: { gate }, privacy: { mechanism: 'dp-sgd', epsilon: 8 } }) as unknown as CheckedPolicy;
const two = policy({ minSites: 3, diversity: { similarityAtMost: 0.7 }, signOff: { needed: 2, people } });
const finding = (bound: string, limit: number, measured: number | null) => ({ bound, limit, measured, unit: '', holds: true, say: 'so' }); // prettier-ignore
const fine = [
  finding('log', 0, 0),
  finding('epsilon', 8, 7.5),
  finding('sites', 3, 3),
  finding('memorisation', 0, 0),
  finding('membership', 0, 0),
  finding('diversity', 0.7, 0.5),
  finding('sign-off', 2, 2),
];
const signOff = async (name: string, keys: typeof ada, candidateSha256 = HASH) => ({
  ...{ name, key: keys.signing.x },
  statement: await signJson(keys, { ...of, candidateSha256, name }, { typ: SIGN_OFF_TYP, audience: CONSORTIUM, nowMs: 0 }), // prettier-ignore
});
const manifest = (signOffs: unknown[] | null, findings: object[] = fine) =>
  ({
    ...of,
    gate: signOffs && { passed: true, candidateSha256: HASH, findings, signOffs },
  }) as unknown as SignedManifest;

test('two people who signed this candidate are enough', async () => {
  expect(await gateProblems(manifest([await signOff('Ada', ada), await signOff('Bob', bob)]), two)).toEqual([]);
  expect(await gateProblems(manifest(null), policy(null))).toEqual([]);
});

test('one, the same twice, a stranger, another candidate, a borrowed name, a bound that does not hold: none passes', async () => {
  const [first, second] = [await signOff('Ada', ada), await signOff('Bob', bob)];
  const wrong = async (signOffs: unknown[], findings = fine) => (await gateProblems(manifest(signOffs, findings), two)).join('\n'); // prettier-ignore
  expect(await wrong([first])).toBe('1 of the 2 people needed have signed');
  expect(await wrong([first, first])).toBe('1 of the 2 people needed have signed');
  expect(await wrong([first, await signOff('Eve', createSigningKeys())])).toContain('Eve is not one of the people');
  expect(await wrong([first, await signOff('Bob', bob, 'cd'.repeat(32))])).toContain(
    'of Bob is not for this candidate',
  );
  expect(await wrong([first, { ...second, statement: first.statement }])).toContain('of Bob is not for this candidate');
  expect(await wrong([first, { ...first, name: 'Bob' }])).toContain('Bob is not one of the people');
  const refused = fine.map((f) => (f.bound === 'epsilon' ? { ...f, holds: false } : f));
  expect(await wrong([first, second], refused)).toBe('the bound "epsilon" does not hold: so');
});

test('a verdict goes with a gate, and no gate without one', async () => {
  expect(await gateProblems(manifest(null), two)).toEqual([
    'the policy has a release gate, and the manifest no verdict',
  ]);
  expect(await gateProblems(manifest([]), policy(null))).toHaveLength(1);
});

test('a verdict that leaves a bound out, holds it to another limit, or lets it hold against its own number', async () => {
  const signed = [await signOff('Ada', ada), await signOff('Bob', bob)];
  const changed = async (bound: string, change: object) =>
    gateProblems(manifest(signed, fine.map((f) => (f.bound === bound ? { ...f, ...change } : f))), two); // prettier-ignore
  expect(await gateProblems(manifest(signed, []), two)).toHaveLength(7);
  expect(await gateProblems(manifest(signed, [...fine, fine[3]]), two)).toEqual(['the verdict says of "memorisation" nothing, or twice']); // prettier-ignore
  expect(await changed('epsilon', { limit: 80 })).toEqual(['the verdict holds "epsilon" to 80; the policy has 8']);
  expect(await changed('epsilon', { measured: 9 })).toEqual(['the verdict lets "epsilon" hold with 9, where the policy has 8']); // prettier-ignore
  expect(await changed('sites', { measured: 2 })).toEqual(['the verdict lets "sites" hold with 2, where the policy has 3']); // prettier-ignore
  expect(await changed('membership', { measured: 1 })).toHaveLength(1);
  expect(await changed('diversity', { measured: null })).toHaveLength(1);
});
