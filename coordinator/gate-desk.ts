/** Where the sites' answers to the release gate come in: parse, check, save with the log, once. */
import { hashJson } from '../shared/audit/canonical.ts';
import { FedError } from '../shared/errors.ts';
import { GATE_ANSWER_TYP, GateAnswer } from '../shared/gate/answers.ts';
import { candidateSha256 } from '../shared/gate/candidate.ts';
import type { RosterEntry } from '../shared/identity/roster.ts';
import { CONSORTIUM, verifyJson } from '../shared/identity/signed.ts';
import type { GateReply, NextReply } from '../shared/protocol/round-messages.ts';
import { noteEpsilon, readEpsilon } from './epsilon-desk.ts';
import type { RoundParts } from './round.ts';
import { enrolled } from './run-sites.ts';
import type { GateRecord, RunRecord } from './store/store.ts';

/** The question, for a site that has not answered it; null where there is none for it. */
export function gateWork({ gate, outcome }: RunRecord, siteId: string): NextReply | null {
  if (gate === undefined || outcome !== null || gate.judged) return null;
  if (!gate.asked.includes(siteId) || gate.answers[siteId] !== undefined) return null;
  const { question, candidate } = gate;
  return { kind: 'gate', question, released: { sha256: candidate.releasedSha256, bytes: candidate.bytes } };
}

/**
 * Takes one site's answer. The same words again change nothing.
 * @throws {FedError} ROUND_NOT_OPEN, SIGNATURE_INVALID; UPDATE_CHANGED for other words than the first.
 */
export async function takeGateAnswer(p: RoundParts, entry: RosterEntry, reply: GateReply): Promise<null> {
  const { siteId } = entry;
  if (reply.runId !== p.runId) throw new FedError('ROUND_NOT_OPEN', `site=${siteId}: run ${reply.runId}`);
  const o = { typ: GATE_ANSWER_TYP, audience: CONSORTIUM, schema: GateAnswer };
  const { body } = await verifyJson(reply.answer, entry.signing, o);
  if (body.siteId !== siteId || body.runId !== p.runId)
    throw new FedError('SIGNATURE_INVALID', `site=${siteId}: the gate's answer of another site or run`);
  if (body.words.kind === 'answered' && reply.epsilon === null)
    throw new FedError('MESSAGE_INVALID', `site=${siteId}: an answer to the gate without an epsilon statement`);
  const epsilon = reply.epsilon === null ? null : await readEpsilon(p, entry, reply.epsilon);
  const isNew = await p.store.transaction(async (tx) => {
    // A key that the log does not have yet cannot have signed an entry of it.
    await enrolled(p, tx);
    const run = await tx.run(p.runId);
    const gate = openGate(run, body, siteId);
    const before = gate.answers[siteId];
    if (before !== undefined && hashJson(before.words) === hashJson(body.words)) return false;
    if (before !== undefined) throw new FedError('UPDATE_CHANGED', `site=${siteId}: other words to the gate`);
    const answers = { ...gate.answers, [siteId]: { statement: reply.answer, words: body.words } };
    await tx.putRun({ ...run!, gate: { ...gate, answers } });
    const said = { siteId, candidateSha256: body.candidateSha256, words: body.words, statement: reply.answer };
    await tx.appendLog(p.runId, { kind: 'gate-answered', body: said }, p.clock.now());
    if (epsilon !== null && reply.epsilon !== null) await noteEpsilon(p, tx, epsilon, reply.epsilon);
    return true;
  });
  if (isNew) {
    p.emit({ kind: 'gate-answered', siteId, words: body.words });
    if (epsilon !== null) p.emit({ kind: 'epsilon', statement: epsilon });
  }
  p.bell.ring();
  return null;
}

/** A gate that still takes this answer, or has it. */
function openGate(run: RunRecord | null, body: GateAnswer, siteId: string): GateRecord {
  const gate = run?.gate;
  if (gate === undefined || !gate.asked.includes(siteId))
    throw new FedError('ROUND_NOT_OPEN', `site=${siteId}: the gate asks it nothing`);
  if (candidateSha256(gate.candidate) !== body.candidateSha256)
    throw new FedError('SIGNATURE_INVALID', `site=${siteId}: its answer is about another candidate`);
  if (gate.judged && gate.answers[siteId] === undefined)
    throw new FedError('ROUND_NOT_OPEN', `site=${siteId}: the gate is closed`);
  return gate;
}
