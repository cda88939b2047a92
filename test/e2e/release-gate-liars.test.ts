/** Parties that cheat the release gate, and who finds it: the site that is asked, or whoever verifies the log. */
import { setImmediate as quiet } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { exportAudit } from '../../cli/audit/export-folder.ts';
import { verifyFolder } from '../../cli/audit/verify-folder.ts';
import { auditOwnLog } from '../../coordinator/own-log.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import type { LogDraft } from '../../shared/audit/entry.ts';
import { GateQuestion, QUESTION_TYP, SIGN_OFF_TYP, type SignOffStatement } from '../../shared/gate/answers.ts';
import { candidateOf, candidateSha256 } from '../../shared/gate/candidate.ts';
import { bodyOf } from '../../shared/audit/jws-body.ts';
import { createSigningKeys } from '../../shared/identity/keys.ts';
import { CONSORTIUM, signJson } from '../../shared/identity/signed.ts';
import { policySha256 } from '../../shared/policy/load.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { canonicalJson, sha256Hex } from '../../shared/audit/canonical.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { recipeId, type ReleaseRecipe, SignedManifest } from '../../shared/release/manifest.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { handedOver, until } from '../support/audit-rig.ts';
import { temporaryFolder } from '../support/cli-rig.ts';
import { testGate } from '../support/gate-rig.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { agentOf, castOf, coordinatorOf, RUN_ID, StubComputation, testPolicy } from '../support/round-rig.ts';

const [ada, bo, eve] = [createSigningKeys(), createSigningKeys(), createSigningKeys()];
const people = [
  { name: 'Ada', key: ada.signing.x },
  { name: 'Bo', key: bo.signing.x },
];
const gate = { ...testGate, noiseMultiplier: 12, leastPatients: 3000, signOff: { needed: 2, people } };
const policy = testPolicy({ rounds: 1, minSites: 3, quorum: 3, gate });
const cast = castOf(3);
const alike = async () => policy.model.classes.map(() => 0.4);

async function finished(o: { computation?: (id: string) => StubComputation } = {}) {
  const [store, blobs, clock] = [new MemoryStore(), new MemoryBlobStore(), new ManualClock()];
  const coordinator = coordinatorOf(cast, policy, { store, blobs, clock, similarity: alike });
  const ids = [...cast.sites.keys()];
  const parts = ids.map((id) => ({ id, ledger: new Ledger(':memory:'), outbox: new Outbox(':memory:') }));
  const agents = parts.map(({ id, ...own }) =>
    agentOf(cast, policy, id, coordinator, { ...own, clock, ...(o.computation && { computation: o.computation(id) }) }),
  );
  let over = false;
  const all = Promise.all([coordinator.run(), ...agents.map((a) => a.run())]).then(() => (over = true));
  await until(clock, () => over);
  await all;
  const run = (await store.transaction((tx) => tx.run(RUN_ID)))!;
  const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 10_000));
  const append = (...drafts: LogDraft[]) =>
    store.transaction(async (tx) => {
      for (const draft of drafts) await tx.appendLog(RUN_ID, draft, clock.now());
    });
  const problems = async () =>
    (await auditOwnLog({ store, runId: RUN_ID, policy, keys: cast.coordinator })).findings.sorted();
  return { store, run, gate: run.gate!, log, append, problems, parts, clock };
}

const statementOf = (name: string, candidate: string): SignOffStatement => ({
  runId: RUN_ID,
  policySha256: policySha256(policy),
  candidateSha256: candidate,
  name,
});
async function signOff(name: string, candidate: string, keys = name === 'Ada' ? ada : bo): Promise<LogDraft> {
  const body = statementOf(name, candidate);
  const statement = await signJson(keys, body, { typ: SIGN_OFF_TYP, audience: CONSORTIUM, nowMs: 0 });
  return { kind: 'release-signed-off', body: { candidateSha256: candidate, name, statement } };
}
const released = (generatorSha256: string, manifestSha256 = 'f'.repeat(64)): LogDraft => ({
  kind: 'released',
  body: { generatorSha256, images: 5, manifestSha256 },
});

/** A manifest as a release under this policy has it, but for the verdict. */
function manifestAbout(generatorSha256: string, gate: { candidateSha256: string } | null): string {
  const named = { runId: RUN_ID, policySha256: policySha256(policy), generatorSha256 };
  const recipe: ReleaseRecipe = {
    ...{ format: 'veilgan-recipe/1', ...named, modelSha256: 'a'.repeat(64), seed: 's', batch: 64 },
    ...{
      classes: [{ name: 'a', images: 5 }],
      files: 'png',
      bits: 8,
      mark: 'none',
      licence: 'CC0-1.0',
      tool: 'VeilGAN',
    },
  };
  const manifest: SignedManifest = {
    ...{ format: 'veilgan-release/2', ...named, images: 5, recipe, recipeSha256: recipeId(recipe) },
    made: { software: 's', engine: 'e', processor: 'p', encoder: 'e', date: '2026-01-01' },
    log: { entries: 1, root: 'a'.repeat(64), checkpoint: null, outcome: 'completed', rounds: 1 },
    ...{ epsilon: { bound: 1, delta: 1e-5, sites: [] }, metrics: [], files: [] },
    gate: gate && { passed: true, ...gate, findings: [], signOffs: [] },
    signer: { kid: cast.coordinator.kid, key: publicPart(cast.coordinator.signing) },
  };
  return canonicalJson(SignedManifest.parse(manifest));
}

test('an honest release, signed by two people, is found right; each of these is found wrong at its entry', async () => {
  const honest = await finished();
  const sha256 = candidateSha256(honest.gate.candidate);
  const { generatorSha256 } = honest.gate.candidate;
  expect(await honest.problems()).toEqual([]);
  await honest.append(await signOff('Ada', sha256), await signOff('Bo', sha256), released(generatorSha256));
  expect(await honest.problems()).toEqual([]);

  const initial = (honest.log[0].body as { generatorSha256: string }).generatorSha256;
  const cases: [string, LogDraft[], RegExp][] = [
    ['nobody has signed', [released(generatorSha256)], /images left with 0 of 2 signatures/],
    [
      'one person twice',
      [await signOff('Ada', sha256), await signOff('Ada', sha256), released(generatorSha256)],
      /images left with 1 of 2/,
    ],
    ['a stranger’s key', [await signOff('Ada', sha256, eve)], /veilgan-sign-off\+jws of Ada/],
    ['a name that the policy does not have', [await signOff('Eve', sha256, eve)], /Eve is nobody whom the policy/],
    ['a signature under another candidate', [await signOff('Ada', 'a'.repeat(64))], /Ada signed what the gate was not/],
    [
      'another generator of the run than the one that was judged',
      [await signOff('Ada', sha256), await signOff('Bo', sha256), released(initial)],
      /was released; the gate has judged/,
    ],
  ];
  for (const [what, drafts, wrong] of cases) {
    const run = await finished();
    const own = candidateSha256(run.gate.candidate);
    expect(own).toBe(sha256);
    await run.append(...drafts);
    const [problem] = await run.problems();
    expect([what, problem?.detail]).toEqual([what, expect.stringMatching(wrong)]);
    expect(problem.entry).toBe(run.log.length + drafts.length - 1);
  }
});

test('audit verify holds a manifest to the candidate that the log’s gate has judged', async () => {
  using root = temporaryFolder();
  const found = async (name: string, gate: (judged: string) => { candidateSha256: string } | null) => {
    const run = await finished();
    const judged = candidateSha256(run.gate.candidate);
    const { generatorSha256 } = run.gate.candidate;
    const text = manifestAbout(generatorSha256, gate(judged));
    const sha256 = sha256Hex(text);
    await run.append(await signOff('Ada', judged), await signOff('Bo', judged), released(generatorSha256, sha256));
    const common = { runId: RUN_ID, store: run.store, keys: cast.coordinator, policy, policyText: JSON.stringify(policy) }; // prettier-ignore
    const out = root.at(name);
    await exportAudit({ ...common, out, roster: null, blobs: null, manifests: new Map([[sha256, text]]) });
    const { problems } = await verifyFolder(out, { keys: handedOver(cast) });
    return problems.map(({ detail, entry }) => [detail, entry === run.log.length + 2]);
  };
  expect(await found('honest', (judged) => ({ candidateSha256: judged }))).toEqual([]);
  expect(await found('another', () => ({ candidateSha256: 'c'.repeat(64) }))).toEqual([
    [expect.stringMatching(/^the manifest is about candidate c{64}; the gate has judged/), true],
  ]);
  expect(await found('none', () => null)).toEqual([
    ['the policy has a release gate, and the manifest no verdict', true],
  ]);
});

/** Says yes to the first question. */
class Copied extends StubComputation {
  override get gate() {
    const own = super.gate;
    return own && { ...own, words: async () => ({ kind: 'answered', memorisation: 'yes', membership: 'no' }) as const };
  }
}

test('a coordinator that writes "passed" over a yes, or releases past a refusal, is found', async () => {
  const run = await finished({
    computation: (id) => (id === 'site-b' ? new Copied(id, policy) : new StubComputation(id, policy)),
  });
  const judged = run.log.find((e) => e.kind === 'gate-judged')!;
  expect(judged.body).toMatchObject({ passed: false });
  expect(await run.problems()).toEqual([]);
  const sha256 = candidateSha256(run.gate.candidate);
  await run.append(
    await signOff('Ada', sha256),
    await signOff('Bo', sha256),
    released(run.gate.candidate.generatorSha256),
  );
  expect((await run.problems()).map((p) => p.detail)).toEqual(['images left that the release gate had refused']);

  // The same log with another verdict in its place, everything after it anew.
  const liar = new MemoryStore();
  const body = judged.body as { findings: { holds: boolean }[] };
  const passed = { ...body, passed: true, findings: body.findings.map((f) => ({ ...f, holds: true })) };
  await liar.transaction(async (tx) => {
    for (const { kind, body: own, timeMs } of run.log)
      await tx.appendLog(RUN_ID, { kind, body: kind === 'gate-judged' ? passed : own } as LogDraft, timeMs);
  });
  const { findings } = await auditOwnLog({ store: liar, runId: RUN_ID, policy, keys: cast.coordinator });
  expect(findings.sorted().map((p) => [p.entry, p.detail])).toContainEqual([
    judged.index,
    expect.stringMatching(/the verdict says of memorisation what the log does not show: site-b found copies/),
  ]);
});

/** Asks a site that has answered once more, through the coordinator's own signature. */
async function askAgain(
  run: Awaited<ReturnType<typeof finished>>,
  change: (q: GateQuestion) => GateQuestion,
): Promise<{ statements: unknown[]; entries: number; events: string[] }> {
  const question = change(GateQuestion.parse(bodyOf(run.gate.question)));
  const jws = await signJson(cast.coordinator, question, { typ: QUESTION_TYP, audience: CONSORTIUM, nowMs: 0 });
  const { id, ledger, outbox } = run.parts[0];
  const store = run.store;
  const real = directLink(coordinatorOf(cast, policy, { store, clock: run.clock }), id);
  const statements: unknown[] = [];
  const link: CoordinatorLink = {
    call: async (type, payload) => {
      if (type === 'site.next')
        return { kind: 'gate', question: jws, released: { sha256: question.candidate.releasedSha256, bytes: 24 } };
      if (type !== 'gate.answer') return real.call(type, payload);
      statements.push((bodyOf((payload as { answer: string }).answer) as { words: unknown }).words);
      return null;
    },
    onWake: () => () => undefined,
    close: async () => undefined,
  };
  const events: string[] = [];
  const computation = new StubComputation(id, policy, true);
  computation.gateCalls = 1; // Whatever it works out now is another word than before.
  const agent = agentOf(cast, policy, id, link, {
    ...{ ledger, outbox, clock: run.clock, computation },
    onEvent: (e) => events.push(e.kind === 'declined' ? e.code : e.kind),
  });
  const running = agent.run();
  while (statements.length === 0 && events.length === 0) await quiet();
  await agent.stop();
  await running;
  return { statements, entries: ledger.entries().length, events };
}

test('asked the same again, a site gives the same words; asked about another candidate, it declines and pays nothing', async () => {
  const run = await finished();
  const before = run.parts[0].ledger.entries().length;
  const same = await askAgain(run, (q) => q);
  expect(same.statements[0]).toEqual(run.gate.answers['site-a'].words);
  expect(same.entries).toBe(before);

  const other = await askAgain(run, (q) => {
    const { candidate } = q;
    return { ...q, candidate: candidateOf(policy, { ...candidate, releasedSha256: sha256Hex('another') }) };
  });
  expect(other).toMatchObject({ statements: [{ kind: 'declined', code: 'GATE_ASKED' }], entries: before });
  expect(other.events).toEqual(['GATE_ASKED']);

  const seeds = await askAgain(run, (q) => ({ ...q, candidate: { ...q.candidate, seed: sha256Hex('harmless') } }));
  expect(seeds.statements).toEqual([{ kind: 'declined', code: 'POLICY_MISMATCH' }]);
  expect(run.parts[0].ledger.entries().length).toBe(before);
});
