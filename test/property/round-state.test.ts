/** Whatever comes in whatever order, a round ends once, counts nobody twice, and nobody's refusal touches another. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { acceptAnswer, decline, noteRefusal, openRound, settle } from '../../coordinator/core/round-state.ts';
import type { Decision } from '../../coordinator/core/round-state.ts';
import type { RoundRecord } from '../../coordinator/store/store.ts';
import { EMPTY_LOG } from '../../shared/audit/log.ts';
import { FedError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { RUN_ID } from '../support/round-rig.ts';

const SITES = ['a', 'b', 'c', 'd', 'stranger'];
const INVITED = SITES.slice(0, 4);
const SHA = '0'.repeat(64);
const plan: RoundPlan = {
  type: 'round.plan',
  runId: RUN_ID,
  round: 3,
  attempt: 1,
  kind: 'generator',
  policySha256: SHA,
  generatorSha256: SHA,
  criticSha256: null,
  discriminatorSteps: 1,
  invited: INVITED,
  declarers: [4],
  publicSeed: SHA,
  scheme: 'clear',
  deadlineMs: 1,
  roster: { version: 1, sha256: '7'.repeat(64) },
  checkpoint: EMPTY_LOG,
  witnessed: null,
};

const site = fc.constantFrom(...SITES);
const near = fc.constantFrom(-1, 0, 0, 0, 1);
const happening = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('answer' as const), site, update: fc.constantFrom('1', '2'), by: near, byAttempt: near, byPhase: near }) }, // prettier-ignore
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('decline' as const), site }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('refuse' as const), site, code: fc.constantFrom<ErrorCode>('UPDATE_SHAPE', 'SIGNATURE_INVALID') }) }, // prettier-ignore
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('look' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
);
type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never;

/** Plays a list of happenings against the decisions, as the desk does, and then lets the deadline pass. */
function playRound(happenings: readonly Happening[], quorum: number, awaited: readonly string[]) {
  let record: RoundRecord = openRound(plan, 'x.y.z', SHA, awaited).next;
  const log: Decision['log'][number][] = [];
  const stored = new Map<string, string>();
  const refusals: string[] = [];
  const take = (d: Decision) => {
    record = d.next;
    log.push(...d.log);
  };
  for (const h of happenings) {
    const before = record;
    if (h.kind === 'answer') {
      const place = { runId: RUN_ID, round: 3 + h.by, attempt: 1 + h.byAttempt, phase: h.byPhase };
      const sha256 = h.update.repeat(64);
      const key = `${h.site} ${place.round} ${place.attempt} ${place.phase}`;
      try {
        take(acceptAnswer(record, h.site, place, { sha256, signature: 'x.y.z' }, stored.get(key) ?? null));
        stored.set(key, sha256);
      } catch (error) {
        if (!(error instanceof FedError)) throw error;
        refusals.push(error.code);
        expect(record).toBe(before);
      }
    }
    if (h.kind === 'decline')
      take(
        decline(
          record,
          h.site,
          { runId: RUN_ID, round: 3, attempt: 1, phase: 0 },
          { code: 'BUDGET_EXHAUSTED', signature: 'a.b.c' },
        ),
      );
    if (h.kind === 'refuse')
      take(noteRefusal(record, h.site, { runId: RUN_ID, round: 3, attempt: 1, phase: 0 }, h.code));
    if (h.kind === 'look') take(settle(record, { quorum, deadlinePassed: false }));
    if (h.kind === 'restart') record = JSON.parse(JSON.stringify(record)) as RoundRecord;
    for (const [s, sha] of Object.entries(before.answers)) expect(record.answers[s]).toBe(sha);
  }
  take(settle(record, { quorum, deadlinePassed: true }));
  return { record, log, stored, refusals };
}

const round = fc.tuple(
  fc.array(happening, { maxLength: 60 }),
  fc.integer({ min: 1, max: 4 }),
  fc.subarray(INVITED, { minLength: 1 }),
);

test('a round always ends, once, and counts every site at most once', () => {
  fc.assert(
    fc.property(round, ([happenings, quorum, awaited]) => {
      const { record, log } = playRound(happenings, quorum, awaited);
      expect(['sealed', 'void']).toContain(record.status);
      const ends = log.filter((l) => l.kind === 'sealed' || l.kind === 'void');
      expect(ends).toHaveLength(1);
      const accepted = log.flatMap((l) => (l.kind === 'answer-accepted' ? [l.body.siteId] : []));
      expect(new Set(accepted).size).toBe(accepted.length);
      expect(accepted).not.toContain('stranger');
      const [end] = ends;
      if (end.kind === 'sealed') {
        expect(end.body.contributors).toEqual(accepted.toSorted());
        expect(end.body.contributors.length).toBeGreaterThanOrEqual(quorum);
      }
      if (end.kind === 'void') expect(accepted.length).toBeLessThan(quorum);
      const noes = log.flatMap((l) => (l.kind === 'declined' ? [l.body.siteId] : []));
      expect(new Set(noes).size).toBe(noes.length);
      expect(noes.filter((s) => accepted.includes(s))).toEqual([]);
    }),
    { numRuns: 500 },
  );
});

test('sending everything twice, or refusing what a site sent, changes nothing for the others', () => {
  fc.assert(
    fc.property(round, ([happenings, quorum, awaited]) => {
      const once = playRound(happenings, quorum, awaited);
      const twice = playRound(
        happenings.flatMap((h) => [h, h]),
        quorum,
        awaited,
      );
      expect(twice.record.answers).toEqual(once.record.answers);
      expect(twice.log).toEqual(once.log);
    }),
    { numRuns: 300 },
  );
});

test('positive control: an acceptor that forgets what is stored counts a site twice, and is seen', () => {
  const forgetful = (r: RoundRecord, s: string, update: string): RoundRecord =>
    acceptAnswer(r, s, { runId: RUN_ID, round: 3, attempt: 1, phase: 0 }, { sha256: update, signature: 'x.y.z' }, null)
      .next;
  const first = forgetful(openRound(plan, 'x.y.z', SHA, INVITED).next, 'a', '1'.repeat(64));
  expect(forgetful(first, 'a', '2'.repeat(64)).answers['a']).not.toBe(first.answers['a']);
});
