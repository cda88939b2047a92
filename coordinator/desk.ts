/** Where the sites' requests are answered: parse, load, decide, save, reply. The decisions are in `core/`. */
import { z } from 'zod';
import type { SpooledTensor } from '../shared/aggregation/aggregation.ts';
import { hashJson, sha256Hex } from '../shared/audit/canonical.ts';
import { ERRORS, FedError } from '../shared/errors.ts';
import type { ErrorCode } from '../shared/errors.ts';
import { activeSite } from '../shared/identity/roster.ts';
import type { RosterEntry } from '../shared/identity/roster.ts';
import { CONSORTIUM, verifyJson } from '../shared/identity/signed.ts';
import type { TensorOffer } from '../shared/protocol/messages.ts';
import { parseMessage } from '../shared/protocol/messages.ts';
import {
  ADOPTION_TYP,
  ANSWER_TYP,
  AdoptionStatement,
  AnswerStatement,
  CheckpointGet,
  DECLINE_TYP,
  GateReply,
  LogCosign,
  LogRead,
  PolicyAdopt,
  RoundAnswer,
  RoundDecline,
  SiteNext,
  statementOf,
} from '../shared/protocol/round-messages.ts';
import type { NextReply } from '../shared/protocol/round-messages.ts';
import { type Readable, TensorReceiver } from '../shared/protocol/tensor-receiver.ts';
import { Along } from './along.ts';
import { acceptAnswer, assertOpenFor, decline, isOpenFor, noteRefusal, tally } from './core/round-state.ts';
import type { Decision } from './core/round-state.ts';
import { standingAfterRestart } from './core/standing.ts';
import { noteEpsilon, readEpsilon } from './epsilon-desk.ts';
import { gateWork, takeGateAnswer } from './gate-desk.ts';
import { pageOfLog } from './log-desk.ts';
import { readableBy } from './readable.ts';
import { countedAnswers, settleNow } from './round.ts';
import type { RoundParts } from './round.ts';
import type { RoundRecord, Tx } from './store/store.ts';
import { WaitingQuestions } from './waiting-questions.ts';
import { checkpointReply, takeCosignature, uncosigned } from './witnesses.ts';

/** What an upload of a masking or encrypting scheme may need beyond its values. */
const UPLOAD_OVERHEAD = 64 * 1024;

export class Desk {
  readonly #p: RoundParts;
  /** Agent process of each site, as it last called itself. */
  readonly #sessions = new Map<string, string>();
  /** Sessions that were shown the run's last checkpoint. */
  readonly #offeredLast = new Set<string>();
  readonly #questions: WaitingQuestions;
  readonly #along: Along;

  constructor(parts: RoundParts) {
    this.#p = parts;
    this.#questions = new WaitingQuestions(parts.clock, parts.signal);
    this.#along = new Along(parts.receiver, parts.served);
  }

  /** Questions that wait look again. @returns whose: these sites need no other sign. */
  wake(): ReadonlySet<string> {
    return this.#questions.wake();
  }

  /** A site's connection has closed: nobody is there to hear an answer. */
  left(siteId: string): void {
    this.#questions.letGo(siteId);
  }

  /** @throws {FedError} whatever refuses the request; nothing has changed then, except that the refusal is logged. */
  async answer(siteId: string, type: string, payload: unknown): Promise<unknown> {
    const entry = activeSite(this.#p.roster(), siteId);
    const { presence, clock, bell } = this.#p;
    const wasHere = presence.has(siteId, clock.now());
    presence.heard(siteId, clock.now());
    if (!wasHere) bell.ring();
    if (TensorReceiver.handles(type)) return this.#tensor(siteId, type, payload);
    switch (type) {
      case 'site.next':
        return this.#next(siteId, parseMessage(SiteNext, payload));
      case 'round.answer':
        return this.#answer(entry, parseMessage(RoundAnswer, payload));
      case 'round.decline':
        return this.#decline(entry, parseMessage(RoundDecline, payload));
      case 'gate.answer':
        return takeGateAnswer(this.#p, entry, parseMessage(GateReply, payload));
      case 'policy.adopt':
        return this.#adopt(entry, parseMessage(PolicyAdopt, payload));
      case 'log.read':
        return this.#p.store.transaction((tx) => pageOfLog(tx, parseMessage(LogRead, payload)));
      case 'log.checkpoint':
        return this.#checkpoint(parseMessage(CheckpointGet, payload));
      case 'log.cosign':
        return this.#cosign(entry, parseMessage(LogCosign, payload));
      default:
        throw new FedError('MESSAGE_INVALID', `site=${siteId}: no request ${type}`);
    }
  }

  async #tensor(siteId: string, type: string, payload: unknown): Promise<unknown> {
    try {
      return await this.#p.receiver.handle(siteId, type, payload);
    } catch (error) {
      // The first thing a site sends of a late answer is its tensor.
      if (error instanceof FedError && error.code === 'ROUND_NOT_OPEN')
        await this.#p.store.transaction((tx) => this.#noteLate(tx, siteId));
      throw error;
    }
  }

  /** For the tensor receiver: a site may upload while the open phase still wants its answer. */
  async allowUpload(siteId: string, _offer: TensorOffer): Promise<number> {
    const { runId, store, trainer } = this.#p;
    const record = await store.transaction((tx) => tx.latestRound(runId));
    if (record === null) throw new FedError('ROUND_NOT_OPEN', `site=${siteId}: no round yet`);
    assertOpenFor(record, siteId, placeOf(record));
    const length = trainer.updateLength(record.plan);
    return record.plan.scheme === 'clear' ? 4 * length : 16 * length + UPLOAD_OVERHEAD;
  }

  /** For the tensor receiver. */
  readable(siteId: string, sha256: string): Promise<Readable | null> {
    this.#along.asked(siteId, sha256);
    return readableBy(this.#p, siteId, sha256);
  }

  async #next(siteId: string, { session, waitMs = 0, along }: SiteNext): Promise<NextReply> {
    const before = this.#sessions.get(siteId);
    this.#sessions.set(siteId, session);
    if (before !== session) this.#questions.mayHave(siteId);
    if (before !== undefined && before !== session)
      await this.#p.store.transaction((tx) => this.#agentRestarted(tx, siteId));
    const reply = await this.#questions.answer(siteId, waitMs, () => this.#look(siteId, session));
    return along ? this.#along.with(siteId, session, reply) : reply;
  }

  /** What there is for this site now. */
  async #look(siteId: string, session: string): Promise<NextReply> {
    const { runId, store, presence, clock, roster } = this.#p;
    // Of the roster as it is: a question may have waited since before a key was changed.
    const entry = activeSite(roster(), siteId);
    return store.transaction(async (tx) => {
      const run = await tx.run(runId);
      const generator = run === null ? null : await tx.generator(runId, run.round);
      if (run === null || generator === null) return { kind: 'idle' };
      const record = await tx.latestRound(runId);
      if (run.outcome !== null) {
        // The last checkpoint is offered once a session: a site that refuses it shall still hear the end.
        const offer = this.#offeredLast.has(session) ? null : await this.#uncosigned(tx, entry, record);
        this.#offeredLast.add(session);
        return offer ?? { kind: 'finished', runId, outcome: run.outcome, generator: generator.weights };
      }
      const gate = gateWork(run, siteId);
      if (gate !== null) return gate;
      const wanted = record?.plan.round === run.round && record.status === 'collecting' ? record : null;
      const open = wanted?.participants.includes(siteId) && wanted.out[siteId] === undefined ? wanted : null;
      if (open === null || record === null || open.answers[siteId] !== undefined)
        return (await this.#uncosigned(tx, entry, record)) ?? { kind: 'idle' };
      const { plan, planJws, phase } = record;
      const downlink = await tx.downlink({ ...plan, phase }, siteId);
      if (downlink === null) throw new FedError('STORE_CORRUPT', `no downlink for ${siteId} in ${nameOf(record)}`);
      presence.shown(siteId, nameOf(record), clock.now());
      return {
        kind: 'work',
        plan: planJws,
        phase,
        downlink: z.json().parse(downlink.body),
        generator: plan.kind === 'generator' ? generator.weights : null,
        discriminator: plan.kind === 'discriminator' ? (run.discriminator?.weights ?? null) : null,
        ...(record.blob && { blob: record.blob }),
        critic: plan.criticSha256 === null ? null : (generator.critic ?? null),
      };
    });
  }

  async #answer(entry: RosterEntry, a: RoundAnswer): Promise<null> {
    const { siteId } = entry;
    try {
      await this.#take(entry, a);
    } catch (error) {
      // Sites send an answer right behind the last chunk that it names. Where that chunk failed, by this side's full disk for
      // one, nothing of the answer was judged: it comes again after the chunk, and the log blames nobody.
      const judged = error instanceof FedError && error.code !== 'TENSOR_UNKNOWN';
      if (judged) await this.#refused(siteId, a, error.code);
      throw error;
    }
    return null;
  }

  /** Everything that can be wrong is looked for before the transaction that counts the answer. */
  async #take(entry: RosterEntry, a: RoundAnswer): Promise<void> {
    const { siteId } = entry;
    const { store, receiver, scheme, trainer, terms } = this.#p;
    if (a.runId !== this.#p.runId) throw new FedError('ROUND_NOT_OPEN', `site=${siteId}: run ${a.runId}`);
    const { record, stored } = await store.transaction(async (tx) => ({
      record: await tx.round(a.runId, a.round, a.attempt),
      stored: await answerOf(tx, a, siteId),
    }));
    if (record === null) throw new FedError('ROUND_NOT_OPEN', `site=${siteId}: no round ${a.round}.${a.attempt}`);
    const { plan } = record;
    const check = (tensor: SpooledTensor | null) =>
      scheme.check({
        plan,
        phase: a.phase,
        siteId,
        body: a.body,
        tensor,
        length: trainer.updateLength(plan),
        clipNorm: plan.kind === 'generator' ? terms.updateClipNorm : null,
        integerLimit: this.#p.integerLimit(plan),
        earlier: (phase) => countedAnswers(this.#p, { ...placeOf(record), phase }),
      });
    // Looked at while the signature is: both wait for threads. What is wrong with the signature is said first.
    const early = stored === null && a.tensorSha256 === null && isOpenFor(record, siteId, a) ? check(null) : null;
    early?.catch(() => undefined);
    const statement = statementOf(siteId, sha256Hex(record.planJws), a);
    const signed = { typ: ANSWER_TYP, audience: CONSORTIUM, schema: AnswerStatement };
    const answerSha256 = hashJson(statement);
    if (hashJson((await verifyJson(a.signature, entry.signing, signed)).body) !== answerSha256)
      throw new FedError('SIGNATURE_INVALID', `site=${siteId}: it signed another answer than it sent`);
    const epsilon = a.epsilon === null ? null : await readEpsilon(this.#p, entry, a.epsilon);

    if (stored === answerSha256) return;
    if (stored === null) assertOpenFor(record, siteId, a);
    const tensor = a.tensorSha256 === null ? null : await receiver.received(siteId, a.tensorSha256);
    if (a.tensorSha256 !== null && tensor === null && stored === null)
      throw new FedError('TENSOR_UNKNOWN', `site=${siteId}: the upload is not here in whole`);
    if (stored === null) await (early ?? check(tensor));

    const { wakes } = this.#questions;
    const decision = await store.transaction(async (tx) => {
      const now = await tx.round(a.runId, a.round, a.attempt);
      if (now === null) throw new FedError('STORE_CORRUPT', `${nameOf(record)} is gone`);
      const already = await answerOf(tx, a, siteId);
      const decided = acceptAnswer(now, siteId, a, { sha256: answerSha256, signature: a.signature }, already);
      if (decided.next === now) return decided;
      const ref = a.tensorSha256 === null || tensor === null ? null : { sha256: a.tensorSha256, bytes: tensor.bytes };
      await tx.addAnswer(a, {
        siteId,
        answerSha256,
        body: a.body,
        tensor: ref,
        fakes: a.fakes,
        signature: a.signature,
      });
      await this.#save(tx, decided);
      if (epsilon !== null && a.epsilon !== null) await noteEpsilon(this.#p, tx, epsilon, a.epsilon);
      // The last that was awaited seals the phase with it: one sync of the disk for both.
      if (tally(decided.next).awaited.length === 0)
        await settleNow(this.#p, tx, decided.next, { deadlinePassed: false, absent: [] });
      return decided;
    });
    if (decision.log.length > 0) {
      this.#questions.hasNothing(siteId, wakes);
      this.#p.emit({ kind: 'answered', round: a.round, siteId, phase: a.phase, fakes: a.fakes });
      if (epsilon !== null) this.#p.emit({ kind: 'epsilon', statement: epsilon });
    }
    this.#p.bell.ring();
  }

  /** A late answer tells whether its site keeps pace: one that only began late is waited for in the next round. */
  async #noteLate(tx: Tx, siteId: string): Promise<void> {
    const { presence, clock, terms, runId } = this.#p;
    if (!presence.keptPace(siteId, clock.now(), terms.deadlineMs)) return;
    const site = (await tx.sites(runId)).find((s) => s.siteId === siteId);
    if (site?.standing === 'missed') await tx.putSite(runId, { ...site, standing: 'good' });
  }

  /**
   * A refusal is logged once per site and code: of an answer that was whole. One that comes late is nobody's fault and is
   * in the log already, as missing from its phase; and nothing is added to a log that has come to its end.
   */
  async #refused(siteId: string, a: RoundAnswer, code: ErrorCode): Promise<void> {
    const { store, runId } = this.#p;
    if (a.runId !== runId) return;
    await store.transaction(async (tx) => {
      const record = await tx.round(runId, a.round, a.attempt);
      if (record === null) return;
      if (code === 'ROUND_NOT_OPEN') return this.#noteLate(tx, siteId);
      if ((await tx.run(runId))?.outcome === null) await this.#save(tx, noteRefusal(record, siteId, a, code));
    });
    this.#p.bell.ring();
  }

  async #decline(entry: RosterEntry, d: RoundDecline): Promise<null> {
    const { store, runId } = this.#p;
    const { siteId } = entry;
    if (!(d.code in ERRORS)) throw new FedError('MESSAGE_INVALID', `site=${siteId}: no code ${d.code}`);
    if (d.runId !== runId) throw new FedError('ROUND_NOT_OPEN', `site=${siteId}: run ${d.runId}`);
    const decision = await store.transaction(async (tx) => {
      const record = await tx.round(runId, d.round, d.attempt);
      if (record === null) throw new FedError('ROUND_NOT_OPEN', `site=${siteId}: no round ${d.round}.${d.attempt}`);
      const { round, attempt, code, signature } = d;
      const planSha256 = sha256Hex(record.planJws);
      await requireStatement(entry, signature, DECLINE_TYP, { siteId, runId, round, attempt, code, planSha256 });
      const said = { code: code as ErrorCode, signature };
      const decided = decline(record, siteId, { ...d, phase: record.phase }, said);
      await this.#save(tx, decided);
      return decided;
    });
    if (decision.log.length > 0)
      this.#p.emit({ kind: 'declined', round: d.round, siteId, code: d.code, detail: d.detail });
    this.#p.bell.ring();
    return null;
  }

  /** What this site should cosign: the checkpoint of the latest plan, or the run's last. */
  async #uncosigned(tx: Tx, entry: RosterEntry, latest: RoundRecord | null): Promise<NextReply | null> {
    const { runId } = this.#p;
    const checkpoint = await uncosigned(tx, runId, latest?.plan.checkpoint.size ?? 0, entry);
    return checkpoint && { kind: 'witness', runId, checkpoint };
  }

  async #checkpoint(q: z.infer<typeof CheckpointGet>) {
    return this.#p.store.transaction((tx) => checkpointReply(tx, q));
  }

  async #cosign(entry: RosterEntry, q: z.infer<typeof LogCosign>): Promise<null> {
    const { store, bell } = this.#p;
    await store.transaction((tx) => takeCosignature(tx, q, entry));
    bell.ring();
    return null;
  }

  /** A site takes part under this policy; logged once per version of its software. */
  async #adopt(entry: RosterEntry, { runId, statement }: z.infer<typeof PolicyAdopt>): Promise<null> {
    const { store, terms, clock } = this.#p;
    const { siteId } = entry;
    const { policySha256 } = terms;
    if (runId !== this.#p.runId) throw new FedError('ROUND_NOT_OPEN', `site=${siteId}: run ${runId}`);
    const o = { typ: ADOPTION_TYP, audience: CONSORTIUM, schema: AdoptionStatement };
    const { software } = (await verifyJson(statement, entry.signing, o)).body;
    await requireStatement(entry, statement, ADOPTION_TYP, { siteId, runId, policySha256, software });
    await store.transaction(async (tx) => {
      const site = (await tx.sites(runId)).find((s) => s.siteId === siteId);
      if (site === undefined || site.software === software) return;
      const body = { siteId, policySha256, software, statement };
      await tx.appendLog(runId, { kind: 'site-adopted', body }, clock.now());
      await tx.putSite(runId, { ...site, software });
    });
    return null;
  }

  async #agentRestarted(tx: Tx, siteId: string): Promise<void> {
    const site = (await tx.sites(this.#p.runId)).find((s) => s.siteId === siteId);
    if (site?.standing === 'declined') await tx.putSite(this.#p.runId, standingAfterRestart(site));
  }

  async #save(tx: Tx, { next, log }: Decision): Promise<void> {
    if (log.length === 0) return;
    await tx.putRound(next);
    for (const draft of log) await tx.appendLog(next.plan.runId, draft, this.#p.clock.now());
  }
}

/** @throws {FedError} SIGNATURE_INVALID when the site did not sign exactly this. */
async function requireStatement(site: RosterEntry, jws: string, typ: string, expected: unknown): Promise<void> {
  const { body } = await verifyJson(jws, site.signing, { typ, audience: CONSORTIUM, schema: z.unknown() });
  if (hashJson(body) !== hashJson(expected))
    throw new FedError('SIGNATURE_INVALID', `site=${site.siteId}: it signed something else under ${typ}`);
}

async function answerOf(tx: Tx, a: RoundAnswer, siteId: string): Promise<string | null> {
  return (await tx.answers(a)).find((s) => s.siteId === siteId)?.answerSha256 ?? null;
}

const placeOf = ({ plan, phase }: RoundRecord) => ({
  runId: plan.runId,
  round: plan.round,
  attempt: plan.attempt,
  phase,
});

const nameOf = ({ plan, phase }: RoundRecord): string => `round ${plan.round}.${plan.attempt} phase ${phase}`;
