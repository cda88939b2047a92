/**
 * The site's part in the release gate. The order is that of every use of the data: which candidate is judged is durable,
 * then the ledger entry, then the computation, then the answer in the outbox, then the first byte. Killed before the
 * outbox, nothing has left, and the answer is made and paid for again; after it, the stored one is sent, ever after.
 *
 * A run has one candidate at a site: a coordinator that asks about a second one, or the same one again, gets a refusal or
 * the same words, so that no noise can be averaged away; also after its keys have changed.
 */
import { hashJson } from '../shared/audit/canonical.ts';
import { type ErrorCode, FedError } from '../shared/errors.ts';
import { GATE_ANSWER_TYP, GateAnswer, GateQuestion, QUESTION_TYP } from '../shared/gate/answers.ts';
import { candidateSha256 } from '../shared/gate/candidate.ts';
import type { GateWords } from '../shared/gate/outcome.ts';
import { bodyOf } from '../shared/audit/jws-body.ts';
import { claimedKid, CONSORTIUM, signJson, verifyJson } from '../shared/identity/signed.ts';
import type { NextReply } from '../shared/protocol/round-messages.ts';
import type { GateComputation } from './core/computation.ts';
import { heedStatements, OwnStatements, requireLedgerWhole } from './ledger-watch.ts';
import { requireLeftOutWhole } from './left-out.ts';
import { charge, fetchTensor, type SiteParts, stateEpsilon } from './round.ts';
import { cosign, followLog } from './witness.ts';

type Asked = Extract<NextReply, { kind: 'gate' }>;

/** Faults of this site's own, for whoever runs it, and what may pass: not an answer to the gate. */
const NO_ANSWER: readonly ErrorCode[] = [
  ...(['STORE_CORRUPT', 'LEDGER_REWOUND', 'LINK_LOST', 'NOT_AUTHENTICATED', 'INTERNAL'] as const),
  ...(['ROUND_NOT_OPEN', 'TENSOR_UNKNOWN', 'TENSOR_CORRUPT'] as const),
];

/**
 * Answers the question, or says no to it under this site's signature.
 * @returns false when it declined: there is nothing to ask for again before something changes.
 * @throws {FedError} what is to be tried again, and faults of this site.
 */
export async function answerGate(p: SiteParts, asked: Asked): Promise<boolean> {
  const o = { typ: QUESTION_TYP, audience: CONSORTIUM, schema: GateQuestion };
  const { body: question } = await verifyJson(asked.question, p.coordinatorKey, o);
  const { runId } = question.candidate;
  try {
    await makeAnswer(p, question, asked);
  } catch (error) {
    if (!(error instanceof FedError) || NO_ANSWER.includes(error.code)) throw error;
    p.emit({ kind: 'declined', round: p.terms.rounds, code: error.code, detail: error.message });
    const answer = await sign(p, question, { kind: 'declined', code: error.code });
    await p.link.call('gate.answer', { runId, answer, epsilon: null });
    return false;
  }
  const { answer = null, epsilon = null } = p.outbox.gate(runId) ?? {};
  if (answer === null) throw new FedError('STORE_CORRUPT', `no answer to the gate of run ${runId}`);
  const own = claimedKid(answer) === p.keys.kid ? { answer, epsilon } : await underNewKey(p, question, answer);
  await p.link.call('gate.answer', { runId, ...own });
  return true;
}

/** The stored words under the key of now: this site's keys have changed since, and the coordinator knows the new ones alone. */
async function underNewKey(p: SiteParts, question: GateQuestion, stored: string) {
  const { data } = GateAnswer.safeParse(bodyOf(stored));
  if (data === undefined) throw new FedError('STORE_CORRUPT', 'the stored answer to the gate is none');
  return { answer: await sign(p, question, data.words), epsilon: await stateEpsilon(p, question.candidate) };
}

async function makeAnswer(p: SiteParts, question: GateQuestion, { released }: Asked): Promise<void> {
  const { outbox, ledger, budget, lifetime, terms } = p;
  const { candidate } = question;
  const { runId, policySha256 } = candidate;
  requireLeftOutWhole(p);
  const gate = requireExpected(p, question);
  const kept = outbox.gate(runId);
  const sha256 = candidateSha256(candidate);
  if (kept !== null && kept.candidateSha256 !== sha256)
    throw new FedError('GATE_ASKED', `candidate ${sha256} after ${kept.candidateSha256}`);
  if (kept?.answer != null) return;
  p.requireBounds();
  requireLedgerWhole(p, runId);
  await witnessQuestion(p, question);
  const event = gate.event();
  ledger.assertAffordable({ runId, event, count: 1, budget, lifetime });
  if (released.sha256 !== candidate.releasedSha256)
    throw new FedError('POLICY_MISMATCH', 'the generator offered is not the candidate’s');
  const synthetic = await gate.draw(await fetchTensor(p, released), candidate);

  outbox.beginGate(runId, sha256);
  charge(p, { runId, round: terms.rounds }, 0, event);
  const words = await gate.words(synthetic);
  const answer = await sign(p, question, words);
  outbox.putGateAnswer(runId, answer, await stateEpsilon(p, { runId, policySha256 }));
  p.emit({ kind: 'gate-answered', words });
}

/** Everything of a question that follows from the policy. @throws {FedError} POLICY_MISMATCH */
function requireExpected(p: SiteParts, { candidate, asked }: GateQuestion): GateComputation {
  const { gate } = p.computation;
  if (gate === undefined) throw new FedError('POLICY_MISMATCH', 'the policy has no release gate');
  if (candidate.policySha256 !== p.terms.policySha256)
    throw new FedError('POLICY_MISMATCH', `a candidate of policy ${candidate.policySha256}`);
  if (!asked.includes(p.siteId)) throw new FedError('POLICY_MISMATCH', `${p.siteId} is not asked`);
  if (hashJson(gate.expected(candidate)) !== hashJson(candidate))
    throw new FedError('POLICY_MISMATCH', 'seed or class counts of the candidate are not those of the policy');
  return gate;
}

/** The log up to the question continues the one this site knows; it is cosigned. */
async function witnessQuestion(p: SiteParts, { candidate, checkpoint }: GateQuestion): Promise<void> {
  const own = new OwnStatements(p.siteId);
  const memory = await followLog({ ...p, observe: own.observe }, candidate.runId, checkpoint);
  await heedStatements(p, own.take());
  await cosign(p, candidate.runId, memory);
}

function sign({ siteId, keys, clock }: SiteParts, { candidate }: GateQuestion, words: GateWords): Promise<string> {
  const { runId } = candidate;
  const body: GateAnswer = { siteId, runId, candidateSha256: candidateSha256(candidate), words };
  return signJson(keys, body, { typ: GATE_ANSWER_TYP, audience: CONSORTIUM, nowMs: clock.now() });
}
