/** The rounds of a run as its log tells them: plans, answers, declines, seals, sums, generators, each in its place. */
import type { RoundPlan as Plan } from '../../protocol/plan.ts';
import { RoundPlan } from '../../protocol/plan.ts';
import { planDifferences } from '../../protocol/plan-differences.ts';
import { ANSWER_TYP, DECLINE_TYP, PLAN_TYP } from '../../protocol/round-messages.ts';
import type { AnswerStatement } from '../../protocol/round-messages.ts';
import { leastContributors, mostStepsOf } from '../../protocol/terms.ts';
import { canonicalJson, sha256Hex } from '../canonical.ts';
import type { LogDraft, LogEntry } from '../entry.ts';
import { readStatement } from '../statement.ts';
import type { ProblemCode } from './findings.ts';
import type { RunAudit, SiteAudit } from './run-audit.ts';
import { wrongWithSkip } from './skipped-phase.ts';
import { knowsSumsOf, sumPlace } from './sum-place.ts';

/** How one attempt went, for people. */
export interface AttemptSummary {
  readonly round: number;
  readonly attempt: number;
  readonly kind: Plan['kind'];
  readonly entry: number;
  readonly timeMs: number;
  readonly steps: number;
  readonly invited: readonly string[];
  contributors: readonly string[];
  /** Site to why it is not in: its own code, a refusal's, or the deadline. */
  readonly absent: Record<string, string>;
  readonly declined: { siteId: string; code: string; entry: number }[];
  readonly refused: { siteId: string; code: string; entry: number }[];
  outcome: 'open' | 'closed' | { void: string };
  generatorSha256: string | null;
  /** Digests of the sums of this attempt, in order. */
  readonly sums: string[];
}

/** An attempt under way. */
interface Attempt {
  readonly plan: Plan;
  readonly planSha256: string;
  readonly summary: AttemptSummary;
  phase: number;
  /** Per phase, who has answered. */
  readonly answered: Map<number, Set<string>>;
  readonly out: Set<string>;
  /** Sites whose statement has come since the plan. */
  readonly stated: Set<string>;
  sealed: number | null;
  /** The phase that follows the one that is sealed: later by one for each that the log says was skipped. */
  next: number;
  /** Sums so far. */
  sums: number;
}

type RoundDraft = Exclude<
  LogDraft,
  {
    kind:
      | 'run-started'
      | 'policy-adopted'
      | 'software-changed'
      | 'site-enrolled'
      | 'site-keys-changed'
      | 'site-revoked'
      | 'coordinator-key-changed'
      | 'site-adopted'
      | 'epsilon-statement'
      | 'gate-asked'
      | 'gate-answered'
      | 'gate-judged'
      | 'release-signed-off'
      | 'released'
      | 'operator-action'
      | 'run-finished';
  }
>;
type BodyOf<K extends RoundDraft['kind']> = Extract<RoundDraft, { kind: K }>['body'];

export class RoundAudit {
  readonly #run: RunAudit;
  readonly attempts: AttemptSummary[] = [];
  /** The generator of now, as the log has it, and every one there was. */
  #generator = '';
  readonly digests = new Set<string>();
  /** Rounds that were closed. */
  closed = 0;
  #open: Attempt | null = null;
  #last: { round: number; attempt: number; closed: boolean } | null = null;
  /** The last round for which a site was counted: an update fits every attempt, and is paid for once. */
  readonly #counted = new Map<string, number>();
  /** Checkpoints of plans, newest last, for the tree to be compared with. */
  onPlan: (index: number, plan: Plan) => void = () => undefined;

  constructor(run: RunAudit) {
    this.#run = run;
  }

  get generatorSha256(): string {
    return this.#generator;
  }
  set generatorSha256(digest: string) {
    this.#generator = digest;
    this.digests.add(digest);
  }
  /** The round that is open, or came last. */
  get round(): number {
    return this.#open?.plan.round ?? this.closed;
  }

  statement(_index: number, siteId: string): void {
    this.#open?.stated.add(siteId);
  }

  take(entry: LogEntry, draft: RoundDraft): void {
    const { index } = entry;
    if (draft.kind === 'plan') return this.#plan(entry, draft.body);
    const open = this.#open;
    const { round, attempt } = draft.body;
    if (open === null || open.plan.round !== round || open.plan.attempt !== attempt) {
      // A refusal or a late word may speak of an attempt that is over; everything else may not.
      if (draft.kind === 'refused') return this.#late(index, draft.body);
      return this.#wrong('ORDER', index, `${draft.kind} of round ${round}.${attempt}, which is not open`);
    }
    switch (draft.kind) {
      case 'answer-accepted':
        return this.#answer(index, open, draft.body);
      case 'declined':
        return this.#declined(index, open, draft.body);
      case 'refused':
        open.summary.refused.push({ siteId: draft.body.siteId, code: draft.body.code, entry: index });
        return;
      case 'sealed':
        return this.#sealed(index, open, draft.body);
      case 'phase-skipped':
        return this.#skipped(index, open, draft.body);
      case 'void':
        return this.#voided(index, open, draft.body);
      case 'aggregated':
        return this.#aggregated(index, open, draft.body);
      case 'discriminator-updated':
        return;
      case 'generator-updated':
        return this.#updated(index, open, draft.body);
    }
  }

  #wrong(code: ProblemCode, index: number, detail: string): void {
    this.#run.findings.problem(code, index, detail);
  }

  #late(index: number, b: BodyOf<'refused'>): void {
    const found = this.attempts.findLast((a) => a.round === b.round && a.attempt === b.attempt);
    if (found === undefined) this.#wrong('ORDER', index, `refusal in round ${b.round}.${b.attempt}, which never was`);
    else found.refused.push({ siteId: b.siteId, code: b.code, entry: index });
  }

  #plan({ index, timeMs }: LogEntry, b: BodyOf<'plan'>): void {
    const { findings, terms, coordinators, runId } = this.#run;
    const claimed = readStatement(b.plan);
    const { data: plan } = RoundPlan.safeParse(claimed?.body);
    if (claimed === null || plan === undefined)
      return this.#wrong('POLICY', index, 'no plan under the coordinator’s signature');
    const key = coordinators.at(index);
    if (key === null) findings.gap('plans signed with a key of the coordinator that is not known to be its own');
    else this.#run.verified(index, 'the coordinator', key, claimed, PLAN_TYP);
    const name = `plan ${plan.round}.${plan.attempt}`;
    const same = b.round === plan.round && b.attempt === plan.attempt && plan.runId === runId;
    if (!same || canonicalJson(b.checkpoint) !== canonicalJson(plan.checkpoint) || sha256Hex(b.plan) !== b.planSha256)
      this.#wrong('ORDER', index, `${name}: the entry says another thing than the plan`);
    this.#inTurn(index, plan, name);
    for (const siteId of plan.invited) this.#run.activeSite(index, siteId);
    if (terms !== null)
      for (const detail of planDifferences(plan, terms, mostStepsOf(terms)))
        findings.problem('POLICY', index, `${name}: ${detail}`);
    if (plan.generatorSha256 !== null && plan.generatorSha256 !== this.#generator)
      this.#wrong('GENERATOR', index, `${name} starts from ${plan.generatorSha256}; the last was ${this.#generator}`);
    if (plan.checkpoint.size > index) this.#wrong('ORDER', index, `${name} rests on entries that come after it`);
    this.onPlan(index, plan);
    const { round, attempt, kind, invited, discriminatorSteps: steps } = plan;
    const summary: AttemptSummary = {
      ...{ round, attempt, kind, invited, steps, timeMs, entry: index, contributors: [], absent: {} },
      ...{ declined: [], refused: [], outcome: 'open', generatorSha256: null, sums: [] },
    };
    this.attempts.push(summary);
    const planSha256 = b.planSha256;
    this.#open = {
      ...{ plan, planSha256, summary, phase: 0, sealed: null, next: 1, sums: 0 },
      ...{ answered: new Map(), out: new Set(), stated: new Set() },
    };
  }

  /** A round's first attempt follows the closing of the round before; another, a void one. */
  #inTurn(index: number, plan: Plan, name: string): void {
    const last = this.#last;
    const next =
      last === null || last.closed
        ? plan.round === this.closed && plan.attempt === 0
        : plan.round === last.round && plan.attempt === last.attempt + 1;
    if (!next || this.#open !== null) this.#wrong('ORDER', index, `${name} is not the next`);
  }

  #site(index: number, open: Attempt, siteId: string): SiteAudit | null {
    if (!open.plan.invited.includes(siteId)) {
      this.#wrong('ORDER', index, `${siteId} was not invited to round ${open.plan.round}.${open.plan.attempt}`);
      return null;
    }
    return this.#run.sites.get(siteId) ?? null;
  }

  #answer(index: number, open: Attempt, b: BodyOf<'answer-accepted'>): void {
    const site = this.#site(index, open, b.siteId);
    if (site === null) return;
    if (open.sealed !== null && b.phase === open.next) [open.phase, open.sealed] = [b.phase, null];
    if (b.phase !== open.phase || open.sealed !== null)
      this.#wrong('ORDER', index, `answer of ${b.siteId} to phase ${b.phase}, which is not open`);
    if (open.out.has(b.siteId)) this.#wrong('ORDER', index, `${b.siteId} had said no`);
    const answered = open.answered.get(b.phase) ?? new Set<string>();
    if (answered.has(b.siteId)) this.#wrong('ORDER', index, `a second answer of ${b.siteId}`);
    open.answered.set(b.phase, answered.add(b.siteId));
    site.answered += 1;
    if (b.phase === 0) this.#count(open.plan, site);
    const claimed = readStatement(b.signature);
    const said = claimed?.body as Partial<AnswerStatement> | null | undefined;
    const { runId, round, attempt } = open.plan;
    const fits =
      said?.runId === runId &&
      said.round === round &&
      said.attempt === attempt &&
      said.phase === b.phase &&
      said.siteId === b.siteId &&
      said.planSha256 === open.planSha256;
    if (claimed === null || !fits)
      return this.#wrong('SIGNATURE', index, `${b.siteId} signed an answer to another place or plan`);
    this.#run.verified(index, b.siteId, site.keys.at(-1)!, claimed, ANSWER_TYP);
  }

  /** What an answer to the first phase has cost its site, at least; pooled steps are counted when they are summed. */
  #count({ kind, round, discriminatorSteps }: Plan, site: SiteAudit): void {
    if (kind === 'discriminator' || this.#counted.get(site.siteId) === round) return;
    this.#counted.set(site.siteId, round);
    const account = this.#run.account(site);
    if (kind === 'moments') account?.require('moments', 1);
    else account?.require('steps', discriminatorSteps);
  }

  #declined(index: number, open: Attempt, b: BodyOf<'declined'>): void {
    const site = this.#site(index, open, b.siteId);
    if (site === null) return;
    const { siteId, code } = b;
    open.out.add(siteId);
    open.summary.declined.push({ siteId, code, entry: index });
    const { runId, round, attempt } = open.plan;
    const { planSha256 } = open;
    this.#run.signed(index, site, b.signature, DECLINE_TYP, { siteId, runId, round, attempt, code, planSha256 });
  }

  #sealed(index: number, open: Attempt, b: BodyOf<'sealed'>): void {
    const { plan } = open;
    const { terms } = this.#run;
    if (open.sealed !== null && b.phase === open.next) [open.phase, open.sealed] = [b.phase, null];
    if (b.phase !== open.phase || open.sealed !== null)
      this.#wrong('ORDER', index, `phase ${b.phase} is sealed and was not open`);
    const answered = open.answered.get(b.phase) ?? new Set();
    if (!sameSites(b.contributors, answered)) this.#wrong('ORDER', index, 'sealed with others than those who answered');
    this.#missing(index, open, b);
    if (terms !== null && plan.scheme === 'clear' && b.contributors.length < leastContributors(terms, plan))
      this.#wrong(
        'POLICY',
        index,
        `sealed with ${b.contributors.length} of at least ${leastContributors(terms, plan)}`,
      );
    open.sealed = b.phase;
    open.next = b.phase + 1;
  }

  #skipped(index: number, open: Attempt, b: BodyOf<'phase-skipped'>): void {
    const { policy, findings } = this.#run;
    const { plan, sealed, answered } = open;
    if (policy === null) findings.gap('whether phases may be skipped in rounds of so many sites');
    const wrong =
      sealed === null || b.phase !== open.next
        ? 'which is not the next'
        : wrongWithSkip(policy, plan, sealed, b.phase, answered);
    if (wrong !== null) this.#wrong('ORDER', index, `phase ${b.phase} is skipped, ${wrong}`);
    open.next = b.phase + 1;
  }

  #missing(index: number, open: Attempt, b: BodyOf<'sealed' | 'void'>): void {
    const inTime = new Set('contributors' in b ? b.contributors : b.answered);
    const absent = open.plan.invited.filter((s) => !inTime.has(s));
    if (!sameSites(b.missing, new Set(absent))) this.#wrong('ORDER', index, 'names others as missing than are');
    for (const siteId of absent) open.summary.absent[siteId] = b.why[siteId] ?? 'deadline';
  }

  #voided(index: number, open: Attempt, b: BodyOf<'void'>): void {
    this.#missing(index, open, b);
    open.summary.outcome = { void: b.code };
    this.#close(open, false);
  }

  #aggregated(index: number, open: Attempt, b: BodyOf<'aggregated'>): void {
    const { plan, summary } = open;
    const { terms } = this.#run;
    if (b.scheme !== plan.scheme) this.#wrong('ORDER', index, `summed by ${b.scheme}; the plan has ${plan.scheme}`);
    if (terms !== null && b.contributors.length < leastContributors(terms, plan))
      this.#wrong('POLICY', index, `a sum of ${b.contributors.length}; at least ${leastContributors(terms, plan)}`);
    if (terms !== null && plan.kind === 'generator' && b.clipNorm !== terms.updateClipNorm)
      this.#wrong('POLICY', index, `clipped to ${b.clipNorm}; the policy has ${terms.updateClipNorm}`);
    this.#summed(index, open, b);
    for (const siteId of b.contributors) {
      const site = this.#run.sites.get(siteId);
      if (plan.kind === 'discriminator' && site !== undefined) this.#run.account(site)?.require('steps', 1);
    }
    summary.contributors = b.contributors;
    summary.sums.push(...b.sumSha256);
  }

  /** After the phase that opens a sum, of those alone whose update is in, and no more sums than the plan has steps. */
  #summed(index: number, open: Attempt, b: BodyOf<'aggregated'>): void {
    const { plan, sealed, answered } = open;
    if (!knowsSumsOf(plan.scheme)) return this.#run.findings.gap(`where sums of scheme ${plan.scheme} stand`);
    const place = sumPlace(plan, open.sums++);
    if (place === null) return this.#wrong('ORDER', index, 'a sum more than the plan has steps');
    if (sealed !== place.sealed)
      this.#wrong('ORDER', index, `summed before phase ${place.sealed} was sealed, which opens the sum`);
    for (const siteId of b.contributors)
      if (!answered.get(place.uploads)?.has(siteId))
        this.#wrong('ORDER', index, `${siteId} is in the sum and sent no update`);
  }

  #updated(index: number, open: Attempt, b: BodyOf<'generator-updated'>): void {
    const { summary, plan } = open;
    if (summary.sums.length === 0) this.#wrong('ORDER', index, 'the generator moved without a sum');
    if (plan.kind !== 'discriminator' && !sameSites(b.contributors, new Set(summary.contributors)))
      this.#wrong('ORDER', index, 'the generator moved by others than were summed');
    for (const siteId of b.contributors)
      if (!open.stated.has(siteId))
        this.#wrong('EPSILON', index, `${siteId} took part in round ${plan.round} and stated no epsilon`);
    this.generatorSha256 = b.generatorSha256;
    summary.generatorSha256 = b.generatorSha256;
    summary.outcome = 'closed';
    this.closed += 1;
    this.#close(open, true);
  }

  #close({ plan }: Attempt, closed: boolean): void {
    this.#open = null;
    this.#last = { round: plan.round, attempt: plan.attempt, closed };
  }
}

const sameSites = (listed: readonly string[], found: ReadonlySet<string>): boolean =>
  listed.length === found.size && listed.every((s) => found.has(s));
