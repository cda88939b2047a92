/** The result of an audit as data: what `--json` prints and what the page for people is drawn from. */
import { pldAccountant, RELATION } from '../../dp/accountant.ts';
import { thumbprint } from '../../identity/jwk.ts';
import { SOFTWARE } from '../../software.ts';
import type { CheckedPolicy } from '../../policy/load.ts';
import { sha256Hex } from '../canonical.ts';
import type { Problem } from './findings.ts';
import type { GateSummary } from './gate-audit.ts';
import type { ReplayResult } from './replay.ts';
import type { AttemptSummary } from './round-audit.ts';
import type { SiteAudit } from './run-audit.ts';
import type { LogAudit } from './verify-log.ts';

/** `verified`: all that can be checked was, and holds. `incomplete`: nothing is wrong, and something was not checked. */
export type Verdict = 'verified' | 'incomplete' | 'failed';

export interface SiteReport {
  readonly siteId: string;
  /** Thumbprints of its signing keys, the last one its key of now. */
  readonly kids: readonly string[];
  readonly revoked: boolean;
  readonly software: string | null;
  readonly answers: number;
  /** As it stated it last; null where it is infinite, or nothing was stated. */
  readonly epsilon: number | null;
  readonly delta: number | null;
  /** The same events by the tight accountant; null where it cannot bound them. */
  readonly tightEpsilon: number | null;
  readonly relation: string;
  readonly ledgerEntries: number;
  /** Whether the policy could be read, so that figures were recomputed. */
  readonly recomputed: boolean;
  readonly series: readonly { readonly round: number; readonly epsilon: number | null }[];
}

export interface AuditReport {
  readonly format: 'veilgan-audit-report/1';
  readonly verdict: Verdict;
  /** What made this report. */
  readonly verifier: string;
  readonly runId: string | null;
  readonly policy: {
    readonly sha256: string | null;
    readonly id: string | null;
    readonly version: number | null;
    readonly epsilon: number | null;
    readonly delta: number | null;
    readonly scheme: string | null;
    readonly placement: string | null;
    readonly witnessQuorum: number;
    readonly rounds: number;
    readonly maxSteps: number | null;
  };
  readonly log: {
    readonly entries: number;
    readonly root: string;
    readonly checkpoints: number;
    /** Entries under a checkpoint with the policy's quorum. */
    readonly covered: number;
    readonly signatures: number;
    readonly finished: 'completed' | 'stopped' | null;
  };
  readonly keys: { readonly coordinator: string; readonly from: 'given' | 'folder' };
  readonly sites: readonly SiteReport[];
  readonly attempts: readonly AttemptSummary[];
  readonly generator: ReplayResult & { readonly sha256: string; readonly rounds: number };
  /** Null where the log asks no site about a release. */
  readonly gate: GateSummary | null;
  readonly releases: readonly {
    readonly entry: number;
    readonly images: number;
    readonly manifestSha256: string;
    readonly manifest: 'checked' | 'absent';
  }[];
  readonly operatorActions: readonly {
    readonly entry: number;
    readonly timeMs: number;
    readonly action: string;
    readonly by: string;
  }[];
  readonly software: readonly { readonly entry: number; readonly software: string }[];
  readonly unknown: readonly { readonly kind: string; readonly entries: readonly number[] }[];
  readonly problems: readonly Problem[];
  readonly moreProblems: number;
  readonly gaps: readonly string[];
  readonly notes: readonly string[];
}

/** What is known beside the log. */
export interface Beside {
  readonly keysFrom: 'given' | 'folder';
  readonly replay: ReplayResult;
  readonly manifests: ReadonlySet<string>;
}

export function reportOf(audit: LogAudit, beside: Beside): AuditReport {
  const { run, checkpoints, findings, head } = audit;
  const { policy, terms, rounds } = run;
  const unknown = [...audit.unknown].map(([kind, entries]) => ({ kind, entries }));
  for (const { kind, entries } of unknown)
    findings.gap(`${entries.length} entries of kind "${kind}" are unknown to this version; first: entry ${entries[0]}`);
  const problems = findings.sorted();
  const verdict = problems.length > 0 ? 'failed' : findings.gaps.length > 0 ? 'incomplete' : 'verified';
  const tight = tightTable();
  return {
    format: 'veilgan-audit-report/1',
    verdict,
    verifier: SOFTWARE,
    runId: run.runId,
    policy: {
      sha256: run.policySha256,
      id: policy?.id ?? null,
      version: policy?.version ?? null,
      epsilon: policy === null ? null : epsilonOf(policy),
      delta: terms?.delta ?? null,
      scheme: terms?.scheme ?? null,
      placement: policy?.placement ?? null,
      witnessQuorum: terms?.witnessQuorum ?? 0,
      rounds: run.planned,
      maxSteps: terms?.maxSteps ?? null,
    },
    log: {
      entries: head.size,
      root: head.root,
      checkpoints: checkpoints.seen.size,
      covered: checkpoints.covered(terms?.witnessQuorum ?? 0),
      signatures: audit.signatures,
      finished: run.finished,
    },
    keys: { coordinator: thumbprint(run.trust.coordinator), from: beside.keysFrom },
    sites: [...run.sites.values()].map((site) => siteReport(site, tight)),
    attempts: rounds.attempts,
    generator: { ...beside.replay, sha256: rounds.generatorSha256, rounds: rounds.closed },
    gate: run.gate.summary(),
    releases: run.releases.map(({ index, images, manifestSha256 }) => ({
      entry: index,
      images,
      manifestSha256,
      manifest: beside.manifests.has(manifestSha256) ? 'checked' : 'absent',
    })),
    operatorActions: run.operatorActions.map(({ index, ...rest }) => ({ entry: index, ...rest })),
    software: run.software.map(({ index, software }) => ({ entry: index, software })),
    unknown,
    problems,
    moreProblems: findings.dropped,
    gaps: findings.gaps,
    notes: findings.notes,
  };
}

type Tight = (site: SiteAudit) => number | null;

/** The tight accountant takes a moment: sites with the same events share its answer. */
function tightTable(): Tight {
  const known = new Map<string, number | null>();
  return ({ account }) => {
    const last = account?.last;
    if (!account || !last) return null;
    const key = sha256Hex(JSON.stringify([last.events, account.eventDelta]));
    let epsilon = known.get(key);
    if (epsilon === undefined) {
      const bound = last.events.length === 0 ? 0 : pldAccountant.epsilon(last.events, account.eventDelta).epsilon;
      known.set(key, (epsilon = Number.isFinite(bound) ? bound : null));
    }
    return epsilon;
  };
}

function siteReport(site: SiteAudit, tight: Tight): SiteReport {
  const { siteId, keys, revoked, software, answered, account, series } = site;
  const last = account?.last ?? null;
  return {
    siteId,
    kids: keys.map(thumbprint),
    revoked,
    software,
    answers: answered,
    epsilon: series.at(-1)?.epsilon ?? null,
    delta: account?.delta ?? null,
    tightEpsilon: tight(site),
    relation: RELATION,
    ledgerEntries: last?.statement.entries ?? 0,
    recomputed: account !== null,
    series,
  };
}

const epsilonOf = ({ privacy }: CheckedPolicy): number | null =>
  privacy.mechanism === 'none-insecure' ? null : privacy.epsilon;
