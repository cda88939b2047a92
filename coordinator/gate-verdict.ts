/** From a run's store to a verdict: what is known of every site and of the candidate, held against the policy. */
import { candidateSha256, type Candidate } from '../shared/gate/candidate.ts';
import { finding } from '../shared/gate/findings.ts';
import type { GateFinding } from '../shared/gate/outcome.ts';
import { type Evidence, judge, judgeMeasured, type Verdict } from './core/release-gate.ts';
import { auditOwnLog, logEvidence, type OwnLog } from './own-log.ts';
import type { GateRecord, RunRecord, SiteRecord } from './store/store.ts';

export interface GateVerdict extends Verdict {
  /** Whether the log has the coordinator's verdict: before that nobody signs, and nothing leaves. */
  readonly judged: boolean;
  /** Null before the rounds are over, and where the policy has no gate. */
  readonly candidate: (Candidate & { readonly sha256: string }) | null;
}

/** The verdict as of now, from what is durable; the log is audited for it. */
export async function verdictOf(p: OwnLog): Promise<GateVerdict> {
  const { evidence, gate } = await evidenceOf(p);
  const candidate = gate === null ? null : { ...gate.candidate, sha256: candidateSha256(gate.candidate) };
  const { passed, findings } = judge(evidence, p.policy);
  const judged = gate?.judged ?? false;
  if (judged || p.policy.release.gate === null) return { judged, passed: passed && judged, findings, candidate };
  // An auditor goes by the verdict in the log: before it is there, nothing may leave.
  const say = 'The run has not come to its verdict yet.';
  return { judged, passed: false, findings: [finding('gate', 1, 0, 'verdicts', false, say), ...findings], candidate };
}

/** What can be said before anybody has signed. */
export async function measuredVerdict(p: OwnLog): Promise<readonly GateFinding[]> {
  return judgeMeasured((await evidenceOf(p)).evidence, p.policy);
}

async function evidenceOf(p: OwnLog): Promise<{ evidence: Evidence; gate: GateRecord | null }> {
  const { run, sites } = await p.store.transaction(async (tx) => ({
    run: await tx.run(p.runId),
    sites: await tx.sites(p.runId),
  }));
  const gate = run?.gate ?? null;
  const log = run === null ? null : logEvidence(await auditOwnLog(p));
  return {
    evidence: { ...ofSites(sites, run), log, similarity: gate?.similarity ?? null, signOffs: signed(gate) },
    gate,
  };
}

/** A site took part when it has answered a round: it stated its epsilon with it. */
const ofSites = (sites: readonly SiteRecord[], run: RunRecord | null): Pick<Evidence, 'sites'> => ({
  sites: sites
    .filter((s) => s.epsilon !== null)
    .map(({ siteId, epsilon, revoked }) => ({
      siteId,
      epsilon: epsilon?.epsilon ?? null,
      words: run?.gate?.answers[siteId]?.words ?? null,
      revoked: revoked ?? false,
    })),
});

const signed = (gate: GateRecord | null): Evidence['signOffs'] =>
  (gate?.signOffs ?? []).map(({ name, key }) => ({ name, key }));
