/**
 * One site's spending as its signed statements tell it: recomputed from the events, held against the policy, against the
 * rounds the site took part in, and against what it stated before.
 */
import { costOfEvents } from '../../dp/convert.ts';
import { composeEvents, eventKey, readEvent } from '../../dp/event.ts';
import type { PrivacyEvent } from '../../dp/event.ts';
import { epsilonOfPolicy, eventsOfPolicy } from '../../policy/cost.ts';
import type { CheckedPolicy } from '../../policy/load.ts';
import type { EpsilonStatement } from '../../protocol/round-messages.ts';
import type { Findings } from './findings.ts';

/** Stated and recomputed figures agree to this: the last digits of a logarithm differ between machines. */
const RELATIVE = 1e-9;

/** What the policy lets a site do. */
interface Allowance {
  /** The most of every event; null without a mechanism. */
  readonly caps: readonly PrivacyEvent[] | null;
  readonly epsilon: number;
  readonly delta: number;
  readonly overflowDelta: number;
  /** Keys of the events that pay for a moment release and for a discriminator step. */
  readonly momentKey: string | null;
  readonly stepKey: string | null;
}

function allowanceOf(policy: CheckedPolicy, siteId: string): Allowance {
  const { privacy } = policy;
  const events = eventsOfPolicy(policy, siteId);
  const warm = policy.warmStart.kind === 'moments';
  if (privacy.mechanism === 'none-insecure') {
    const key = eventKey(events[0]);
    return { caps: null, epsilon: Infinity, delta: 1e-5, overflowDelta: 0, momentKey: key, stepKey: key };
  }
  const { overflowDelta } = epsilonOfPolicy(policy, siteId);
  const [first, second] = events.map(eventKey);
  const momentKey = warm ? first : null;
  const stepKey = (warm ? second : first) ?? null;
  return { caps: events, epsilon: privacy.epsilon, delta: privacy.delta, overflowDelta, momentKey, stepKey };
}

/** The RDP epsilon of events at a delta, remembered: sites in step with one another state the same events. */
export class EpsilonTable {
  readonly #known = new Map<string, number>();
  readonly #events = new Map<string, readonly PrivacyEvent[]>();

  /** What a statement lists, read and composed. */
  events(listed: EpsilonStatement['events']): readonly PrivacyEvent[] {
    const key = JSON.stringify(listed);
    let events = this.#events.get(key);
    if (events === undefined) {
      if (this.#events.size >= 64) this.#events.clear();
      this.#events.set(key, (events = composeEvents(listed.map(readEvent))));
    }
    return events;
  }
  of(events: readonly PrivacyEvent[], delta: number): number {
    if (events.length === 0) return 0;
    const key = `${delta} ${events.map((e) => `${eventKey(e)} x${e.count}`).join(', ')}`;
    let epsilon = this.#known.get(key);
    if (epsilon === undefined) this.#known.set(key, (epsilon = costOfEvents(events, delta).epsilon));
    return epsilon;
  }
}

export class SiteAccount {
  readonly siteId: string;
  readonly #allowance: Allowance;
  readonly #table: EpsilonTable;
  /** What the rounds it took part in have cost, at least. */
  #moments = 0;
  #steps = 0;
  /** The last statement, and the entry it stands in. */
  last: {
    readonly statement: EpsilonStatement;
    readonly events: readonly PrivacyEvent[];
    readonly index: number;
  } | null = null;

  constructor(siteId: string, policy: CheckedPolicy, table: EpsilonTable) {
    this.siteId = siteId;
    this.#allowance = allowanceOf(policy, siteId);
    this.#table = table;
  }

  get delta(): number {
    return this.#allowance.delta;
  }
  /** What is left of delta for the events. */
  get eventDelta(): number {
    return this.#allowance.delta - this.#allowance.overflowDelta;
  }

  /** The site took part in so much: its next statement has to say at least that. */
  require(kind: 'moments' | 'steps', count: number): void {
    if (kind === 'moments') this.#moments += count;
    else this.#steps += count;
  }

  /** A statement whose signature is checked elsewhere. */
  state(statement: EpsilonStatement, index: number, findings: Findings): void {
    const a = this.#allowance;
    const wrong = (detail: string) => findings.problem('EPSILON', index, `${this.siteId} ${detail}`);
    const events = this.#table.events(statement.events);
    const total = events.reduce((sum, e) => sum + e.count, 0);
    if (statement.delta !== a.delta) wrong(`states delta ${statement.delta}; the policy has ${a.delta}`);
    if (total < statement.entries) wrong(`states ${statement.entries} ledger entries and ${total} events`);
    for (const event of events) {
      if (a.caps === null) continue;
      const cap = a.caps.find((c) => eventKey(c) === eventKey(event))?.count ?? 0;
      if (event.count > cap) wrong(`states ${event.count} of "${eventKey(event)}"; the policy has ${cap}`);
    }
    const epsilon = this.#table.of(events, this.eventDelta);
    const stated = statement.epsilon ?? Infinity;
    const close = Number.isFinite(epsilon) && Math.abs(stated - epsilon) <= RELATIVE * Math.max(1, epsilon);
    const same = stated === epsilon || close;
    if (!same) wrong(`states epsilon ${show(stated)}; its events cost ${show(epsilon)}`);
    if (!(epsilon <= a.epsilon * (1 + RELATIVE))) wrong(`has spent ${show(epsilon)}; the policy has ${a.epsilon}`);
    this.#coverRounds(events, wrong);
    this.#continue(statement, events, index, findings, wrong);
    this.last = { statement, events, index };
  }

  /** What it took part in, it has to have paid for. */
  #coverRounds(events: readonly PrivacyEvent[], wrong: (detail: string) => void): void {
    const { momentKey, stepKey } = this.#allowance;
    const count = (key: string | null) => events.find((e) => eventKey(e) === key)?.count ?? 0;
    if (momentKey === stepKey) {
      const [paid, took] = [count(stepKey), this.#moments + this.#steps];
      if (paid < took) wrong(`states ${paid} releases and took part in ${took}`);
      return;
    }
    if (count(momentKey) < this.#moments)
      wrong(`states ${count(momentKey)} moment releases and took part in ${this.#moments}`);
    if (count(stepKey) < this.#steps) wrong(`states ${count(stepKey)} private steps and took part in ${this.#steps}`);
  }

  /** Spending and the ledger only grow. */
  #continue(
    now: EpsilonStatement,
    events: readonly PrivacyEvent[],
    index: number,
    findings: Findings,
    wrong: (detail: string) => void,
  ): void {
    const { ledger } = now;
    if (ledger.size < now.entries) wrong(`states ${now.entries} entries in a ledger of ${ledger.size}`);
    if (this.last === null) return;
    const before = this.last.statement;
    for (const event of this.last.events) {
      const still = events.find((e) => eventKey(e) === eventKey(event))?.count ?? 0;
      if (still < event.count) wrong(`stated ${event.count} of "${eventKey(event)}" before, and ${still} now`);
    }
    const rewound = (detail: string) =>
      findings.problem('LEDGER', index, `${this.siteId}'s ledger ${detail} since entry ${this.last!.index}`);
    if (ledger.size < before.ledger.size) rewound(`went back from ${before.ledger.size} to ${ledger.size} entries`);
    else if (ledger.size - before.ledger.size < now.entries - before.entries)
      rewound(`grew by ${ledger.size - before.ledger.size} entries for ${now.entries - before.entries} charges`);
    else if (ledger.size === before.ledger.size && ledger.head !== before.ledger.head)
      rewound(`has another history of ${ledger.size} entries`);
  }

  /** What it took part in after its last statement. */
  unstated(): { moments: number; steps: number } {
    const { momentKey, stepKey } = this.#allowance;
    const count = (key: string | null) => this.last?.events.find((e) => eventKey(e) === key)?.count ?? 0;
    return { moments: Math.max(0, this.#moments - count(momentKey)), steps: Math.max(0, this.#steps - count(stepKey)) };
  }
}

const show = (x: number): string => (Number.isFinite(x) ? x.toPrecision(8) : 'infinite');
