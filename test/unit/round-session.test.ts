import { expect, test } from 'vitest';
import { makePlan } from '../../coordinator/core/make-plan.ts';
import { EMPTY_LOG } from '../../shared/audit/log.ts';
import { FedError } from '../../shared/errors.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { checkPlan } from '../../site-agent/core/check-plan.ts';
import type { Memory } from '../../site-agent/core/check-plan.ts';
import { decideMove, requireTurn, takeFor } from '../../site-agent/core/session.ts';
import type { GivenAnswer } from '../../site-agent/core/session.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { RUN_ID, testPolicy } from '../support/round-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

const given = (attempt: number, phase: number, take: number, hadTensor: boolean, refused: string | null = null) =>
  ({ attempt, phase, take, hadTensor, refused }) satisfies GivenAnswer;

test('a stored answer is sent again, a new request is answered, a refused answer is left alone', () => {
  expect(decideMove(0, 0, [], false)).toEqual({ move: 'make', take: 0 });
  expect(decideMove(0, 0, [given(0, 0, 0, true)], false)).toEqual({ move: 'send' });
  expect(decideMove(0, 1, [given(0, 0, 0, false)], false)).toEqual({ move: 'make', take: 0 });
  const refused = [given(0, 0, 0, true, 'UPDATE_TOO_LARGE')];
  expect(decideMove(0, 0, refused, false)).toEqual({ move: 'wait' });
  expect(decideMove(1, 0, refused, false)).toEqual({ move: 'give-up', code: 'UPDATE_TOO_LARGE' });
});

test('a phase is answered right after one that may come before it, and after nothing else', () => {
  const turn = (phase: number, given: readonly GivenAnswer[], before: readonly number[], attempt = 0) =>
    codeOf(async () => requireTurn(attempt, phase, given, before));
  const keys = [given(0, 0, 0, false), given(0, 1, 0, false), given(0, 2, 0, true)];
  expect(requireTurn(0, 0, [], [])).toBeNull();
  expect(requireTurn(0, 3, keys, [2])).toBe(2);
  // A phase may be passed over where the scheme has it so.
  expect(requireTurn(0, 4, keys, [2, 3])).toBe(2);
  return Promise.all(
    [
      turn(4, keys, [3]),
      turn(1, [], [0]),
      turn(5, keys, [4]),
      // The first phase anew, and one that was passed over.
      turn(0, keys, []),
      turn(3, [...keys, given(0, 4, 0, false)], [2]),
      turn(3, [...keys, given(0, 4, 0, false)], [4]),
      // What was answered in another attempt is of that attempt.
      turn(3, keys, [2], 1),
    ].map((code) => expect(code).resolves.toBe('PHASE_OUT_OF_TURN')),
  );
});

test('a void round takes the stored update again, unless a sum with it may have been opened', () => {
  // clear: one phase, which carries the update.
  expect(takeFor(1, [given(0, 0, 0, true)], false)).toBe(0);
  // A masking scheme that fell void before the phase that carries the update, and at it.
  const keys = [given(0, 0, 0, false), given(0, 1, 0, false)];
  expect(takeFor(1, keys, true)).toBe(0);
  // The others may have opened the sum without a further word of this site.
  expect(takeFor(1, [...keys, given(0, 2, 0, true)], true)).toBe(1);
  expect(takeFor(2, [...keys, given(0, 2, 0, true), given(1, 0, 1, false)], true)).toBe(1);
  // It fell void after this site had helped to unmask: two sums over different survivors must not share an update.
  const unmasked = [given(0, 0, 0, false), given(0, 1, 0, true), given(0, 2, 0, false)];
  expect(takeFor(1, unmasked, false)).toBe(1);
  expect(takeFor(2, [...unmasked, given(1, 0, 1, false)], false)).toBe(1);
  expect(takeFor(2, [...unmasked, given(1, 0, 1, false), given(1, 1, 1, true), given(1, 2, 1, false)], false)).toBe(2);
  expect(takeFor(0, unmasked, false)).toBe(0);
});

const policy = testPolicy({ steps: 2, warmUp: 3 });
const terms = roundTermsOf(policy);
const sites = ['site-a', 'site-b', 'site-c'];
const planFor = (round: number, over: Partial<RoundPlan> = {}): RoundPlan => ({
  ...makePlan({
    terms,
    runId: RUN_ID,
    round,
    invited: sites,
    generatorSha256: 'b'.repeat(64),
    checkpoint: EMPTY_LOG,
    witnessed: null,
    roster: { version: 3, sha256: '7'.repeat(64) },
    before: null,
  }),
  ...over,
});
const fresh: Memory = { latest: null, shownPlan: null, logHead: null, roster: null };
const verdict = (plan: RoundPlan, memory: Memory = fresh, siteId = 'site-a'): string =>
  refusalSync(() => checkPlan({ plan, planSha256: 'c'.repeat(64), siteId, terms, mostSteps: 2, memory }));
const refusalSync = (body: () => void): string => {
  try {
    body();
  } catch (error) {
    if (error instanceof FedError) return error.message;
    throw error;
  }
  return 'accepted';
};

test('a plan that follows from the policy is accepted; what differs is named', () => {
  expect(verdict(planFor(0))).toBe('accepted');
  expect(verdict(planFor(1))).toBe('accepted');
  expect(verdict(planFor(1, { policySha256: 'f'.repeat(64) }))).toMatch(
    /^POLICY_MISMATCH: policySha256 is f+; the policy/,
  );
  expect(verdict(planFor(1, { discriminatorSteps: 6 }))).toMatch(/discriminatorSteps is 6; the policy has at most 5/);
  expect(verdict(planFor(2, { discriminatorSteps: 3 }))).toMatch(/at most 2/);
  expect(verdict(planFor(0, { discriminatorSteps: 1 }))).toMatch(/^POLICY_MISMATCH/);
  expect(verdict(planFor(1, { kind: 'moments' }))).toMatch(/kind is moments; the policy has generator/);
  expect(verdict(planFor(1, { scheme: 'bfv' }))).toMatch(/scheme is bfv/);
  expect(verdict(planFor(1, { publicSeed: 'd'.repeat(64) }))).toMatch(/publicSeed/);
  expect(verdict(planFor(1, { invited: ['site-a', 'site-b'] }))).toMatch(/2 sites are invited; .* at least 3/);
  expect(verdict(planFor(1, { invited: ['site-a', 'site-a', 'site-b'] }))).toMatch(/invited twice/);
  expect(verdict(planFor(1, { declarers: [0, 0, 0, 0, 0, 0] }))).toMatch(/leaves out a class/);
  expect(verdict(planFor(terms.rounds))).toMatch(/the policy has 4 rounds/);
  expect(verdict(planFor(1), fresh, 'site-z')).toMatch(/site-z is not invited/);
});

test('a critic is in the plans of moment rounds after the first, and in no other', () => {
  const rounds = { ...terms, momentRounds: 3, rounds: terms.rounds + 2 };
  const criticSha256 = 'e'.repeat(64);
  const judged = (round: number, over: Partial<RoundPlan> = {}): string => {
    const p = { terms: rounds, runId: RUN_ID, round, invited: sites, generatorSha256: 'b'.repeat(64), criticSha256 };
    const rest = {
      checkpoint: EMPTY_LOG,
      witnessed: null,
      roster: { version: 3, sha256: '7'.repeat(64) },
      before: null,
    };
    const plan = { ...makePlan({ ...p, ...rest }), ...over };
    return refusalSync(() =>
      checkPlan({ plan, planSha256: 'c'.repeat(64), siteId: 'site-a', terms: rounds, mostSteps: 2, memory: fresh }),
    );
  };
  for (const round of [0, 1, 2, 3]) expect(judged(round)).toBe('accepted');
  for (const round of [1, 2]) expect(judged(round, { criticSha256: null })).toMatch(/a critic belongs to/);
  for (const round of [0, 3]) expect(judged(round, { criticSha256 })).toMatch(/a critic belongs to/);
  expect(judged(2, { discriminatorSteps: 1 })).toMatch(/discriminatorSteps/);
});

test('rounds only go forward, and one attempt has one plan', () => {
  const latest = { round: 2, attempt: 1 };
  expect(verdict(planFor(1), { ...fresh, latest })).toMatch(/^ROUND_NOT_OPEN/);
  expect(verdict(planFor(2), { ...fresh, latest })).toMatch(/^ROUND_NOT_OPEN/);
  expect(verdict(planFor(2, { attempt: 1 }), { ...fresh, latest, shownPlan: 'c'.repeat(64) })).toBe('accepted');
  expect(verdict(planFor(2, { attempt: 1 }), { ...fresh, latest, shownPlan: 'e'.repeat(64) })).toMatch(/^PLAN_CHANGED/);
  expect(verdict(planFor(2, { attempt: 2 }), { ...fresh, latest })).toBe('accepted');
  expect(verdict(planFor(3), { ...fresh, latest })).toBe('accepted');
});

test('a log that got shorter or forked is refused', () => {
  const logHead = { size: 5, root: 'a'.repeat(64) };
  const at = (size: number, root: string) => planFor(1, { checkpoint: { size, root: root.repeat(64) } });
  expect(verdict(at(5, 'a'), { ...fresh, logHead })).toBe('accepted');
  expect(verdict(at(6, 'b'), { ...fresh, logHead })).toBe('accepted');
  expect(verdict(at(4, 'a'), { ...fresh, logHead })).toMatch(/^LOG_REWOUND: the log has 4 entries and had 5/);
  expect(verdict(at(5, 'b'), { ...fresh, logHead })).toMatch(/^LOG_FORKED: two logs of 5 entries/);
});

test('a roster that went back, or that is another under one version, is refused', () => {
  const [older, seen, other] = [2, 3, 3].map((version, i) => ({ version, sha256: '567'[i].repeat(64) }));
  expect(verdict(planFor(1, { roster: seen }), { ...fresh, roster: seen })).toBe('accepted');
  expect(verdict(planFor(1, { roster: { ...other, version: 4 } }), { ...fresh, roster: seen })).toBe('accepted');
  expect(verdict(planFor(1, { roster: other }), { ...fresh, roster: seen })).toMatch(/^ROSTER_STALE/);
  expect(verdict(planFor(1, { roster: older }), { ...fresh, roster: seen })).toMatch(/^ROSTER_STALE/);
});

test('the outbox keeps one update of a round and one answer of a phase', () => {
  const outbox = new Outbox(':memory:');
  const key = { runId: RUN_ID, round: 1, attempt: 0 };
  outbox.addUpdate(key, 0, Uint8Array.of(1));
  expect(() => outbox.addUpdate(key, 0, Uint8Array.of(1))).toThrow(/^UPDATE_CHANGED/);
  outbox.addUpdate(key, 1, Uint8Array.of(2));
  expect(outbox.update(key, 0)).toEqual(Uint8Array.of(1));
  const answer = {
    phase: 0,
    take: 0,
    body: { a: 1 },
    tensor: Uint8Array.of(9),
    tensorSha256: 'a'.repeat(64),
    secret: Uint8Array.of(7),
    fakes: { fakeLoss: 0.5, fakeAccuracy: 1 },
    signature: 'a.b.c',
    epsilon: null,
  };
  outbox.addAnswer(key, answer);
  expect(outbox.answer(key, 0)).toEqual(answer);
  expect(() => outbox.addAnswer(key, answer)).toThrow(/^UPDATE_CHANGED/);
  outbox.markRefused(key, 0, 'UPDATE_SHAPE');
  expect(outbox.answersOf(key)).toEqual([given(0, 0, 0, true, 'UPDATE_SHAPE')]);
  outbox.addPlan(key, 'c'.repeat(64));
  outbox.forgetBefore(RUN_ID, 2);
  expect(outbox.answer(key, 0)).toBeNull();
  expect(outbox.update(key, 0)).toBeNull();
  expect(outbox.plan(key)).toBe('c'.repeat(64));
  expect(outbox.latestPlan(RUN_ID)).toEqual({ round: 1, attempt: 0 });
  outbox.close();
});
