import { expect, test } from 'vitest';
import { makePlan } from '../../coordinator/core/make-plan.ts';
import { Presence } from '../../coordinator/core/presence.ts';
import {
  acceptAnswer,
  closeRound,
  decline,
  enterPhase,
  noteRefusal,
  openRound,
  settle,
  voidRound,
} from '../../coordinator/core/round-state.ts';
import { decideOpening, standingAfter, standingAfterRestart } from '../../coordinator/core/standing.ts';
import type { RoundRecord, SiteRecord } from '../../coordinator/store/store.ts';
import { EMPTY_LOG } from '../../shared/audit/log.ts';
import { FedError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import type { RoundTerms } from '../../shared/protocol/terms.ts';
import { RUN_ID } from '../support/round-rig.ts';

const SHA = (c: string) => c.repeat(64);
const said = (code: ErrorCode) => ({ code, signature: 'a.b.c' });
const ROSTER = { version: 1, sha256: SHA('7') };
const terms: RoundTerms = {
  policySha256: SHA('1'),
  rounds: 4,
  momentRounds: 1,
  discriminatorSteps: 3,
  warmUpSteps: 10,
  adaptiveSteps: null,
  maxSteps: 100,
  minSites: 2,
  maxSites: null,
  quorum: 2,
  deadlineMs: 1000,
  witnessQuorum: 0,
  scheme: 'clear',
  classes: 3,
  declared: new Map([['c', [1]]]),
  updateClipNorm: 1,
  pooled: null,
  epsilon: 8,
  delta: 1e-5,
};
const planFor = (round: number, invited: string[], before: RoundRecord['plan'] | null = null) =>
  makePlan({
    terms,
    runId: RUN_ID,
    round,
    invited,
    generatorSha256: SHA('2'),
    checkpoint: EMPTY_LOG,
    witnessed: null,
    roster: ROSTER,
    before,
  });
const open = (invited = ['a', 'b', 'c'], awaited = invited): RoundRecord =>
  openRound(planFor(1, invited), 'x.y.z', SHA('3'), awaited).next;
const place = { runId: RUN_ID, round: 1, attempt: 0, phase: 0 };
const take = (r: RoundRecord, site: string, sha = SHA('4'), stored: string | null = null, at = place) =>
  acceptAnswer(r, site, at, { sha256: sha, signature: 'x.y.z' }, stored);
const answered = (r: RoundRecord, ...sites: string[]) => sites.reduce((s, site) => take(s, site).next, r);
const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return error instanceof FedError ? error.code : String(error);
  }
  return 'no error';
};
const kinds = (d: { log: readonly { kind: string }[] }) => d.log.map((l) => l.kind);

test('plans: kind, steps, warm-up and declarers follow from the policy', () => {
  expect(planFor(0, ['a', 'b'])).toMatchObject({ kind: 'moments', discriminatorSteps: 0, generatorSha256: null });
  expect(planFor(1, ['c', 'a'])).toMatchObject({
    kind: 'generator',
    discriminatorSteps: 13,
    generatorSha256: SHA('2'),
    invited: ['a', 'c'],
    declarers: [1, 2, 1],
  });
  expect(planFor(2, ['a']).discriminatorSteps).toBe(3);
  const scheduled = makePlan({
    terms,
    runId: RUN_ID,
    round: 2,
    invited: ['a'],
    generatorSha256: SHA('2'),
    checkpoint: EMPTY_LOG,
    witnessed: null,
    roster: ROSTER,
    before: null,
    schedule: () => 5,
  });
  expect(scheduled.discriminatorSteps).toBe(5);
});

test('a round that is opened again asks for the very same update', () => {
  const first = planFor(1, ['a', 'b']);
  const second = planFor(1, ['a', 'c'], first);
  const { attempt: _a, invited: _i, ...rest } = second;
  const { attempt: _b, invited: _j, ...before } = first;
  expect(second.attempt).toBe(1);
  expect(rest).toEqual(before);
  // A class nobody was asked for before gets its count when somebody can be.
  const onlyC = planFor(1, ['c']);
  expect(onlyC.declarers).toEqual([0, 1, 0]);
  expect(planFor(1, ['a', 'b', 'c'], onlyC).declarers).toEqual([2, 1, 2]);
});

test('seals when all that are awaited are in; the others count if they came', () => {
  const all = answered(open(), 'a', 'b');
  expect(settle(all, { quorum: 2, deadlinePassed: false }).next.status).toBe('collecting');
  expect(settle(answered(all, 'c'), { quorum: 2, deadlinePassed: false }).next.status).toBe('sealed');
  const unawaited = answered(open(['a', 'b', 'c'], ['a', 'b']), 'a', 'b');
  const sealed = settle(unawaited, { quorum: 2, deadlinePassed: false });
  expect(sealed.log).toMatchObject([{ kind: 'sealed', body: { contributors: ['a', 'b'], missing: ['c'] } }]);
});

test('at the deadline the quorum decides', () => {
  expect(settle(answered(open(), 'a', 'b'), { quorum: 2, deadlinePassed: true }).next.status).toBe('sealed');
  const voided = settle(answered(open(), 'a'), { quorum: 2, deadlinePassed: true });
  expect(voided.next.status).toBe('void');
  expect(voided.log).toMatchObject([{ kind: 'void', body: { code: 'ROUND_VOID', answered: ['a'] } }]);
});

test('is void at once when the quorum cannot be reached any more', () => {
  const one = decline(open(), 'a', place, said('BUDGET_EXHAUSTED'));
  expect(kinds(one)).toEqual(['declined']);
  expect(settle(one.next, { quorum: 2, deadlinePassed: false }).next.status).toBe('collecting');
  const two = decline(one.next, 'b', place, said('BOUNDS_EXCEEDED')).next;
  expect(settle(two, { quorum: 2, deadlinePassed: false }).next.status).toBe('void');
});

test('an answer counts once, however often it is sent', () => {
  const first = take(open(), 'a');
  expect(kinds(first)).toEqual(['answer-accepted']);
  const again = take(first.next, 'a', SHA('4'), SHA('4'));
  expect(again).toEqual({ next: first.next, log: [] });
  // Also after the round has closed, when the acknowledgement was lost.
  const closed = closeRound(settle(answered(open(), 'a', 'b', 'c'), { quorum: 2, deadlinePassed: false }).next, {
    generatorSha256: SHA('5'),
    contributors: ['a', 'b', 'c'],
    length: 3,
    clipNorm: 1,
    sumSha256: [SHA('8')],
  }).next;
  expect(take(closed, 'a', SHA('4'), SHA('4')).log).toEqual([]);
});

test('refuses by code: another answer, another round, another phase, too late, not invited, declined', () => {
  const r = open(['a', 'b']);
  expect(codeOf(() => take(r, 'a', SHA('6'), SHA('4')))).toBe('UPDATE_CHANGED');
  expect(codeOf(() => take(r, 'a', SHA('4'), null, { ...place, round: 2 }))).toBe('ROUND_NOT_OPEN');
  expect(codeOf(() => take(r, 'a', SHA('4'), null, { ...place, attempt: 1 }))).toBe('ROUND_NOT_OPEN');
  expect(codeOf(() => take(r, 'a', SHA('4'), null, { ...place, phase: 1 }))).toBe('ROUND_NOT_OPEN');
  expect(codeOf(() => take(r, 'c'))).toBe('ROUND_NOT_OPEN');
  const sealed = settle(answered(r, 'a', 'b'), { quorum: 2, deadlinePassed: false }).next;
  expect(codeOf(() => take(sealed, 'b'))).toBe('ROUND_NOT_OPEN');
  expect(codeOf(() => take(decline(r, 'a', place, said('BUDGET_EXHAUSTED')).next, 'a'))).toBe('ROUND_NOT_OPEN');
  expect(codeOf(() => take(voidRound(r, 'ROUND_VOID').next, 'a'))).toBe('ROUND_NOT_OPEN');
});

test('a refused update takes its site out of the attempt and nobody else; it is logged once', () => {
  const refused = noteRefusal(open(), 'a', place, 'UPDATE_NOT_FINITE');
  expect(kinds(refused)).toEqual(['refused']);
  expect(refused.next.out).toEqual({ a: 'UPDATE_NOT_FINITE' });
  expect(noteRefusal(refused.next, 'a', place, 'UPDATE_NOT_FINITE').log).toEqual([]);
  expect(settle(answered(refused.next, 'b', 'c'), { quorum: 2, deadlinePassed: false }).next.status).toBe('sealed');
  // A changed update is an offence, but the first one stands and counts.
  const changed = noteRefusal(answered(open(), 'a'), 'a', place, 'UPDATE_CHANGED').next;
  expect(changed.out).toEqual({});
});

test('the next phase belongs to those who were given a downlink', () => {
  const sealed = settle(answered(open(), 'a', 'b'), { quorum: 2, deadlinePassed: true }).next;
  const second = enterPhase(sealed, 1, ['b', 'a'], { before: [0] }).next;
  expect(second).toMatchObject({ phase: 1, status: 'collecting', participants: ['a', 'b'], answers: {} });
  expect(codeOf(() => take(second, 'c', SHA('4'), null, { ...place, phase: 1 }))).toBe('ROUND_NOT_OPEN');
  expect(codeOf(() => enterPhase(second, 2, ['a'], { before: [1] }))).toBe('STORE_CORRUPT');
});

test('a phase is passed over only as the scheme allows, and the log says so', () => {
  const sealed = settle(answered(open(), 'a', 'b'), { quorum: 2, deadlinePassed: true }).next;
  expect(enterPhase(sealed, 1, ['a'], { before: [0] }).log).toEqual([]);
  const over = enterPhase(sealed, 2, ['a', 'b'], { before: [0, 1] });
  expect(over.next.phase).toBe(2);
  expect(over.log).toEqual([{ kind: 'phase-skipped', body: { round: 1, attempt: 0, phase: 1 } }]);
  // A gap that the scheme does not have; the same phase again, or an earlier one.
  for (const [phase, before] of [[2, [1]] as const, [1, []] as const, [0, [0]] as const, [0, []] as const])
    expect(codeOf(() => enterPhase(sealed, phase, ['a'], { before }))).toBe('STORE_CORRUPT');
});

const site = (siteId: string, standing: SiteRecord['standing'] = 'good'): SiteRecord => ({
  siteId,
  standing,
  declined: null,
  epsilon: null,
});

test('standing: who missed a deadline is not waited for again until it has kept one', () => {
  const sealed = settle(answered(open(), 'a', 'b'), { quorum: 2, deadlinePassed: true }).next;
  expect(standingAfter(site('a'), sealed).standing).toBe('good');
  const late = standingAfter(site('c'), sealed);
  expect(late.standing).toBe('missed');
  const here = (standing: SiteRecord['standing'], present = true) => ({ standing, present });
  const opening = decideOpening({
    sites: [
      { siteId: 'a', ...here('good') },
      { siteId: 'b', ...here('good') },
      { siteId: 'c', ...here(late.standing) },
    ],
    minSites: 2,
    waitedMs: 0,
    gatherMs: 1000,
  });
  expect(opening).toEqual({ open: true, invited: ['a', 'b', 'c'], awaited: ['a', 'b'] });
  const next = answered(open(['a', 'b', 'c'], ['a', 'b']), 'a', 'b', 'c');
  expect(standingAfter(late, settle(next, { quorum: 2, deadlinePassed: false }).next).standing).toBe('good');
});

test('opening: an absent site is neither invited nor waited for once it has cost a deadline', () => {
  const sites = [
    { siteId: 'a', standing: 'good', present: true },
    { siteId: 'b', standing: 'good', present: true },
    { siteId: 'c', standing: 'good', present: false },
  ] as const;
  const base = { minSites: 2, gatherMs: 1000 };
  expect(decideOpening({ sites, waitedMs: 0, ...base })).toMatchObject({ open: false, againInMs: 1000 });
  expect(decideOpening({ sites, waitedMs: 1000, ...base })).toMatchObject({ open: true, invited: ['a', 'b'] });
  const missed = sites.map((s) => (s.siteId === 'c' ? { ...s, standing: 'missed' as const } : s));
  expect(decideOpening({ sites: missed, waitedMs: 0, ...base })).toMatchObject({ open: true, invited: ['a', 'b'] });
  const alone = [sites[0], sites[2]];
  expect(decideOpening({ sites: alone, waitedMs: 5000, ...base })).toMatchObject({ open: false, againInMs: null });
});

test('opening: below minSites in good standing, everybody here is needed and is waited for', () => {
  const sites = ['a', 'b'].map((siteId) => ({ siteId, standing: 'missed' as const, present: true }));
  const opening = decideOpening({ sites, minSites: 2, waitedMs: 0, gatherMs: 1000 });
  expect(opening).toEqual({ open: true, invited: ['a', 'b'], awaited: ['a', 'b'] });
});

test('a decline for good keeps a site out until its agent is started anew', () => {
  const r = decline(open(), 'a', place, said('BUDGET_EXHAUSTED')).next;
  const declined = standingAfter(site('a'), r);
  expect(declined).toMatchObject({ standing: 'declined', declined: 'BUDGET_EXHAUSTED' });
  const sites = [
    { ...declined, present: true },
    { ...site('b'), present: true },
  ];
  expect(decideOpening({ sites, minSites: 1, waitedMs: 0, gatherMs: 1 })).toMatchObject({ invited: ['b'] });
  expect(standingAfterRestart(declined).standing).toBe('missed');
  // After a decline that may pass it is invited again, and nobody waits for it.
  const passing = decline(open(), 'a', place, said('LINK_LOST')).next;
  expect(standingAfter(site('a'), passing).standing).toBe('missed');
});

test('presence: by the last word, until the window is over, the connection closes or a deadline was missed', () => {
  const presence = new Presence(100);
  expect(presence.has('a', 0)).toBe(false);
  presence.heard('a', 10);
  expect([presence.has('a', 110), presence.has('a', 111)]).toEqual([true, false]);
  expect(presence.leftAt('a')).toBeNull();
  presence.left('a', 10);
  expect(presence.has('a', 10)).toBe(false);
  expect(presence.leftAt('a')).toBe(10);
  presence.left('a', 15);
  expect(presence.leftAt('a')).toBe(10);
  presence.left('b', 15);
  expect(presence.leftAt('b')).toBeNull();
  presence.heard('a', 20);
  expect(presence.leftAt('a')).toBeNull();
  presence.missed('a', 30);
  expect(presence.has('a', 30)).toBe(false);
  presence.shown('a', 'round 1.0 phase 0', 50);
  presence.shown('a', 'round 1.0 phase 0', 90);
  expect(presence.keptPace('a', 150, 100)).toBe(true);
  expect(presence.keptPace('a', 151, 100)).toBe(false);
  expect(presence.keptPace('b', 60, 100)).toBe(false);
});
