import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { checkKey, shownTo, stewardOf, unwrapKey, wrapKey } from '../../shared/aggregation/bfv/key-bundle.ts';
import type { KeyShown } from '../../shared/aggregation/bfv/key-bundle.ts';
import { bfvParameters } from '../../shared/aggregation/bfv/parameters.ts';
import { rosterSeen } from '../../shared/identity/roster.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { castOf, RUN_ID } from '../support/round-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

const parameters = bfvParameters({ bits: 16, maxSites: 8 });
const cast = castOf(4);
const { roster } = cast;
const keysOf = (id: string) => cast.sites.get(id)!;
/** Site d is in the roster and not invited. */
const invited = ['site-a', 'site-b', 'site-c'];
const planAt = (over: Partial<RoundPlan> = {}) =>
  ({ runId: RUN_ID, round: 1, attempt: 0, invited, roster: rosterSeen(roster), ...over }) as RoundPlan;
const plan = planAt();
const key = { secretKey: randomBytes(15_000), checkSecret: randomBytes(32) };
const wrapped = () => wrapKey(key, { plan, parameters, roster, steward: keysOf('site-a'), nowMs: 0 });
const open = (shown: KeyShown, as: string, over: Partial<RoundPlan> = {}, steward = 'site-a') =>
  unwrapKey(shown, { plan: planAt(over), parameters, roster, steward, keys: keysOf(as) });

test('every invited site opens the key with its own, the steward too; nobody else can', async () => {
  const bundle = await wrapped();
  for (const id of invited) {
    const opened = await open(shownTo(bundle, id), id);
    expect(Buffer.from(opened.secretKey).equals(key.secretKey)).toBe(true);
    expect(Buffer.from(opened.checkSecret).equals(key.checkSecret)).toBe(true);
  }
  expect(Object.keys(bundle.recipients)).toEqual(invited);
  expect(() => shownTo(bundle, 'site-d')).toThrow(/no key is wrapped for site-d/);
  expect(await codeOf(open(shownTo(bundle, 'site-a'), 'site-d'))).toBe('MESSAGE_INVALID');
  expect(await codeOf(open(shownTo(bundle, 'site-a'), 'site-b'))).toBe('MESSAGE_INVALID');
});

test('it is ECDH-ES+A256KW over X25519 with A256GCM, and holds the key once', async () => {
  const { sealed, recipients } = await wrapped();
  expect(JSON.parse(Buffer.from(sealed.protected, 'base64url').toString())).toEqual({ enc: 'A256GCM' });
  for (const { header } of Object.values(recipients))
    expect(header).toMatchObject({ alg: 'ECDH-ES+A256KW', epk: { kty: 'OKP', crv: 'X25519' } });
  expect(JSON.stringify(recipients).length).toBeLessThan(2000);
  const text = JSON.stringify({ sealed, recipients });
  expect(text).not.toContain(key.secretKey.toString('base64url').slice(0, 100));
});

test('a key of another attempt, round or roster, or of another steward, is refused', async () => {
  const shown = shownTo(await wrapped(), 'site-b');
  const others: Partial<RoundPlan>[] = [
    { attempt: 1 },
    { round: 2 },
    { runId: '00000000-0000-4000-8000-000000000000' },
    { roster: { version: 5, sha256: '1'.repeat(64) } },
  ];
  for (const over of others) expect(await codeOf(open(shown, 'site-b', over))).toBe('SIGNATURE_INVALID');
  expect(await codeOf(open(shown, 'site-b', {}, 'site-c'))).toBe('SIGNATURE_INVALID');
});

test('a key the coordinator made itself is refused, and so is one it changed', async () => {
  const forged = await wrapKey(key, { plan, parameters, roster, steward: keysOf('site-d'), nowMs: 0 });
  expect(await codeOf(open(shownTo(forged, 'site-b'), 'site-b'))).toBe('SIGNATURE_INVALID');
  const [one, other] = [await wrapped(), await wrapped()];
  const mixed = { ...shownTo(one, 'site-b'), sealed: other.sealed };
  expect(await codeOf(open(mixed, 'site-b'))).toBe('SIGNATURE_INVALID');
  const swapped = { ...shownTo(one, 'site-b'), recipient: other.recipients['site-b'] };
  expect(await codeOf(open(swapped, 'site-b'))).toBe('MESSAGE_INVALID');
  await checkKey(one, { plan, parameters, roster, steward: 'site-a' });
});

test('the steward is the policy’s when it is invited, and the first by name when not', () => {
  expect(stewardOf({ invited: ['c', 'b', 'a'] }, undefined)).toBe('a');
  expect(stewardOf({ invited: ['c', 'b', 'a'] }, 'b')).toBe('b');
  expect(stewardOf({ invited: ['c', 'b', 'a'] }, 'z')).toBe('a');
});
