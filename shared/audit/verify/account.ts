/**
 * One site's spending as its signed statements tell it: recomputed from the events, held against the policy, against the
 * rounds the site took part in, and against what it stated before.
 */
import { costOfEvents } from '../../dp/convert.ts';
import { composeEvents, eventKey, readEvent } from '../../dp/event.ts';
import type { PrivacyEvent } from '../../dp/event.ts';
import { epsilonOfPolicy, eventsOfPolicy, gateEventOf } from '../../policy/cost.ts';
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
  /** Key of the event that pays for each kind of use; null where the policy has none. */
  readonly keys: Readonly<Record<Use, string | null>>;
}

/** What a site's data are used for. */
export type Use = 'moments' | 'steps' | 'gate';
const USES: Readonly<Record<Use, string>> = {
  moments: 'moment releases',
  steps: 'private steps',
  gate: 'answers to the release gate',
};
const NOTHING: Readonly<Record<Use, number>> = { moments: 0, steps: 0, gate: 0 };

function allowanceOf(policy: CheckedPolicy, siteId: string): Allowance {
  const { privacy } = policy;
  const events = eventsOfPolicy(policy, siteId);
  const warm = policy.warmStart.kind === 'moments';
  const asked = policy.release.gate;
  const gate = asked === null ? null : eventKey(gateEventOf(asked, 1));
  if (privacy.mechanism === 'none-insecure') {
    const key = eventKey(events[0]);
    const keys = { moments: key, steps: key, gate };
    return { caps: null, epsilon: Infinity, delta: 1e-5, overflowDelta: 0, keys };
  }
  const { overflowDelta } = epsilonOfPolicy(policy, siteId);
  const [first, second] = events.map(eventKey);
  const keys = {
    moments: warm ? first : null,
    steps: privacy.maxSteps === 0 ? null : warm ? second : first,
    gate,
  };
  return { caps: events, epsilon: privacy.epsilon, delta: privacy.delta, overflowDelta, keys };
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
  /** What it took part in has cost so much, at least. */
  readonly #took: Record<Use, number> = { ...NOTHING };
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
  require(use: Use, count: number): void {
    this.#took[use] += count;
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

  /** What it took part in, it has to have paid for. Uses that are one mechanism are paid for together. */
  #coverRounds(events: readonly PrivacyEvent[], wrong: (detail: string) => void): void {
    for (const { paid, took, what } of this.#covered(events))
      if (paid < took) wrong(`states ${paid} ${what} and took part in ${took}`);
  }

  #covered(events: readonly PrivacyEvent[]): { paid: number; took: number; what: string }[] {
    const { keys } = this.#allowance;
    const uses = Object.keys(USES) as Use[];
    return [...new Set(Object.values(keys))].map((key) => {
      const paidBy = uses.filter((use) => keys[use] === key);
      const took = paidBy.reduce((sum, use) => sum + this.#took[use], 0);
      const paid = key === null ? 0 : (events.find((e) => eventKey(e) === key)?.count ?? 0);
      return { paid, took, what: paidBy.map((use) => USES[use]).join(' or ') };
    });
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

  /** Releases it took part in after its last statement. */
  unstated(): number {
    return this.#covered(this.last?.events ?? []).reduce((sum, { paid, took }) => sum + Math.max(0, took - paid), 0);
  }
}

const show = (x: number): string => (Number.isFinite(x) ? x.toPrecision(8) : 'infinite');
