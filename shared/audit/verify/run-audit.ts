/**
 * Replays a run's log, entry by entry: is every entry possible where it stands, signed by whom it speaks for, and as the
 * policy has it? Whether the entries are those under the checkpoints is checked apart (`verify-log.ts`).
 */
import type { PublicSigningKey } from '../../identity/jwk.ts';
import { thumbprint } from '../../identity/jwk.ts';
import { type CheckedPolicy, policySha256 } from '../../policy/load.ts';
import { roundTermsOf } from '../../policy/views.ts';
import { ADOPTION_TYP, EPSILON_TYP, EpsilonStatement } from '../../protocol/round-messages.ts';
import type { RoundTerms } from '../../protocol/terms.ts';
import { canonicalJson } from '../canonical.ts';
import type { LogDraft, LogEntry } from '../entry.ts';
import { type Claimed, readStatement, signedBytesOf } from '../statement.ts';
import { EpsilonTable, SiteAccount } from './account.ts';
import type { Findings } from './findings.ts';
import { GateAudit } from './gate-audit.ts';
import { RoundAudit } from './round-audit.ts';
import type { CoordinatorKeys } from './coordinator-keys.ts';
import type { SignatureQueue } from './signature-queue.ts';

/** What the run's log says of one site. */
export interface SiteAudit {
  readonly siteId: string;
  /** Every signing key it has had, the last one being its key of now. */
  readonly keys: PublicSigningKey[];
  revoked: boolean;
  /** The software under which it adopted the policy last; null when it never did. */
  software: string | null;
  account: SiteAccount | null;
  /** Round and epsilon, as stated. */
  readonly series: { round: number; epsilon: number | null }[];
  answered: number;
}

/** What an auditor brings: keys it trusts, and the files of the folder. */
export interface AuditTrust {
  readonly coordinator: PublicSigningKey;
  /** Keys of sites, where they were handed over by another way than this folder; null: those of the log. */
  readonly sites: ReadonlyMap<string, readonly string[]> | null;
}

export interface Released {
  readonly index: number;
  readonly generatorSha256: string;
  readonly images: number;
  readonly manifestSha256: string;
}

/** What may still be logged of a run that is over. */
const AFTER_THE_END: readonly LogDraft['kind'][] = ['operator-action', 'released', 'release-signed-off'];

export class RunAudit {
  readonly findings: Findings;
  readonly queue: SignatureQueue;
  readonly trust: AuditTrust;
  readonly coordinators: CoordinatorKeys;
  readonly sites = new Map<string, SiteAudit>();
  readonly rounds: RoundAudit;
  readonly gate: GateAudit;
  readonly releases: Released[] = [];
  readonly operatorActions: { index: number; timeMs: number; action: string; by: string }[] = [];
  readonly software: { index: number; software: string }[] = [];
  readonly #policyOf: (sha256: string) => CheckedPolicy | null;
  readonly #table = new EpsilonTable();
  runId: string | null = null;
  policySha256: string | null = null;
  policy: CheckedPolicy | null = null;
  terms: RoundTerms | null = null;
  /** Rounds of the run, as it was begun. */
  planned = 0;
  finished: 'completed' | 'stopped' | null = null;

  constructor(o: {
    findings: Findings;
    queue: SignatureQueue;
    trust: AuditTrust;
    coordinators: CoordinatorKeys;
    policyOf: (sha256: string) => CheckedPolicy | null;
  }) {
    this.findings = o.findings;
    this.queue = o.queue;
    this.trust = o.trust;
    this.coordinators = o.coordinators;
    this.#policyOf = o.policyOf;
    this.rounds = new RoundAudit(this);
    this.gate = new GateAudit(this);
  }

  /** Takes the next entry, whose kind and form are known. */
  take(entry: LogEntry, draft: LogDraft): void {
    const { index, timeMs } = entry;
    if (index === 0 && draft.kind !== 'run-started') this.#order(index, 'the log does not begin with a run');
    if (this.finished !== null && !AFTER_THE_END.includes(draft.kind))
      this.#order(index, `${draft.kind} after the run was finished`);
    switch (draft.kind) {
      case 'run-started':
        return this.#started(index, draft.body);
      case 'policy-adopted':
        return this.#adopted(index, draft.body.policySha256);
      case 'software-changed':
        return void this.software.push({ index, software: draft.body.software });
      case 'site-enrolled':
      case 'site-keys-changed':
        return this.#keys(index, draft);
      case 'site-revoked':
        return this.#revoked(index, draft.body.siteId);
      case 'coordinator-key-changed':
        return this.#coordinatorKey(index, draft.body);
      case 'site-adopted':
        return this.#siteAdopted(index, draft.body);
      case 'epsilon-statement':
        return this.#stated(index, draft.body);
      case 'gate-asked':
      case 'gate-answered':
      case 'gate-judged':
      case 'release-signed-off':
        return this.gate.take(index, draft);
      case 'released':
        return this.#released(index, draft.body);
      case 'operator-action':
        return void this.operatorActions.push({ index, timeMs, ...draft.body });
      case 'run-finished':
        return this.#finished(index, draft.body);
      default:
        return this.rounds.take(entry, draft);
    }
  }

  /** Checks a statement of a site, on another thread. @param expected - what it has to say, whole. */
  signed(index: number, site: SiteAudit, jws: string, typ: string, expected: unknown): void {
    const claimed = readStatement(jws);
    if (claimed === null || canonicalJson(claimed.body) !== canonicalJson(expected))
      this.findings.problem('SIGNATURE', index, `${site.siteId} signed another ${typ} than the entry says`);
    if (claimed !== null) this.verified(index, site.siteId, site.keys.at(-1)!, claimed, typ);
  }

  /** Checks whose statement it is; one that is not this key's is a problem of this entry. */
  verified(index: number, who: string, key: PublicSigningKey, claimed: Claimed, typ: string): void {
    const wrong = (why: string) => this.findings.problem('SIGNATURE', index, `${typ} of ${who}: ${why}`);
    const signed = signedBytesOf(claimed, key, typ);
    if (typeof signed === 'string') return wrong(signed);
    this.queue.check(key, signed.message, signed.signature, (holds) => {
      if (!holds) wrong('its signature does not verify');
    });
  }

  /** A site that the log has enrolled and not revoked. */
  activeSite(index: number, siteId: string): SiteAudit | null {
    const site = this.sites.get(siteId);
    if (site === undefined || site.revoked) {
      this.#order(index, `${siteId} is ${site === undefined ? 'not enrolled' : 'revoked'}`);
      return null;
    }
    return site;
  }

  #order(index: number, detail: string): void {
    this.findings.problem('ORDER', index, detail);
  }

  #started(index: number, b: { runId: string; rounds: number; generatorSha256: string; software: string }): void {
    if (index !== 0) return this.#order(index, 'a second run begins');
    this.runId = b.runId;
    this.planned = b.rounds;
    this.rounds.generatorSha256 = b.generatorSha256;
    this.software.push({ index, software: b.software });
  }

  #adopted(index: number, sha256: string): void {
    if (this.policySha256 !== null) return this.#order(index, 'a second policy is adopted');
    this.policySha256 = sha256;
    this.policy = this.#policyOf(sha256);
    if (this.policy === null) return this.findings.gap(`policy ${sha256} is not in the folder, or cannot be read here`);
    if (policySha256(this.policy) !== sha256)
      this.findings.problem('POLICY', index, `the policy in the folder is not ${sha256}`);
    this.terms = roundTermsOf(this.policy);
    if (this.terms.rounds !== this.planned)
      this.findings.problem('POLICY', index, `the run has ${this.planned} rounds, the policy ${this.terms.rounds}`);
  }

  #keys(index: number, { kind, body }: Extract<LogDraft, { kind: 'site-enrolled' | 'site-keys-changed' }>): void {
    const { siteId, signing } = body;
    const known = this.sites.get(siteId);
    if ((kind === 'site-enrolled') !== (known === undefined)) this.#order(index, `${siteId}: ${kind} out of order`);
    for (const other of this.sites.values())
      if (other.siteId !== siteId && other.keys.some((k) => k.x === signing.x))
        this.#order(index, `${siteId} is given a key of ${other.siteId}`);
    const kid = thumbprint(signing);
    const trusted = this.trust.sites;
    if (trusted !== null && !(trusted.get(siteId) ?? []).includes(kid))
      this.findings.problem(
        'ROSTER',
        index,
        `${siteId} is enrolled with key ${kid}, which was not handed over as its own`,
      );
    if (known === undefined)
      this.sites.set(siteId, {
        siteId,
        keys: [signing],
        revoked: false,
        software: null,
        account: null,
        series: [],
        answered: 0,
      });
    else {
      known.keys.push(signing);
      known.revoked = false;
    }
  }

  #coordinatorKey(index: number, { to }: { to: PublicSigningKey }): void {
    const why = this.coordinators.wrong.get(index);
    if (why === undefined) this.findings.note(`from entry ${index} on the coordinator signs with ${thumbprint(to)}`);
    else this.findings.problem('SIGNATURE', index, `another key of the coordinator: ${why}`);
  }

  #revoked(index: number, siteId: string): void {
    const site = this.activeSite(index, siteId);
    if (site !== null) site.revoked = true;
  }

  #siteAdopted(index: number, b: { siteId: string; policySha256: string; software: string; statement: string }): void {
    const site = this.activeSite(index, b.siteId);
    if (site === null) return;
    if (b.policySha256 !== this.policySha256)
      this.findings.problem('POLICY', index, `${b.siteId} adopted policy ${b.policySha256}`);
    site.software = b.software;
    const { siteId, policySha256: sha256, software } = b;
    this.signed(index, site, b.statement, ADOPTION_TYP, { siteId, runId: this.runId, policySha256: sha256, software });
  }

  #stated(index: number, b: { siteId: string; epsilon: number | null; delta: number; statement: string }): void {
    const site = this.activeSite(index, b.siteId);
    if (site === null) return;
    const signed = readStatement(b.statement);
    const claimed = EpsilonStatement.safeParse(signed?.body).data;
    if (signed === null || claimed === undefined)
      return this.findings.problem('EPSILON', index, `${b.siteId}: no epsilon statement under its signature`);
    this.verified(index, b.siteId, site.keys.at(-1)!, signed, EPSILON_TYP);
    const { siteId, runId, policySha256: sha256, epsilon, delta } = claimed;
    const fits = siteId === b.siteId && runId === this.runId && sha256 === this.policySha256;
    if (!fits || epsilon !== b.epsilon || delta !== b.delta)
      this.findings.problem('EPSILON', index, `the entry says another thing than ${b.siteId} signed`);
    this.rounds.statement(index, b.siteId);
    site.series.push({ round: this.rounds.round, epsilon });
    this.account(site)?.state(claimed, index, this.findings);
  }

  /** A site's account; null where no policy can be read. */
  account(site: SiteAudit): SiteAccount | null {
    if (this.policy === null) return null;
    return (site.account ??= new SiteAccount(site.siteId, this.policy, this.#table));
  }

  #released(index: number, b: Omit<Released, 'index'>): void {
    if (!this.rounds.digests.has(b.generatorSha256))
      this.findings.problem('RELEASE', index, `generator ${b.generatorSha256} was released and never made`);
    const most = this.policy?.release.maxImages ?? Infinity;
    if (b.images > most) this.findings.problem('RELEASE', index, `${b.images} images left; the policy has ${most}`);
    this.gate.released(index, b.generatorSha256);
    this.releases.push({ index, ...b });
  }

  #finished(index: number, b: { outcome: 'completed' | 'stopped'; rounds: number; generatorSha256: string }): void {
    this.finished = b.outcome;
    const { closed, generatorSha256 } = this.rounds;
    if (b.rounds !== closed) this.#order(index, `${b.rounds} rounds are said to be done; the log closes ${closed}`);
    if (b.outcome === 'completed' && closed !== this.planned)
      this.#order(index, `completed after ${closed} of ${this.planned} rounds`);
    if (b.generatorSha256 !== generatorSha256)
      this.findings.problem('GENERATOR', index, `ends with generator ${b.generatorSha256}, not ${generatorSha256}`);
  }
}
