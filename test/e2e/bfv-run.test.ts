/** Whole runs under scheme `bfv`, in one process: results, drop-outs, and what crosses between whom. */
import { describe, expect, test } from 'vitest';
import type { Coordinator } from '../../coordinator/coordinator.ts';
import { packFloat32, unpackFloat32 } from '../../shared/aggregation/clear.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { FedError } from '../../shared/errors.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { NextReply, RoundAnswer } from '../../shared/protocol/round-messages.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { BFV } from '../support/bfv-rig.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { Tap, passTime } from '../support/round-hand.ts';
import { agentOf, castOf, coordinatorOf, RUN_ID, testPolicy } from '../support/round-rig.ts';
import type { Cast } from '../support/round-rig.ts';

const CLEAR = { scheme: 'clear' } as const;
const ROUND = { runId: RUN_ID, round: 1 };

/** Everything that crossed one site's link, both ways. */
class Wire {
  readonly sent: { type: string; payload: unknown }[] = [];
  readonly received: { type: string; body: unknown }[] = [];
  around(link: CoordinatorLink): CoordinatorLink {
    return {
      call: async (type, payload) => {
        this.sent.push({ type, payload });
        const body = await link.call(type, payload);
        this.received.push({ type, body });
        return body;
      },
      onWake: (listener) => link.onWake(listener),
      close: () => link.close(),
    };
  }
  bytesOut(): Buffer {
    return Buffer.concat(this.sent.map(({ payload }) => bytesOf(payload)));
  }
  bytesIn(): Buffer {
    return Buffer.concat(this.received.map(({ body }) => bytesOf(body)));
  }
}

/** A message as one string of bytes: its JSON, then the byte strings in it. */
function bytesOf(value: unknown): Buffer {
  const parts: Uint8Array[] = [];
  const text = JSON.stringify(value, (_, v: unknown) => {
    if (!(v instanceof Uint8Array)) return v;
    parts.push(v);
    return null;
  });
  return Buffer.concat([Buffer.from(text ?? ''), ...parts]);
}

async function runAll(cast: Cast, policy: CheckedPolicy) {
  const tap = new Tap();
  const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear });
  const outboxes = new Map([...cast.sites.keys()].map((id) => [id, new Outbox(':memory:')]));
  const wires = new Map([...cast.sites.keys()].map((id) => [id, new Wire()]));
  const agents = [...cast.sites.keys()].map((id) =>
    agentOf(cast, policy, id, wires.get(id)!.around(directLink(coordinator, id)), { outbox: outboxes.get(id)! }),
  );
  await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  return { coordinator, tap, outboxes, wires };
}

describe.each([3, 5])('%i sites', (n) => {
  test('every round goes through four phases, and the generator moves by the mean of the updates', async () => {
    const { coordinator, tap, outboxes } = await runAll(castOf(n), testPolicy({ rounds: 1, aggregation: BFV }));
    expect(tap.of('phase-opened').map((e) => [e.round, e.phase])).toEqual(
      [0, 1].flatMap((round) => [1, 2, 3].map((phase) => [round, phase])),
    );
    expect(tap.of('round-closed').every((e) => e.contributors.length === n)).toBe(true);
    expect([...tap.of('declined'), ...tap.of('refused'), ...tap.of('round-void')]).toEqual([]);
    // The stub trainer adds the moments, and then takes the mean away. One step of rounding a site, and float32.
    const moved = unpackFloat32((await coordinator.generator()).state);
    const sum = (round: number) => {
      const updates = [...outboxes.values()].map((o) => o.update({ runId: RUN_ID, round }, 0));
      return updates[0] === null && round === 0
        ? null
        : updates.map((u) => unpackFloat32(u!)).reduce((a, b) => a.map((v, i) => v + b[i]));
    };
    // Updates of rounds gone by are forgotten; the last is kept.
    expect(sum(0)).toBeNull();
    const last = sum(1)!;
    const before = moved.map((v, i) => v + last[i] / n);
    // What the moment round added is on its own lattice: whole steps of its range.
    const momentRange = 8000 + 8 * 5;
    const momentStep = (2 * momentRange) / 65_535;
    before.forEach((v) => {
      const steps = (v + n * momentRange) / momentStep;
      expect(Math.abs(steps - Math.round(steps)) * momentStep).toBeLessThan(2 / 65_535 + 1e-3);
    });
  });
});

describe('what crosses', () => {
  const windows = (update: Uint8Array): Buffer[] =>
    Array.from({ length: update.length / 8 }, (_, i) => Buffer.from(update.subarray(8 * i, 8 * i + 8)));

  test('no part of a plain update leaves a site; under `clear` it does: the positive control', async () => {
    for (const [aggregation, found] of [
      [BFV, false],
      [CLEAR, true],
    ] as const) {
      const { outboxes, wires } = await runAll(castOf(3), testPolicy({ rounds: 1, aggregation }));
      for (const [id, outbox] of outboxes) {
        const update = outbox.update(ROUND, 0)!;
        expect(packFloat32(unpackFloat32(update))).toEqual(Uint8Array.from(update));
        const out = wires.get(id)!.bytesOut();
        expect(windows(update).some((part) => out.includes(part))).toBe(found);
      }
    }
  });

  test('a ciphertext reaches the coordinator and no other site; the encrypted sum reaches those who open it', async () => {
    const { outboxes, wires } = await runAll(castOf(5), testPolicy({ rounds: 1, aggregation: BFV }));
    const at = { ...ROUND, attempt: 0 };
    const tensors = new Map([...outboxes].map(([id, o]) => [id, o.answer(at, 1)!.tensor!]));
    for (const [id, tensor] of tensors) {
      // The middle of its first ciphertext, as SEAL wrote it.
      const part = Buffer.from(tensor.subarray(1000, 1064));
      for (const [other, wire] of wires) {
        expect(wire.bytesOut().includes(part)).toBe(other === id);
        expect(wire.bytesIn().includes(part)).toBe(false);
      }
    }
    const openers = [...outboxes].filter(([, o]) => o.answer(at, 3) !== null).map(([id]) => id);
    const blobs = [...wires].map(([id, { received }]) => {
      const works = received.flatMap(({ type, body }) => (type === 'site.next' ? [NextReply.parse(body)] : []));
      const blob = works.flatMap((w) => (w.kind === 'work' && planRound(w.plan) === 1 && w.blob ? [w.blob] : []));
      return [id, blob.length > 0] as const;
    });
    expect(openers).toHaveLength(3);
    expect(blobs.filter(([, shown]) => shown).map(([id]) => id)).toEqual(openers);
  });

  test('the encrypted sum is not to be had by a site that was not asked to open it', async () => {
    const cast = castOf(5);
    const policy = testPolicy({ rounds: 1, aggregation: BFV });
    const tap = new Tap();
    const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear });
    const refusals: string[] = [];
    const stranger = directLink(coordinator, 'site-a');
    const links = new Map([...cast.sites.keys()].map((id) => [id, directLink(coordinator, id)]));
    const spying = (id: string): CoordinatorLink => ({
      ...links.get(id)!,
      call: async (type, payload) => {
        const body = await links.get(id)!.call(type, payload);
        const reply = type === 'site.next' ? NextReply.parse(body) : null;
        // In round 1 site-a opens nothing: it asks for what another was shown.
        if (reply?.kind === 'work' && reply.blob && planRound(reply.plan) === 1) {
          const wanted = { sha256: reply.blob.sha256, offset: 0, length: 1000 };
          await stranger.call('tensor.get', wanted).catch((e: FedError) => refusals.push(e.code));
        }
        return body;
      },
    });
    const agents = [...cast.sites.keys()].map((id) => agentOf(cast, policy, id, spying(id)));
    await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
    expect(refusals).toEqual(refusals.map(() => 'TENSOR_UNKNOWN'));
    expect(refusals.length).toBeGreaterThanOrEqual(3);
  });
});

const planRound = (jws: string): number =>
  (JSON.parse(Buffer.from(jws.split('.')[1], 'base64url').toString()) as { body: { round: number } }).body.round;

/** Runs until round 1 has closed, with one site that vanishes when it is shown `phase` of round 1, for good. */
async function vanishing(n: number, gone: string, phase: number) {
  const deadlineSeconds = 60;
  const cast = castOf(n);
  const policy = testPolicy({ rounds: 1, steps: 1, warmUp: 0, deadlineSeconds, aggregation: BFV });
  const [tap, clock] = [new Tap(), new ManualClock()];
  const coordinator = coordinatorOf(cast, policy, { clock, onEvent: tap.hear });
  let away = false;
  const flaky = (link: CoordinatorLink): CoordinatorLink => ({
    onWake: (listener) => link.onWake(listener),
    close: () => link.close(),
    async call(type, payload) {
      if (away) throw new FedError('LINK_LOST', 'vanished');
      const body = await link.call(type, payload);
      const reply = type === 'site.next' ? NextReply.parse(body) : null;
      if (reply?.kind === 'work' && planRound(reply.plan) === 1 && reply.phase === phase) {
        away = true;
        coordinator.left(gone);
        throw new FedError('LINK_LOST', 'vanished');
      }
      return body;
    },
  });
  const agents = [...cast.sites.keys()].map((id) => {
    const link = directLink(coordinator, id);
    return agentOf(cast, policy, id, id === gone ? flaky(link) : link, { clock });
  });
  const running = Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  const answeredIn = (e: { round: number; phase: number; siteId: string }) => e.round === 1 && e.phase === phase;
  const asked = phase === 3 ? 3 : n;
  while (tap.of('answered').filter(answeredIn).length < asked - 1)
    await tap.when('answered', tap.of('answered').length + 1);
  await passTime(clock, 1000 * deadlineSeconds);
  return {
    tap,
    clock,
    coordinator,
    stop: async () => {
      await Promise.all([coordinator.stop(), ...agents.map((a) => a.stop())]);
      await running;
    },
  };
}

describe('a site that vanishes', () => {
  test.each([
    [0, ['site-a', 'site-b', 'site-d', 'site-e']],
    [1, ['site-a', 'site-b', 'site-d', 'site-e']],
    [2, ['site-a', 'site-b', 'site-c', 'site-d', 'site-e']],
    [3, ['site-a', 'site-b', 'site-c', 'site-d', 'site-e']],
  ])('in phase %i costs five sites one deadline, and the round closes', async (phase, contributors) => {
    const { tap, stop } = await vanishing(5, 'site-c', phase);
    expect((await tap.when('round-closed', 2)).contributors).toEqual(contributors);
    expect(tap.of('round-void')).toEqual([]);
    await stop();
  });

  test('and makes the key: another site does, in the next attempt', async () => {
    const { tap, clock, stop } = await vanishing(5, 'site-a', 0);
    await tap.when('round-void');
    // The pause after a void; no further, or the deadlines of the next attempt would pass with it.
    while (tap.of('round-opened').length < 3) await passTime(clock, 100);
    await tap.when('round-closed', 2);
    expect(tap.of('round-closed')[1]).toMatchObject({
      attempt: 1,
      contributors: ['site-b', 'site-c', 'site-d', 'site-e'],
    });
    await stop();
  });

  test('three sites survive no drop-out: the round is void', async () => {
    const { tap, stop } = await vanishing(3, 'site-c', 1);
    expect(await tap.when('round-void')).toMatchObject({ round: 1, code: 'ROUND_VOID' });
    await stop();
  });
});

test('a site that is asked twice to open a sum sends what it sent, and looks at no second sum', async () => {
  const cast = castOf(3);
  const policy = testPolicy({ rounds: 1, aggregation: BFV });
  const coordinator: Coordinator = coordinatorOf(cast, policy);
  const link = directLink(coordinator, 'site-b');
  const other = 'f'.repeat(64);
  const given: RoundAnswer[] = [];
  const asked: string[] = [];
  let shown: Extract<NextReply, { kind: 'work' }> | null = null;
  let again = false;
  const lying: CoordinatorLink = {
    onWake: (listener) => link.onWake(listener),
    close: () => link.close(),
    async call(type, payload) {
      // The liar takes whatever it is sent the second time; the true coordinator may have closed the round by then.
      if (again && given.length === 1 && type === 'tensor.offer')
        return { have: (payload as { bytes: number }).bytes, credit: 1 };
      if (type === 'tensor.get') asked.push((payload as { sha256: string }).sha256);
      if (type === 'round.answer') {
        const answer = RoundAnswer.parse(payload);
        if (answer.round === 1 && answer.phase === 3) {
          given.push(answer);
          if (again) return null;
        }
      }
      if (type === 'site.next' && shown !== null && given.length === 1) {
        // The same phase once more, with another sum.
        again = true;
        return { ...shown, blob: { sha256: other, bytes: 1000 } };
      }
      const body = await link.call(type, payload);
      const reply = type === 'site.next' ? NextReply.parse(body) : null;
      if (reply?.kind === 'work' && planRound(reply.plan) === 1 && reply.phase === 3) shown = reply;
      return body;
    },
  };
  const agents = [...cast.sites.keys()].map((id) => agentOf(cast, policy, id, id === 'site-b' ? lying : coordinator));
  await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  expect(given).toHaveLength(2);
  expect(given[1]).toEqual(given[0]);
  expect(asked).not.toContain(other);
  expect(sha256Hex(JSON.stringify(given[0].body))).toBe(sha256Hex('{"opened":true}'));
});
