import { FedError } from '../../shared/errors.ts';

/**
 * Which of its updates a site may speak of, and what it does about a request: functions of what its outbox holds.
 *
 * A round that was void is opened again. The site then sends the update it has stored, so that a round has one update
 * however often it is opened. There is one exception. Once a site has sent its update masked or encrypted, the others may
 * have opened a sum with it inside: it takes no further word of this site. A coordinator that let such a round fall void,
 * and had the same update hidden again among other survivors, would hold two sums whose difference is somebody's update.
 * So the site then takes fresh discriminator steps, paid for in the ledger, and makes a new update: a new `take`. (Under
 * `clear` the coordinator holds the update itself, and another copy of it says nothing new.)
 */
export interface GivenAnswer {
  readonly attempt: number;
  readonly phase: number;
  readonly take: number;
  /** Whether this phase carried the update. */
  readonly hadTensor: boolean;
  /** The code with which the coordinator refused it for good. */
  readonly refused: string | null;
}

/**
 * The take an attempt has to use, from the answers given to every attempt at its round.
 * @param hidden - whether the scheme hides updates: anything but `clear`.
 */
export function takeFor(attempt: number, given: readonly GivenAnswer[], hidden: boolean): number {
  const own = given.find((a) => a.attempt === attempt);
  if (own) return own.take;
  const earlier = given.filter((a) => a.attempt < attempt);
  const latest = earlier.reduce((most, a) => Math.max(most, a.take), 0);
  const mayBeOpen = earlier.some(
    (sent) =>
      sent.take === latest &&
      sent.hadTensor &&
      sent.refused === null &&
      (hidden || earlier.some((later) => later.attempt === sent.attempt && later.phase > sent.phase)),
  );
  return mayBeOpen ? latest + 1 : latest;
}

export type Move =
  /** The answer is stored: send it, as it is. */
  | { readonly move: 'send' }
  /** Work out this take's update, if it is not there yet, and answer with it. */
  | { readonly move: 'make'; readonly take: number }
  /** The coordinator has refused this very update for good: say so, instead of sending it again. */
  | { readonly move: 'give-up'; readonly code: string }
  /** Refused in this attempt already: nothing to do until the next. */
  | { readonly move: 'wait' };

/** What to do about a request for `phase` of `attempt`. @param hidden - as in `takeFor`. */
export function decideMove(attempt: number, phase: number, given: readonly GivenAnswer[], hidden: boolean): Move {
  const own = given.find((a) => a.attempt === attempt && a.phase === phase);
  if (own) return own.refused === null ? { move: 'send' } : { move: 'wait' };
  const take = takeFor(attempt, given, hidden);
  const refused = given.find((a) => a.take === take && a.refused !== null)?.refused;
  return refused === undefined || refused === null ? { move: 'make', take } : { move: 'give-up', code: refused };
}

/**
 * A phase is answered right after one that the scheme lets come before it. So a phase that was passed over stays so, and
 * none is answered after a later one: what was answered is sent again, never made a second time.
 * @param before - the phases after which the scheme lets this one come; none for the first.
 * @returns the last phase of the attempt that was answered; null before the first.
 * @throws {FedError} PHASE_OUT_OF_TURN
 */
export function requireTurn(
  attempt: number,
  phase: number,
  given: readonly GivenAnswer[],
  before: readonly number[],
): number | null {
  const phases = given.filter((a) => a.attempt === attempt).map((a) => a.phase);
  const last = phases.length === 0 ? null : Math.max(...phases);
  const inTurn = last === null ? before.length === 0 : last < phase && before.includes(last);
  if (!inTurn) throw new FedError('PHASE_OUT_OF_TURN', `phase ${phase} of attempt ${attempt} after ${last ?? 'none'}`);
  return last;
}
