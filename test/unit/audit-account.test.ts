import { expect, test } from 'vitest';
import { EpsilonTable, SiteAccount } from '../../shared/audit/verify/account.ts';
import { Findings } from '../../shared/audit/verify/findings.ts';
import { costOfEvents } from '../../shared/dp/convert.ts';
import { eventKey, withCount } from '../../shared/dp/event.ts';
import type { PrivacyEvent } from '../../shared/dp/event.ts';
import { epsilonOfPolicy, eventsOfPolicy } from '../../shared/policy/cost.ts';
import type { EpsilonStatement } from '../../shared/protocol/round-messages.ts';
import { RUN_ID, testPolicy } from '../support/round-rig.ts';

const policy = testPolicy({});
const [moment, step] = eventsOfPolicy(policy, 'a');
const { delta } = policy.privacy as { delta: number };
const { overflowDelta } = epsilonOfPolicy(policy, 'a');
const hash = (c: string) => c.repeat(64);

function statement(steps: number, over: Partial<EpsilonStatement> = {}): EpsilonStatement {
  const events: PrivacyEvent[] = [withCount(moment, 1), ...(steps > 0 ? [withCount(step, steps)] : [])];
  return {
    siteId: 'a',
    runId: RUN_ID,
    policySha256: hash('1'),
    epsilon: costOfEvents(events, delta - overflowDelta).epsilon,
    delta,
    events: events.map((e) => ({ ...e })),
    entries: 1 + steps,
    ledger: { size: 10 + steps, head: hash('2') },
    leftOut: { nonce: '0'.repeat(32), sha256: hash('3') },
    ...over,
  };
}
/** What is found in the last of these statements, after so many steps were taken part in. */
function found(statements: readonly EpsilonStatement[], took = 0): string[] {
  const account = new SiteAccount('a', policy, new EpsilonTable());
  account.require('moments', 1);
  account.require('steps', took);
  const findings = statements.map((s, i) => {
    const of = new Findings();
    account.state(s, i, of);
    return of.problems.map((p) => `${p.code} ${p.detail}`);
  });
  return findings.at(-1)!;
}

test('honest statements, one after the other, are clean; a kill between ledger and step may cost more than was used', () => {
  expect(found([statement(0), statement(3), statement(5)])).toEqual([]);
  expect(found([statement(7)], 5)).toEqual([]);
});

test.each<[string, EpsilonStatement[], number, RegExp]>([
  ['an epsilon that its events do not give', [statement(3, { epsilon: 0.1 })], 0, /^EPSILON a states epsilon 0.1/],
  ['epsilon said to be infinite', [statement(3, { epsilon: null })], 0, /^EPSILON a states epsilon infinite/],
  ['another delta', [statement(3, { delta: 1e-4 })], 0, /^EPSILON a states delta/],
  [
    'more ledger entries than events',
    [statement(3, { entries: 5 })],
    0,
    /^EPSILON a states 5 ledger entries and 4 events/,
  ],
  ['more entries than its ledger has', [statement(3, { ledger: { size: 2, head: hash('2') } })], 0, /ledger of 2$/],
  ['fewer steps than it took part in', [statement(3)], 4, /^EPSILON a states 3 private steps and took part in 4/],
  [
    'fewer events than before',
    [statement(5), statement(3, { ledger: { size: 20, head: hash('3') } })],
    0,
    /stated 5 of/,
  ],
  [
    'a ledger that went back',
    [statement(3), statement(3, { ledger: { size: 12, head: hash('2') } })],
    0,
    /^LEDGER .* went back from 13 to 12/,
  ],
  [
    'another ledger of the same length',
    [statement(3), statement(3, { ledger: { size: 13, head: hash('3') } })],
    0,
    /^LEDGER .* another history/,
  ],
  [
    'a ledger that grew by less than was charged',
    [statement(3), statement(9, { ledger: { size: 15, head: hash('3') } })],
    0,
    /^LEDGER .* grew by 2 entries for 6 charges/,
  ],
  [
    'an event the policy does not have',
    [statement(0, { events: [{ ...withCount(step, 1), noiseMultiplier: 9 }] })],
    0,
    /; the policy has 0/,
  ],
  ['more steps than the policy has', [statement(201)], 0, /states 201 of .*; the policy has 200/],
  [
    'an event of a kind nobody knows',
    [statement(0, { events: [{ kind: 'new-magic', count: 1 }] })],
    0,
    /its events cost infinite/,
  ],
])('%s is found', (_, statements, took, expected) => {
  expect(found(statements, took).some((detail) => expected.test(detail))).toBe(true);
});

test('what was taken part in after the last statement is known to be unstated', () => {
  const account = new SiteAccount('a', policy, new EpsilonTable());
  account.require('moments', 1);
  account.require('steps', 3);
  expect(account.unstated()).toBe(4);
  account.state(statement(3), 0, new Findings());
  expect(account.unstated()).toBe(0);
  account.require('steps', 2);
  expect(account.unstated()).toBe(2);
  expect(eventKey(step)).not.toBe(eventKey(moment));
});
