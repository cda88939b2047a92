/**
 * One attempt at one round, as decisions: functions of a record and an event, no clock, no I/O, no randomness. Each
 * returns the record that follows and what the log says of it; the caller commits both together or neither.
 */
import type { LogDraft } from '../../shared/audit/entry.ts';
import { FedError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import type { RoundRecord } from '../store/store.ts';

export interface Decision {
  readonly next: RoundRecord;
  readonly log: readonly LogDraft[];
}
const unchanged = (next: RoundRecord): Decision => ({ next, log: [] });

/** Where an answer claims to belong. */
export interface AnswerPlace {
  readonly runId: string;
  readonly round: number;
  readonly attempt: number;
  readonly phase: number;
}

/** The round as it is first shown. */
export function openRound(
  plan: RoundPlan,
  planJws: string,
  planSha256: string,
  awaited: readonly string[],
  quorum?: number,
): Decision {
  const next: RoundRecord = {
    plan,
    planJws,
    phase: 0,
    status: 'collecting',
    participants: [...plan.invited],
    awaited: [...awaited],
    answers: {},
    out: {},
    refused: [],
    ...(quorum !== undefined && { quorum }),
  };
  const { round, attempt } = plan;
  return {
    next,
    log: [{ kind: 'plan', body: { round, attempt, planSha256, checkpoint: plan.checkpoint, plan: planJws } }],
  };
}

/**
 * Decides one answer.
 * @param stored - the hash of the answer that is stored for exactly this site and place, if there is one.
 * @returns an unchanged record when this very answer was counted before: the acknowledgement was lost, nothing else.
 * @throws {FedError} UPDATE_CHANGED, ROUND_NOT_OPEN
 */
export function acceptAnswer(
  record: RoundRecord,
  siteId: string,
  place: AnswerPlace,
  answer: { sha256: string; signature: string },
  stored: string | null,
): Decision {
  if (stored === answer.sha256) return unchanged(record);
  if (stored !== null) throw new FedError('UPDATE_CHANGED', `site=${siteId} ${placeName(place)}`);
  assertOpenFor(record, siteId, place);
  const { round, attempt, phase } = place;
  return {
    next: { ...record, answers: { ...record.answers, [siteId]: answer.sha256 } },
    log: [{ kind: 'answer-accepted', body: { round, attempt, phase, siteId, signature: answer.signature } }],
  };
}

/** @throws {FedError} ROUND_NOT_OPEN when this site has nothing to answer at this place (any more). */
export function assertOpenFor(record: RoundRecord, siteId: string, place: AnswerPlace): void {
  const { plan } = record;
  const here = placeName({ ...plan, phase: record.phase });
  const open =
    place.runId === plan.runId &&
    place.round === plan.round &&
    place.attempt === plan.attempt &&
    place.phase === record.phase &&
    record.status === 'collecting';
  if (!open) throw new FedError('ROUND_NOT_OPEN', `site=${siteId} ${placeName(place)}; ${record.status} at ${here}`);
  if (!record.participants.includes(siteId)) throw new FedError('ROUND_NOT_OPEN', `site=${siteId} is not in ${here}`);
  if (record.out[siteId] !== undefined)
    throw new FedError('ROUND_NOT_OPEN', `site=${siteId} is out of ${here}: ${record.out[siteId]}`);
}

/** Whether this site has an answer to give at this place. */
export function isOpenFor(...of: Parameters<typeof assertOpenFor>): boolean {
  try {
    assertOpenFor(...of);
    return true;
  } catch {
    return false;
  }
}

/** A site says no. Counted once; after its answer was counted, or when the round has gone on, it changes nothing. */
export function decline(
  record: RoundRecord,
  siteId: string,
  place: AnswerPlace,
  said: { code: ErrorCode; signature: string },
): Decision {
  const { code, signature } = said;
  const { plan } = record;
  const here = place.runId === plan.runId && place.round === plan.round && place.attempt === plan.attempt;
  if (!here || record.status !== 'collecting' || !record.participants.includes(siteId)) return unchanged(record);
  if (record.answers[siteId] !== undefined || record.out[siteId] !== undefined) return unchanged(record);
  const { round, attempt } = plan;
  return {
    next: { ...record, out: { ...record.out, [siteId]: code } },
    log: [{ kind: 'declined', body: { round, attempt, siteId, code, signature } }],
  };
}

/** Codes after which the same site cannot mend its answer: the stored bytes would only be refused again. */
const HOPELESS: readonly ErrorCode[] = ['UPDATE_NOT_FINITE', 'UPDATE_TOO_LARGE', 'UPDATE_SHAPE'];

/**
 * Writes a refusal down, once per site and code, and stops waiting for a site whose update can never be taken.
 * The other sites are not touched.
 */
export function noteRefusal(record: RoundRecord, siteId: string, place: AnswerPlace, code: ErrorCode): Decision {
  const { plan } = record;
  const mark = `${siteId} ${code}`;
  const here = place.runId === plan.runId && place.round === plan.round && place.attempt === plan.attempt;
  if (!here || !plan.invited.includes(siteId) || record.refused.includes(mark)) return unchanged(record);
  const open = record.status === 'collecting' && place.phase === record.phase;
  const out = open && HOPELESS.includes(code) && record.answers[siteId] === undefined;
  const { round, attempt } = plan;
  return {
    next: {
      ...record,
      refused: [...record.refused, mark],
      out: out ? { ...record.out, [siteId]: code } : record.out,
    },
    log: [{ kind: 'refused', body: { round, attempt, phase: record.phase, siteId, code } }],
  };
}

/**
 * A site's keys were changed or revoked while the attempt is open: what it sent under the old ones stays as it is, and
 * nothing more is awaited of it. The next attempt knows the new keys.
 */
export function bar(record: RoundRecord, siteId: string): Decision {
  const code = 'KEYS_CHANGED' satisfies ErrorCode;
  const inIt = record.status === 'collecting' && record.plan.invited.includes(siteId);
  if (!inIt || record.out[siteId] !== undefined) return unchanged(record);
  const { round, attempt } = record.plan;
  return {
    next: {
      ...record,
      refused: [...record.refused, `${siteId} ${code}`],
      out: { ...record.out, [siteId]: code },
    },
    log: [{ kind: 'refused', body: { round, attempt, phase: record.phase, siteId, code } }],
  };
}

/** A phase as its answers stand: who is in, who is still awaited, who could still come. */
export function tally(record: RoundRecord) {
  const isOut = (s: string) => record.out[s] !== undefined;
  const isIn = (s: string) => record.answers[s] !== undefined;
  const inTime = record.participants.filter(isIn).sort();
  const open = record.participants.filter((s) => !isIn(s) && !isOut(s)).sort();
  const awaited = open.filter((s) => record.awaited.includes(s));
  return { inTime, open, awaited };
}

/**
 * Seals the phase when all that are awaited are in, or at its deadline, if the quorum holds; voids it when the quorum
 * can no longer be reached; otherwise leaves it open.
 * @param p.absent - sites that have left: not awaited, though they count when they answer in time.
 */
export function settle(
  record: RoundRecord,
  p: { quorum: number; deadlinePassed: boolean; absent?: readonly string[] },
): Decision {
  if (record.status !== 'collecting') return unchanged(record);
  const { inTime, open, awaited: all } = tally(record);
  const awaited = all.filter((s) => p.absent?.includes(s) !== true);
  const enough = inTime.length >= p.quorum;
  const { round, attempt } = record.plan;
  const at = { round, attempt, phase: record.phase };
  if (enough && (p.deadlinePassed || awaited.length === 0))
    return {
      next: { ...record, status: 'sealed' },
      log: [{ kind: 'sealed', body: { ...at, contributors: inTime, ...missing(record, inTime) } }],
    };
  if (!enough && (p.deadlinePassed || inTime.length + open.length < p.quorum)) return voidRound(record, 'ROUND_VOID');
  return unchanged(record);
}

/** Ends an attempt that cannot give a sum. Nothing of it counts; the round is opened again under the next attempt. */
export function voidRound(record: RoundRecord, code: ErrorCode): Decision {
  const answered = tally(record).inTime;
  const { round, attempt } = record.plan;
  const body = { round, attempt, phase: record.phase, code, answered, ...missing(record, answered) };
  return { next: { ...record, status: 'void' }, log: [{ kind: 'void', body }] };
}

/** Who is not in, and the codes of those who said no or were refused; the others let the deadline pass. */
function missing({ plan, out }: RoundRecord, inTime: readonly string[]) {
  const gone = plan.invited.filter((s) => !inTime.includes(s));
  const why = Object.fromEntries(gone.flatMap((s) => (out[s] === undefined ? [] : [[s, out[s]]])));
  return { missing: gone, why };
}

/**
 * A sealed phase leads into the next one: those who were given a downlink take part, all of them awaited. Phases that are
 * passed over are logged, one entry each.
 * @param o.before - the phases after which the scheme lets this one come.
 * @throws {FedError} STORE_CORRUPT in any other order.
 */
export function enterPhase(
  record: RoundRecord,
  phase: number,
  participants: readonly string[],
  o: {
    readonly before: readonly number[];
    readonly blob?: RoundRecord['blob'];
    readonly quorum?: number | undefined;
  },
): Decision {
  if (record.status !== 'sealed' || phase <= record.phase || !o.before.includes(record.phase))
    throw new FedError('STORE_CORRUPT', `phase ${phase} after ${record.phase} (${record.status})`);
  const { blob: _, quorum: __, ...rest } = record;
  const next: RoundRecord = {
    ...rest,
    ...(o.blob && { blob: o.blob }),
    ...(o.quorum !== undefined && { quorum: o.quorum }),
    phase,
    status: 'collecting',
    participants: [...participants].sort(),
    awaited: [...participants].sort(),
    answers: {},
  };
  const { round, attempt } = record.plan;
  const over = Array.from({ length: phase - record.phase - 1 }, (_, i) => record.phase + 1 + i);
  return { next, log: over.map((skipped) => ({ kind: 'phase-skipped', body: { round, attempt, phase: skipped } })) };
}

/** The sum was applied: final. */
export function closeRound(
  record: RoundRecord,
  p: {
    generatorSha256: string;
    contributors: readonly string[];
    length: number;
    clipNorm: number | null;
    sumSha256: string[];
  },
): Decision {
  if (record.status !== 'sealed') throw new FedError('STORE_CORRUPT', `close of a round that is ${record.status}`);
  const { round, attempt } = record.plan;
  const contributors = [...p.contributors].sort();
  const { generatorSha256, length, clipNorm, sumSha256 } = p;
  const { scheme } = record.plan;
  return {
    next: { ...record, status: 'closed' },
    log: [
      { kind: 'aggregated', body: { round, attempt, scheme, contributors, length, clipNorm, sumSha256 } },
      { kind: 'generator-updated', body: { round, attempt, generatorSha256, contributors } },
    ],
  };
}

const placeName = (p: AnswerPlace): string => `round ${p.round}.${p.attempt} phase ${p.phase}`;
