/**
 * The release gate as a run's log tells it: the question, the sites' words, the verdict, the signatures of people, and
 * whether what left is what they were about. The verdict is worked out again from what the log itself shows.
 */
import { type PublicSigningKey } from '../../identity/jwk.ts';
import { GATE_ANSWER_TYP, GateQuestion, QUESTION_TYP, SIGN_OFF_TYP } from '../../gate/answers.ts';
import { type Candidate, candidateOf, candidateSha256 } from '../../gate/candidate.ts';
import { measuredFindings } from '../../gate/findings.ts';
import type { GateFinding, GateWords } from '../../gate/outcome.ts';
import type { ReleaseGate } from '../../policy/gate-schema.ts';
import type { DeepReadonly } from '../../policy/freeze.ts';
import { canonicalJson } from '../canonical.ts';
import type { LogDraft } from '../entry.ts';
import { readStatement } from '../statement.ts';
import type { RunAudit } from './run-audit.ts';

export type GateDraft = Extract<
  LogDraft,
  { kind: 'gate-asked' | 'gate-answered' | 'gate-judged' | 'release-signed-off' }
>;
type BodyOf<K extends GateDraft['kind']> = Extract<GateDraft, { kind: K }>['body'];

/** What the log says of the gate, for people. */
export interface GateSummary {
  readonly candidateSha256: string;
  readonly entry: number;
  readonly answers: readonly { readonly siteId: string; readonly entry: number; readonly words: GateWords }[];
  readonly verdict: {
    readonly entry: number;
    readonly passed: boolean;
    readonly findings: readonly GateFinding[];
  } | null;
  readonly signOffs: readonly { readonly name: string; readonly entry: number }[];
}

export class GateAudit {
  readonly #run: RunAudit;
  #asked: { readonly index: number; readonly candidate: Candidate; readonly sha256: string; sites: string[] } | null =
    null;
  readonly #answers = new Map<string, { readonly index: number; readonly words: GateWords }>();
  #verdict: { readonly index: number; readonly passed: boolean; readonly findings: readonly GateFinding[] } | null =
    null;
  readonly #signed = new Map<string, number>();

  constructor(run: RunAudit) {
    this.#run = run;
  }

  /** Of what was asked about; null before. */
  get candidateSha256(): string | null {
    return this.#asked?.sha256 ?? null;
  }

  take(index: number, draft: GateDraft): void {
    const { policy } = this.#run;
    if (policy !== null && policy.release.gate === null)
      return this.#wrong(index, `${draft.kind} in a run whose policy has no release gate`);
    switch (draft.kind) {
      case 'gate-asked':
        return this.#question(index, draft.body);
      case 'gate-answered':
        return this.#answered(index, draft.body);
      case 'gate-judged':
        return this.#judged(index, draft.body);
      case 'release-signed-off':
        return this.#signedOff(index, draft.body);
    }
  }

  /** Whether what left may have left. @param generatorSha256 - as the entry of the release has it. */
  released(index: number, generatorSha256: string): void {
    const gate = this.#run.policy?.release.gate;
    if (gate == null) return;
    if (this.#verdict === null) this.#wrong(index, 'images left before the release gate had judged them');
    else if (!this.#verdict.passed) this.#wrong(index, 'images left that the release gate had refused');
    const { needed } = gate.signOff;
    if (this.#signed.size < needed) this.#wrong(index, `images left with ${this.#signed.size} of ${needed} signatures`);
    const judged = this.#asked?.candidate.generatorSha256;
    if (judged !== undefined && judged !== generatorSha256)
      this.#wrong(index, `generator ${generatorSha256} was released; the gate has judged ${judged}`);
  }

  summary(): GateSummary | null {
    if (this.#asked === null) return null;
    const verdict = this.#verdict;
    return {
      candidateSha256: this.#asked.sha256,
      entry: this.#asked.index,
      answers: [...this.#answers].map(([siteId, { index, words }]) => ({ siteId, entry: index, words })),
      verdict: verdict && { entry: verdict.index, passed: verdict.passed, findings: verdict.findings },
      signOffs: [...this.#signed].map(([name, entry]) => ({ name, entry })),
    };
  }

  #wrong(index: number, detail: string): void {
    this.#run.findings.problem('RELEASE', index, detail);
  }

  #question(index: number, b: BodyOf<'gate-asked'>): void {
    const { coordinators, findings, rounds, planned, policy, runId } = this.#run;
    const claimed = readStatement(b.question);
    const { data: question } = GateQuestion.safeParse(claimed?.body);
    if (claimed === null || question === undefined)
      return this.#wrong(index, 'no question under the coordinator’s signature');
    const key = coordinators.at(index);
    if (key === null)
      findings.gap('a question of the release gate is signed with a key that is not known to be the coordinator’s');
    else this.#run.verified(index, 'the coordinator', key, claimed, QUESTION_TYP);
    const { candidate, asked } = question;
    if (candidateSha256(candidate) !== b.candidateSha256 || candidate.runId !== runId)
      this.#wrong(index, 'the entry says another thing than the question');
    if (rounds.closed !== planned) this.#wrong(index, `the gate asks after ${rounds.closed} of ${planned} rounds`);
    if (candidate.generatorSha256 !== rounds.generatorSha256)
      this.#wrong(
        index,
        `the gate asks about generator ${candidate.generatorSha256}; the last was ${rounds.generatorSha256}`,
      );
    if (policy !== null && canonicalJson(candidateOf(policy, candidate)) !== canonicalJson(candidate))
      this.#wrong(index, 'seed or class counts of the candidate are not those of the policy');
    if (candidate.policySha256 !== this.#run.policySha256) this.#wrong(index, 'a candidate of another policy');
    // Signed anew after a change of the coordinator's key, the question is still about the same candidate.
    if (this.#asked !== null && this.#asked.sha256 !== b.candidateSha256)
      return this.#wrong(index, 'the gate asks about a second candidate');
    this.#asked ??= { index, candidate, sha256: b.candidateSha256, sites: asked };
  }

  #answered(index: number, b: BodyOf<'gate-answered'>): void {
    const site = this.#run.activeSite(index, b.siteId);
    if (site === null) return;
    const { siteId, candidateSha256: sha256, words } = b;
    if (this.#asked?.sites.includes(siteId) !== true || this.#asked.sha256 !== sha256)
      return this.#wrong(index, `${siteId} answers what it was not asked`);
    if (this.#verdict !== null) this.#wrong(index, `${siteId} answers after the verdict`);
    if (this.#answers.has(siteId)) this.#wrong(index, `a second answer of ${siteId} to the gate`);
    this.#answers.set(siteId, { index, words });
    const expected = { siteId, runId: this.#run.runId, candidateSha256: sha256, words };
    this.#run.signed(index, site, b.statement, GATE_ANSWER_TYP, expected);
    if (words.kind === 'answered') this.#run.account(site)?.require('gate', 1);
  }

  #judged(index: number, b: BodyOf<'gate-judged'>): void {
    const { policy } = this.#run;
    if (this.#asked?.sha256 !== b.candidateSha256)
      return this.#wrong(index, 'a verdict on what the sites were not asked about');
    if (this.#verdict !== null) this.#wrong(index, 'a second verdict');
    const { findings, similarity } = b;
    let passed = b.passed;
    if (passed && !findings.every((f) => f.holds))
      this.#wrong(index, 'the gate passes with a bound that does not hold');
    if (policy?.release.gate != null)
      for (const own of this.#measured(policy.release.gate, similarity)) {
        const said = findings.find((f) => f.bound === own.bound);
        if (said?.holds === own.holds) continue;
        passed = false;
        this.#wrong(index, `the verdict says of ${own.bound} what the log does not show: ${own.say}`);
      }
    this.#verdict = { index, passed: passed && findings.some((f) => f.bound === 'log' && f.holds), findings };
  }

  /** The bounds that this log itself decides, from its own entries; how alike the images are is taken from the verdict. */
  #measured(gate: DeepReadonly<ReleaseGate>, similarity: BodyOf<'gate-judged'>['similarity']): GateFinding[] {
    const { policy, terms, sites } = this.#run;
    const took = [...sites.values()].filter((s) => s.series.length > 0);
    const evidence = took.map(({ siteId, series, revoked }) => ({
      siteId,
      epsilon: series.at(-1)?.epsilon ?? null,
      words: this.#answers.get(siteId)?.words ?? null,
      revoked,
    }));
    const epsilon = policy?.privacy.mechanism === 'dp-sgd' ? (terms?.epsilon ?? Infinity) : Infinity;
    return measuredFindings(gate, epsilon, policy?.model.classes ?? [], { sites: evidence, similarity });
  }

  #signedOff(index: number, b: BodyOf<'release-signed-off'>): void {
    const { policy, runId, policySha256 } = this.#run;
    const { name, candidateSha256: sha256 } = b;
    if (this.#asked?.sha256 !== sha256) return this.#wrong(index, `${name} signed what the gate was not asked about`);
    if (policy === null) return;
    const person = policy.release.gate?.signOff.people.find((p) => p.name === name);
    if (person === undefined) return this.#wrong(index, `${name} is nobody whom the policy lets sign`);
    const claimed = readStatement(b.statement);
    const expected = { runId, policySha256, candidateSha256: sha256, name };
    if (claimed === null || canonicalJson(claimed.body) !== canonicalJson(expected))
      return this.#run.findings.problem('SIGNATURE', index, `${name} signed another thing than the entry says`);
    const key: PublicSigningKey = { kty: 'OKP', crv: 'Ed25519', x: person.key };
    this.#run.verified(index, name, key, claimed, SIGN_OFF_TYP);
    if (!this.#signed.has(name)) this.#signed.set(name, index);
  }
}
