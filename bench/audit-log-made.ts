/** A long log without a training: real keys, plans, answers, statements and cosignatures of twenty sites, made in order. */
import { readFileSync } from 'node:fs';
import { hashJson, sha256Hex } from '../shared/audit/canonical.ts';
import { cosignCheckpoint, signCheckpoint, withCosignatures } from '../shared/audit/checkpoint.ts';
import type { LogDraft } from '../shared/audit/entry.ts';
import type { LogHead } from '../shared/audit/log.ts';
import { costOfEvents } from '../shared/dp/convert.ts';
import { withCount } from '../shared/dp/event.ts';
import { publicPart } from '../shared/identity/jwk.ts';
import {
  type SigningKeys,
  type SiteKeys,
  createSigningKeys,
  createSiteKeys,
  publicKeys,
} from '../shared/identity/keys.ts';
import { CONSORTIUM, signJson } from '../shared/identity/signed.ts';
import { epsilonOfPolicy, eventsOfPolicy } from '../shared/policy/cost.ts';
import { type CheckedPolicy, loadPolicy, policySha256 } from '../shared/policy/load.ts';
import { roundTermsOf } from '../shared/policy/views.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';
import {
  ADOPTION_TYP,
  ANSWER_TYP,
  EPSILON_TYP,
  type EpsilonStatement,
  PLAN_TYP,
  statementOf,
} from '../shared/protocol/round-messages.ts';
import { countDeclarers, publicSeedOf } from '../shared/protocol/terms.ts';
import { SOFTWARE } from '../shared/software.ts';

export const SITES = 20;
/** Entries of a round: plan, an answer and a statement of each site, seal, sum, generator. */
export const ENTRIES_A_ROUND = 4 + 2 * SITES;
const NOW = 1_800_000_000_000;

/** One answer as its two entries; they are appended in one transaction. */
export type Pair = readonly [LogDraft, LogDraft];

export interface MadeRound {
  readonly checkpoint: { readonly head: LogHead; readonly note: string };
  readonly plan: LogDraft;
  readonly answers: readonly Pair[];
  readonly closing: readonly LogDraft[];
  /** Cosignatures of the round's checkpoint, by site. */
  readonly cosignatures: readonly { readonly siteId: string; readonly line: string }[];
}

export class MadeLog {
  readonly runId = crypto.randomUUID();
  readonly coordinator: SigningKeys = createSigningKeys();
  readonly sites: ReadonlyMap<string, SiteKeys>;
  readonly policy: CheckedPolicy;
  readonly #terms;
  readonly #policySha256: string;
  readonly #ids: string[];
  #generator = sha256Hex('generator');
  #witnessed: string | null = null;
  #round = 0;
  readonly #epsilon = new Map<number, number>();

  constructor(rounds: number) {
    this.#ids = Array.from({ length: SITES }, (_, i) => `site-${String(i + 1).padStart(2, '0')}`);
    this.sites = new Map(this.#ids.map((id) => [id, createSiteKeys()]));
    this.policy = policyOf(rounds);
    this.#terms = roundTermsOf(this.policy);
    this.#policySha256 = policySha256(this.policy);
  }

  /** What a log begins with. */
  async opening(): Promise<LogDraft[]> {
    const { runId } = this;
    const { scheme, rounds } = this.#terms;
    const policy256 = this.#policySha256;
    const body = { runId, scheme, rounds, generatorSha256: this.#generator, software: SOFTWARE };
    const enrolled = [...this.sites].map(([siteId, keys]): LogDraft => ({
      kind: 'site-enrolled',
      body: { siteId, ...publicKeys(keys) },
    }));
    const adopted = [...this.sites].map(async ([siteId, keys]): Promise<LogDraft> => {
      const said = { siteId, runId, policySha256: policy256, software: SOFTWARE };
      const statement = await signJson(keys, said, { typ: ADOPTION_TYP, audience: CONSORTIUM, nowMs: NOW });
      return { kind: 'site-adopted', body: { siteId, policySha256: policy256, software: SOFTWARE, statement } };
    });
    return [
      { kind: 'run-started', body },
      { kind: 'policy-adopted', body: { policySha256: policy256 } },
      ...enrolled,
      ...(await Promise.all(adopted)),
    ];
  }

  /** The next round on a log that stands at `head`. */
  async round(head: LogHead): Promise<MadeRound> {
    const { runId } = this;
    const round = this.#round++;
    const terms = this.#terms;
    const kind = round < terms.momentRounds ? 'moments' : 'generator';
    const note = signCheckpoint(runId, head, this.coordinator.signing);
    const plan: RoundPlan = {
      type: 'round.plan',
      ...{ runId, round, attempt: 0, kind, policySha256: this.#policySha256, scheme: terms.scheme },
      generatorSha256: kind === 'moments' ? null : this.#generator,
      criticSha256: null,
      discriminatorSteps: kind === 'moments' ? 0 : 1,
      invited: this.#ids,
      declarers: countDeclarers(terms, this.#ids),
      publicSeed: publicSeedOf(runId, round, this.#policySha256),
      deadlineMs: terms.deadlineMs,
      roster: { version: SITES, sha256: sha256Hex('roster') },
      checkpoint: head,
      witnessed: this.#witnessed,
    };
    const jws = await signJson(this.coordinator, plan, { typ: PLAN_TYP, audience: CONSORTIUM, nowMs: NOW });
    const planSha256 = sha256Hex(jws);
    const answers = await Promise.all([...this.sites].map(([id, keys]) => this.#answer(id, keys, plan, planSha256)));
    const cosignatures = [...this.sites].map(([siteId, keys]) => ({
      siteId,
      line: cosignCheckpoint(runId, head, siteId, keys.signing, NOW),
    }));
    const lines = cosignatures.map((c) => c.line);
    this.#witnessed = withCosignatures(note, lines);
    this.#generator = sha256Hex(`generator ${round}`);
    const at = { round, attempt: 0 };
    const contributors = this.#ids;
    const clipNorm = kind === 'moments' ? null : terms.updateClipNorm;
    const sumSha256 = [sha256Hex(`sum ${round}`)];
    const closing: LogDraft[] = [
      { kind: 'sealed', body: { ...at, phase: 0, contributors, missing: [], why: {} } },
      { kind: 'aggregated', body: { ...at, scheme: terms.scheme, contributors, length: 300_000, clipNorm, sumSha256 } },
      { kind: 'generator-updated', body: { ...at, generatorSha256: this.#generator, contributors } },
    ];
    return {
      checkpoint: { head, note },
      plan: { kind: 'plan', body: { ...at, planSha256, checkpoint: head, plan: jws } },
      answers,
      closing,
      cosignatures,
    };
  }

  ending(): LogDraft {
    const body = { outcome: 'completed' as const, rounds: this.#round, generatorSha256: this.#generator };
    return { kind: 'run-finished', body };
  }

  async #answer(siteId: string, keys: SiteKeys, plan: RoundPlan, planSha256: string): Promise<Pair> {
    const { runId, round, attempt } = plan;
    const tensorSha256 = sha256Hex(`${siteId} ${round}`);
    const fakes = { fakeLoss: 0.7, fakeAccuracy: 0.6 };
    const answer = { runId, round, attempt, phase: 0, body: null, tensorSha256, fakes };
    const o = { audience: CONSORTIUM, nowMs: NOW };
    const signature = await signJson(keys, statementOf(siteId, planSha256, answer), { typ: ANSWER_TYP, ...o });
    const said = this.#statement(siteId, round);
    const { epsilon, delta } = said;
    const statement = await signJson(keys, said, { typ: EPSILON_TYP, ...o });
    return [
      { kind: 'answer-accepted', body: { round, attempt, phase: 0, siteId, signature } },
      { kind: 'epsilon-statement', body: { siteId, epsilon, delta, statement } },
    ];
  }

  #statement(siteId: string, round: number): EpsilonStatement {
    const [moment, step] = eventsOfPolicy(this.policy, siteId);
    const { delta } = this.#terms;
    const events = [moment, ...(round > 0 ? [withCount(step, round)] : [])];
    let epsilon = this.#epsilon.get(round);
    if (epsilon === undefined) {
      const { overflowDelta } = epsilonOfPolicy(this.policy, siteId);
      this.#epsilon.set(round, (epsilon = costOfEvents(events, delta - overflowDelta).epsilon));
    }
    const ledger = { size: round + 1, head: hashJson({ siteId, round }) };
    const { runId } = this;
    const entries = round + 1;
    const own = events.map((e) => ({ ...e }));
    const leftOut = { nonce: ledger.head.slice(0, 32), sha256: hashJson({ ledger }) };
    return { siteId, runId, policySha256: this.#policySha256, epsilon, delta, events: own, entries, ledger, leftOut };
  }
}

interface PolicyFile {
  why: Record<string, string>;
  log: unknown;
  training: Record<string, unknown>;
  privacy: Record<string, unknown>;
  warmStart: Record<string, unknown>;
  aggregation: Record<string, unknown>;
  [key: string]: unknown;
}

/** The research policy, for so many rounds of one step, with a quorum of eleven of twenty sites. */
function policyOf(rounds: number): CheckedPolicy {
  const path = new URL('../policies/research-consortium.json', import.meta.url);
  const file = JSON.parse(readFileSync(path, 'utf8')) as PolicyFile;
  file.aggregation = { scheme: 'clear', minSites: 11, minSurvivors: 11, deadlineSeconds: 600 };
  file.log = { witnessQuorum: 11 };
  const { critic: _, ...warmStart } = file.warmStart;
  file.warmStart = { ...warmStart, maxReleases: 1 };
  const { adaptiveSteps: __, rateDecay: ___, ...training } = file.training;
  file.training = { ...training, rounds: rounds - 1, discriminatorSteps: 1, warmupDiscriminatorSteps: 0 };
  Object.assign(file.privacy, { maxSteps: rounds, noiseMultiplier: 4, epsilon: 50 });
  const there = (path: string) => path.split('.').reduce<unknown>((at, k) => (at as PolicyFile | undefined)?.[k], file);
  file.why = Object.fromEntries(Object.entries(file.why).filter(([path]) => there(path) !== undefined));
  return loadPolicy(file, { availableSchemes: ['clear'] });
}

/** The public key that checkpoints are checked with. */
export const coordinatorKeyOf = (log: MadeLog) => publicPart(log.coordinator.signing);
