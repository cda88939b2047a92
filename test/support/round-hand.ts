/** A site moved by hand, and a coordinator whose events can be waited for: for tests of single messages. */
import type { CoordinatorEvent } from '../../coordinator/events.ts';
import type { Coordinator } from '../../coordinator/coordinator.ts';
import { packFloat32 } from '../../shared/aggregation/clear.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import type { SiteKeys } from '../../shared/identity/keys.ts';
import { CONSORTIUM, signJson } from '../../shared/identity/signed.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { ANSWER_TYP, DECLINE_TYP, NextReply, statementOf } from '../../shared/protocol/round-messages.ts';
import type { RoundAnswer } from '../../shared/protocol/round-messages.ts';
import { uploadTensor } from '../../shared/protocol/tensor-transfer.ts';
import type { ManualClock } from './manual-clock.ts';

export type Work = Extract<NextReply, { kind: 'work' }>;

export class Hand {
  readonly siteId: string;
  readonly link;
  readonly #keys: SiteKeys;
  session = crypto.randomUUID();

  constructor(coordinator: Coordinator, siteId: string, keys: SiteKeys) {
    this.siteId = siteId;
    this.link = directLink(coordinator, siteId);
    this.#keys = keys;
  }

  async next(): Promise<NextReply> {
    return NextReply.parse(await this.link.call('site.next', { session: this.session }));
  }
  async work(): Promise<Work> {
    const reply = await this.next();
    if (reply.kind !== 'work') throw new Error(`${this.siteId} has no work: ${reply.kind}`);
    return reply;
  }

  /** A signed answer whose tensor is these values; `over` is applied before signing, `after` behind its back. */
  async answerTo(
    work: Work,
    values: number[],
    over: Partial<RoundAnswer> = {},
    after: Partial<RoundAnswer> = {},
  ): Promise<{ message: RoundAnswer; tensor: Uint8Array }> {
    const { runId, round, attempt } = planOf(work);
    const tensor = packFloat32(Float32Array.from(values));
    const place = { runId, round, attempt, phase: work.phase };
    const unsigned = { ...place, body: null, tensorSha256: sha256Hex(tensor), fakes: null, ...over };
    const statement = statementOf(this.siteId, sha256Hex(work.plan), unsigned);
    const signature = await signJson(this.#keys, statement, { typ: ANSWER_TYP, audience: CONSORTIUM, nowMs: 0 });
    return { message: { ...unsigned, signature, epsilon: null, ...after }, tensor };
  }

  async send(work: Work, values: number[], over: Partial<RoundAnswer> = {}, after: Partial<RoundAnswer> = {}) {
    const { message, tensor } = await this.answerTo(work, values, over, after);
    await uploadTensor(this.link, tensor, { purpose: 'test' });
    return this.link.call('round.answer', message);
  }

  /** Says no to a plan, signed. */
  async decline(work: Work, code: string, detail = ''): Promise<unknown> {
    const { runId, round, attempt } = planOf(work);
    const statement = { siteId: this.siteId, runId, round, attempt, code, planSha256: sha256Hex(work.plan) };
    const signature = await signJson(this.#keys, statement, { typ: DECLINE_TYP, audience: CONSORTIUM, nowMs: 0 });
    return this.link.call('round.decline', { runId, round, attempt, code, detail, signature });
  }
}

/** The plan inside a request, unverified. */
export const planOf = (work: Work): RoundPlan =>
  (JSON.parse(Buffer.from(work.plan.split('.')[1], 'base64url').toString()) as { body: RoundPlan }).body;

/** Keeps events and lets a test wait for the n-th of a kind, past or future. */
export class Tap {
  readonly events: CoordinatorEvent[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly hear = (event: CoordinatorEvent): void => {
    this.events.push(event);
    for (const look of this.#waiting.splice(0)) look();
  };
  of<K extends CoordinatorEvent['kind']>(kind: K): Extract<CoordinatorEvent, { kind: K }>[] {
    return this.events.filter((e): e is Extract<CoordinatorEvent, { kind: K }> => e.kind === kind);
  }
  async when<K extends CoordinatorEvent['kind']>(kind: K, n = 1): Promise<Extract<CoordinatorEvent, { kind: K }>> {
    while (this.of(kind).length < n) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.of(kind)[n - 1];
  }
}

/** Turns the clock past what is being waited for, once something is. */
export async function passTime(clock: ManualClock, ms: number): Promise<void> {
  do await new Promise<void>((resolve) => setImmediate(resolve));
  while (clock.pending === 0);
  clock.advance(ms);
}
