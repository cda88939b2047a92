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
const policy = (gate: object | null) => ({ release: { gate } }) as unknown as CheckedPolicy;
const two = policy({ signOff: { needed: 2, people } });
const finding = (holds: boolean) => ({ bound: 'epsilon', limit: 1, measured: 1, unit: '', holds, say: 'so' });
const signOff = async (name: string, keys: typeof ada, candidateSha256 = HASH) => ({
  ...{ name, key: keys.signing.x },
  statement: await signJson(keys, { ...of, candidateSha256, name }, { typ: SIGN_OFF_TYP, audience: CONSORTIUM, nowMs: 0 }), // prettier-ignore
});
const manifest = (signOffs: unknown[] | null, holds = true) =>
  ({
    ...of,
    gate: signOffs && { passed: true, candidateSha256: HASH, findings: [finding(holds)], signOffs },
  }) as unknown as SignedManifest;

test('two people who signed this candidate are enough', async () => {
  expect(await gateProblems(manifest([await signOff('Ada', ada), await signOff('Bob', bob)]), two)).toEqual([]);
  expect(await gateProblems(manifest(null), policy(null))).toEqual([]);
});

test('one, the same twice, a stranger, another candidate, a borrowed name, a bound that does not hold: none passes', async () => {
  const [first, second] = [await signOff('Ada', ada), await signOff('Bob', bob)];
  const wrong = async (signOffs: unknown[], holds = true) => (await gateProblems(manifest(signOffs, holds), two)).join('\n'); // prettier-ignore
  expect(await wrong([first])).toBe('1 of the 2 people needed have signed');
  expect(await wrong([first, first])).toBe('1 of the 2 people needed have signed');
  expect(await wrong([first, await signOff('Eve', createSigningKeys())])).toContain('Eve is not one of the people');
  expect(await wrong([first, await signOff('Bob', bob, 'cd'.repeat(32))])).toContain(
    'of Bob is not for this candidate',
  );
  expect(await wrong([first, { ...second, statement: first.statement }])).toContain('of Bob is not for this candidate');
  expect(await wrong([first, { ...first, name: 'Bob' }])).toContain('Bob is not one of the people');
  expect(await wrong([first, second], false)).toBe('the bound "epsilon" does not hold: so');
});

test('a verdict goes with a gate, and no gate without one', async () => {
  expect(await gateProblems(manifest(null), two)).toEqual([
    'the policy has a release gate, and the manifest no verdict',
  ]);
  expect(await gateProblems(manifest([]), policy(null))).toHaveLength(1);
});
