/** An epsilon statement counts for the site, run and policy it was signed for, and for no other. */
import { expect, test } from 'vitest';
import { CONSORTIUM, signJson } from '../../shared/identity/signed.ts';
import { policySha256 } from '../../shared/policy/load.ts';
import { EPSILON_TYP, type EpsilonStatement } from '../../shared/protocol/round-messages.ts';
import { Hand, Tap } from '../support/round-hand.ts';
import { RUN_ID, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

const MOMENTS = [0.1, 0.1, 0.1, 0.1];

test('a statement of another site, run or policy is refused, and so is one another site signed', async () => {
  const policy = testPolicy({ rounds: 1, steps: 1 });
  const [cast, tap] = [castOf(3), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear });
  const hands = [...cast.sites].map(([id, keys]) => new Hand(coordinator, id, keys));
  const done = coordinator.run();
  await tap.when('run-started');
  for (const hand of hands) await hand.next();
  await tap.when('round-opened');
  const [{ siteId }, { siteId: other }] = hands;
  const work = await hands[0].work();

  const statement: EpsilonStatement = {
    siteId,
    runId: RUN_ID,
    policySha256: policySha256(policy),
    epsilon: 1,
    delta: 1e-5,
    events: [],
    entries: 1,
    ledger: { size: 1, head: 'a'.repeat(64) },
    leftOut: { nonce: '0'.repeat(32), sha256: 'c'.repeat(64) },
  };
  const sendWith = async (over: Partial<EpsilonStatement>, signer = siteId, typ = EPSILON_TYP) => {
    const keys = cast.sites.get(signer)!;
    const epsilon = await signJson(keys, { ...statement, ...over }, { typ, audience: CONSORTIUM, nowMs: 0 });
    return codeOf(hands[0].send(work, MOMENTS, {}, { epsilon }));
  };
  expect(await sendWith({ siteId: other })).toBe('SIGNATURE_INVALID');
  expect(await sendWith({ runId: '11111111-2222-4333-8444-555555555555' })).toBe('SIGNATURE_INVALID');
  expect(await sendWith({ policySha256: 'b'.repeat(64) })).toBe('SIGNATURE_INVALID');
  expect(await sendWith({}, other)).toBe('SIGNATURE_INVALID');
  expect(await sendWith({}, siteId, 'veilgan-answer+jws')).toBe('SIGNATURE_INVALID');
  const of = async () => (await coordinator.status()).sites.find((s) => s.siteId === siteId)?.epsilon;
  expect(await of()).toBeNull();
  // Positive control: its own is taken, once all of these were refused.
  expect(await sendWith({})).toBe('no error');
  expect(await of()).toBe(1);
  await coordinator.stop();
  await done;
});
