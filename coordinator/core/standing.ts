import { ERRORS } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import type { RoundRecord, SiteRecord } from '../store/store.ts';

/**
 * Whom a round waits for. `good`: invited and awaited. `missed`: let its last deadline pass, or declined for now; invited
 * again as soon as it is heard of, but nobody waits for it until it has answered in time once. `declined`: said no for
 * good; invited again when its agent has been started anew.
 *
 * Guarantee: a site that stays absent or slow costs its run one deadline, not one per round.
 */
export interface SitePresence {
  readonly siteId: string;
  readonly standing: SiteRecord['standing'];
  /** Connected, or heard of recently enough. */
  readonly present: boolean;
}

export type Opening =
  | { readonly open: true; readonly invited: readonly string[]; readonly awaited: readonly string[] }
  | { readonly open: false; readonly why: string; readonly againInMs: number | null };

/**
 * Decides whether a round opens now, and with whom.
 * @param p.waitedMs - how long this opening has been waiting already.
 * @param p.gatherMs - how long to wait for sites in good standing that are not there.
 */
export function decideOpening(p: {
  sites: readonly SitePresence[];
  minSites: number;
  /** Where the scheme has room for so many only. */
  maxSites?: number | null;
  waitedMs: number;
  gatherMs: number;
}): Opening {
  const able = p.sites.filter((s) => s.standing !== 'declined');
  const there = able.filter((s) => s.present);
  const late = able.filter((s) => s.standing === 'good' && !s.present).map((s) => s.siteId);
  if (there.length < p.minSites)
    return { open: false, why: `${there.length} of at least ${p.minSites} sites are here`, againInMs: null };
  if (late.length > 0 && p.waitedMs < p.gatherMs)
    return { open: false, why: `waiting for ${late.join(', ')}`, againInMs: p.gatherMs - p.waitedMs };
  // Those in good standing first, where there is not room for all.
  const ranked = there.toSorted((a, b) => rank(a) - rank(b) || (a.siteId < b.siteId ? -1 : 1));
  const chosen = ranked.slice(0, p.maxSites ?? ranked.length);
  const invited = chosen.map((s) => s.siteId).sort();
  const good = chosen.filter((s) => s.standing === 'good').map((s) => s.siteId);
  // Too few in good standing to make up a round: then everybody here is needed, and is waited for.
  const awaited = good.length >= p.minSites ? good.sort() : invited;
  return { open: true, invited, awaited };
}

const rank = (s: SitePresence): number => (s.standing === 'good' ? 0 : 1);

/** A site's standing after a phase was sealed or voided. */
export function standingAfter(site: SiteRecord, round: RoundRecord): SiteRecord {
  const { siteId } = site;
  const code = round.out[siteId];
  if (code !== undefined) return { ...site, standing: isForGood(code) ? 'declined' : 'missed', declined: code };
  if (!round.participants.includes(siteId)) return site;
  if (round.answers[siteId] !== undefined) return { ...site, standing: 'good', declined: null };
  return round.awaited.includes(siteId) ? { ...site, standing: 'missed' } : site;
}

/** A new agent process may have what the old one lacked: it is asked again. */
export function standingAfterRestart(site: SiteRecord): SiteRecord {
  return site.standing === 'declined' ? { ...site, standing: 'missed' } : site;
}

export const isForGood = (code: string): boolean => !(code in ERRORS) || ERRORS[code as ErrorCode].retry === 'never';
