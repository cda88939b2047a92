/**
 * The sites of a run as a round finds and leaves them: who is enrolled, whose keys have changed, who was missed. All of it
 * inside the caller's transaction, so that state and log change together.
 */
import type { LogDraft } from '../shared/audit/entry.ts';
import { hashJson } from '../shared/audit/canonical.ts';
import { bar } from './core/round-state.ts';
import type { Decision } from './core/round-state.ts';
import { standingAfter } from './core/standing.ts';
import type { RoundParts } from './round.ts';
import type { RoundRecord, Tx } from './store/store.ts';

/** Standings follow from how the phase ended; whoever was missed counts as absent until heard of again. */
export async function keepStandings(p: RoundParts, tx: Tx, record: RoundRecord): Promise<void> {
  const now = p.clock.now();
  for (const site of await tx.sites(p.runId)) {
    const next = standingAfter(site, record);
    if (hashJson(next) === hashJson(site)) continue;
    await tx.putSite(p.runId, next);
    if (next.standing === 'missed') p.presence.missed(site.siteId, now);
  }
}

/** The attempt without those whose keys are not the ones it was opened with. Their entries come when the next is opened. */
export async function withoutChanged(p: RoundParts, tx: Tx, record: RoundRecord): Promise<RoundRecord> {
  const known = new Map((await tx.sites(p.runId)).map((s) => [s.siteId, s.keysSha256]));
  let now = record;
  for (const { siteId, status, signing, sealing } of p.roster().sites) {
    const before = known.get(siteId);
    const same = status === 'active' && before === hashJson({ signing, sealing });
    if (before === undefined || same) continue;
    const decision = bar(now, siteId);
    if (decision.next === now) continue;
    await commit(p, tx, decision);
    now = decision.next;
  }
  return now;
}

/**
 * The run's sites: everybody active in the roster. One that joins a run under way is not waited for until it came. What
 * is new in the roster goes into the log: names, keys, and who may not take part any more.
 */
export async function enrolled(p: RoundParts, tx: Tx) {
  const known = new Map((await tx.sites(p.runId)).map((s) => [s.siteId, s]));
  const begun = (await tx.latestRound(p.runId)) !== null;
  for (const { siteId, status, signing, sealing } of p.roster().sites) {
    const before = known.get(siteId);
    if (before === undefined && status === 'revoked') continue;
    const keysSha256 = hashJson({ signing, sealing });
    const revoked = status === 'revoked';
    if (before?.keysSha256 === keysSha256 && (before.revoked ?? false) === revoked) continue;
    const fresh = { siteId, standing: begun ? 'missed' : 'good', declined: null, epsilon: null } as const;
    const site = { ...(before ?? fresh), keysSha256, revoked };
    known.set(siteId, site);
    await tx.putSite(p.runId, site);
    const draft: LogDraft = revoked
      ? { kind: 'site-revoked', body: { siteId } }
      : { kind: before ? 'site-keys-changed' : 'site-enrolled', body: { siteId, signing, sealing } };
    await tx.appendLog(p.runId, draft, p.clock.now());
  }
  const active = p.roster().sites.filter((s) => s.status === 'active');
  return active.map((s) => known.get(s.siteId)!);
}

/** State and log, together or not at all. */
export async function commit(p: Pick<RoundParts, 'clock'>, tx: Tx, { next, log }: Decision): Promise<void> {
  await tx.putRound(next);
  for (const draft of log) await tx.appendLog(next.plan.runId, draft, p.clock.now());
}
