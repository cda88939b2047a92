/**
 * After the last round: what would be released is fixed, the sites that took part are asked about it, and what they said
 * is judged. Like a round, every function finds in the store how far it had come; the question's bytes, the answers and
 * the verdict are each durable before anything follows from them.
 */
import { packFloat32, unpackFloat32 } from '../shared/aggregation/clear.ts';
import { sha256Hex } from '../shared/audit/canonical.ts';
import type { LogHead } from '../shared/audit/log.ts';
import { FedError } from '../shared/errors.ts';
import { type GateQuestion, QUESTION_TYP } from '../shared/gate/answers.ts';
import { type Candidate, candidateOf, candidateSha256 } from '../shared/gate/candidate.ts';
import { claimedKid, CONSORTIUM, signJson } from '../shared/identity/signed.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { measuredVerdict } from './gate-verdict.ts';
import { candidateBlob, loadGeneratorState } from './generators.ts';
import type { RoundParts } from './round.ts';
import { enrolled } from './run-sites.ts';
import type { GateRecord, RunRecord, Tx } from './store/store.ts';
import { publishCheckpoint } from './witnesses.ts';

/** Mean MS-SSIM of two images of one class, by class, of what a candidate draws; null where a class has too few. */
export type SimilarityOf = (released: Float32Array, candidate: Candidate) => Promise<(number | null)[]>;

/** Asks, waits, judges: to its end, or on from where it was. @throws {Stopped} */
export async function passGate(p: RoundParts, policy: CheckedPolicy, similarity: SimilarityOf | undefined) {
  if (policy.release.gate === null) return;
  const gate = await question(p, policy);
  if (gate.judged) return;
  await collectWords(p, gate);
  await measure(p, gate, similarity);
  await judgeAndLog(p, policy);
}

/** The question as it was first made; signed anew when the coordinator's key has changed since. */
async function question(p: RoundParts, policy: CheckedPolicy): Promise<GateRecord> {
  const { run, sites, head, generator } = await p.store.transaction(async (tx) => {
    const now = await runOf(p, tx);
    return {
      run: now,
      sites: await tx.sites(p.runId),
      head: await tx.logHead(p.runId),
      generator: await tx.generator(p.runId, now.round),
    };
  });
  if (run.gate !== undefined && claimedKid(run.gate.question) === p.keys.kid) return run.gate;
  if (generator === null) throw new FedError('STORE_CORRUPT', `run ${p.runId} has no generator`);
  const active = new Set(p.roster().sites.flatMap((s) => (s.status === 'active' ? [s.siteId] : [])));
  const asked =
    run.gate?.asked ?? sites.flatMap((s) => (s.epsilon !== null && active.has(s.siteId) ? [s.siteId] : [])).sort();
  if (asked.length === 0) throw new FedError('STORE_CORRUPT', 'no site that took part is left to be asked');
  const candidate = run.gate?.candidate ?? (await storeCandidate(p, policy, generator));
  const made = await signQuestion(p, { candidate, asked, checkpoint: head });
  const gate = { answers: {}, similarity: null, judged: false, signOffs: [], ...run.gate, ...made, asked, candidate };
  const sha256 = candidateSha256(candidate);
  await p.store.transaction(async (tx) => {
    await publishCheckpoint(tx, p.runId, head, p.keys);
    await tx.putRun({ ...(await runOf(p, tx)), gate });
    const body = { candidateSha256: sha256, question: made.question };
    await tx.appendLog(p.runId, { kind: 'gate-asked', body }, p.clock.now());
  });
  p.emit({ kind: 'gate-asked', asked, candidateSha256: sha256 });
  return gate;
}

async function storeCandidate(
  p: RoundParts,
  policy: CheckedPolicy,
  generator: NonNullable<Awaited<ReturnType<Tx['generator']>>>,
): Promise<Candidate> {
  if (p.trainer.released === undefined) throw new FedError('PARAMETER_INVALID', 'this trainer releases nothing');
  const state = await loadGeneratorState(p.blobs, p.runId, generator);
  const bytes = packFloat32(await p.trainer.released(state));
  await p.blobs.put(candidateBlob(p.runId), bytes);
  return candidateOf(policy, {
    runId: p.runId,
    policySha256: p.terms.policySha256,
    generatorSha256: generator.weights.sha256,
    releasedSha256: sha256Hex(bytes),
    bytes: bytes.length,
  });
}

async function signQuestion(p: RoundParts, of: { candidate: Candidate; asked: string[]; checkpoint: LogHead }) {
  const body: GateQuestion = { type: 'gate.question', ...of };
  const jws = await signJson(p.keys, body, { typ: QUESTION_TYP, audience: CONSORTIUM, nowMs: p.clock.now() });
  return { question: jws, questionSha256: sha256Hex(jws) };
}

/**
 * Waits until every site that was asked has answered or declined, or was revoked. There is no deadline: an answer that is
 * missing refuses the release, and a site that is away for a night must not cost the run.
 */
async function collectWords(p: RoundParts, { asked }: GateRecord): Promise<void> {
  let told = '';
  p.wake();
  for (;;) {
    const rings = p.bell.rings;
    const { answers } = await gateOf(p);
    const active = new Set(p.roster().sites.flatMap((s) => (s.status === 'active' ? [s.siteId] : [])));
    const missing = asked.filter((s) => answers[s] === undefined && active.has(s));
    if (missing.length === 0) return;
    const why = `waiting for ${missing.join(', ')}`;
    if (why !== told) p.emit({ kind: 'gate-waiting', why: (told = why) });
    await p.bell.wait(rings, null, p.clock, p.signal);
  }
}

/** A generator that draws no numbers is judged like one that was not measured: it does not leave. */
async function measure(p: RoundParts, gate: GateRecord, similarityOf: SimilarityOf | undefined): Promise<void> {
  if (gate.similarity !== null || similarityOf === undefined) return;
  const bytes = await p.blobs.read(candidateBlob(p.runId), 0, gate.candidate.bytes);
  if (sha256Hex(bytes) !== gate.candidate.releasedSha256)
    throw new FedError('STORE_CORRUPT', 'the stored candidate is not the one that was asked about');
  const similarity = await similarityOf(unpackFloat32(bytes), gate.candidate).catch((error: unknown) => {
    if (!(error instanceof FedError) || error.code !== 'GENERATOR_NOT_FINITE') throw error;
    p.emit({ kind: 'gate-unmeasured', code: error.code, detail: error.message });
    return null;
  });
  await p.store.transaction(async (tx) => {
    const run = await runOf(p, tx);
    if (run.gate !== undefined) await tx.putRun({ ...run, gate: { ...run.gate, similarity } });
  });
}

async function judgeAndLog(p: RoundParts, policy: CheckedPolicy): Promise<void> {
  const findings = [...(await measuredVerdict({ ...p, policy }))];
  const passed = findings.every((f) => f.holds);
  await p.store.transaction(async (tx) => {
    const run = await runOf(p, tx);
    if (run.gate === undefined || run.gate.judged) return;
    const { similarity, candidate } = run.gate;
    const body = { candidateSha256: candidateSha256(candidate), passed, similarity, findings };
    await tx.appendLog(p.runId, { kind: 'gate-judged', body }, p.clock.now());
    await tx.putRun({ ...run, gate: { ...run.gate, judged: true } });
  });
  p.emit({ kind: 'gate-judged', passed, findings });
}

async function runOf({ runId }: Pick<RoundParts, 'runId'>, tx: Tx): Promise<RunRecord> {
  const run = await tx.run(runId);
  if (run === null) throw new FedError('STORE_CORRUPT', `run ${runId} is not in the store`);
  return run;
}

/** Keys that changed and sites that left since the last round go into the log first. */
async function gateOf(p: RoundParts): Promise<GateRecord> {
  const { gate } = await p.store.transaction(async (tx) => {
    await enrolled(p, tx);
    return runOf(p, tx);
  });
  if (gate === undefined) throw new FedError('STORE_CORRUPT', `run ${p.runId} has asked nothing`);
  return gate;
}
