import { expect, test } from 'vitest';
import { createSigningKeys } from '../../shared/identity/keys.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { planReader } from '../../site-agent/plan-reader.ts';
import { Hand, Tap } from '../support/round-hand.ts';
import { castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

test('the same bytes are read once; others are read, and refused, for what they are', async () => {
  const cast = castOf(3);
  const tap = new Tap();
  const coordinator = coordinatorOf(cast, testPolicy({ rounds: 1, steps: 1 }), { onEvent: tap.hear });
  const hands = [...cast.sites].map(([id, keys]) => new Hand(coordinator, id, keys));
  void coordinator.run();
  await tap.when('run-started');
  for (const hand of hands) await hand.next();
  await tap.when('round-opened');
  const { plan: jws } = await hands[0].work();
  await coordinator.stop();

  const read = planReader(publicPart(cast.coordinator.signing));
  const plan = await read(jws);
  expect(await read(jws)).toBe(plan);
  expect(Object.isFrozen(plan) && Object.isFrozen(plan.invited), 'nobody can change what is handed out again').toBe(
    true,
  );
  const [header, body, signature] = jws.split('.');
  const changed = `${header}.${body}.${signature.slice(0, 9)}${signature[9] === 'A' ? 'B' : 'A'}${signature.slice(10)}`;
  expect(await codeOf(read(changed))).toBe('SIGNATURE_INVALID');
  expect(await read(jws)).toBe(plan);
  const other = planReader(publicPart(createSigningKeys().signing));
  expect(await codeOf(other(jws))).toBe('SIGNATURE_INVALID');
  expect(await codeOf(other(jws))).toBe('SIGNATURE_INVALID');
});
