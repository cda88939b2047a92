/**
 * Which key of the coordinator signed which part of a log: an auditor is handed one, and the log says how it changed. The
 * key that was handed over vouches for the keys before it (its checkpoint covers their entries), and each of them for the
 * next by its own statement. Where a key was lost, nothing leads over the gap but what people compared by hand.
 */
import { FedError } from '../../errors.ts';
import type { PublicSigningKey } from '../../identity/jwk.ts';
import { verifySuccession } from '../../identity/succession.ts';
import type { LogDraft } from '../entry.ts';

/** A change of the coordinator's key, and the entry that says so. */
export interface KeyChangeEntry {
  readonly index: number;
  readonly body: Extract<LogDraft, { kind: 'coordinator-key-changed' }>['body'];
}

export interface CoordinatorKeys {
  /** What signs entries from here on; null where it is not known whose key it was. */
  at(index: number): PublicSigningKey | null;
  /** Every key that is believed, the one that was handed over first. */
  readonly believed: readonly PublicSigningKey[];
  /** Changes that the key that was handed over does not vouch for, and why. */
  readonly wrong: ReadonlyMap<number, string>;
}

/** One key for the whole log. */
export const singleKey = (key: PublicSigningKey): CoordinatorKeys => ({
  at: () => key,
  believed: [key],
  wrong: new Map(),
});

/** @param trusted - the key that was handed over: of any time of the run. */
export async function coordinatorKeysOf(
  changes: readonly KeyChangeEntry[],
  trusted: PublicSigningKey,
): Promise<CoordinatorKeys> {
  if (changes.length === 0) return singleKey(trusted);
  const keys: (PublicSigningKey | null)[] = [changes[0].body.from, ...changes.map((c) => c.body.to)];
  const wrong = new Map<number, string>();
  const links = await Promise.all(changes.map((c, i) => linked(c, keys[i])));
  const here = keys.findLastIndex((k) => k?.x === trusted.x);
  // From the trusted key forward over statements alone; back over everything, since its checkpoints cover that.
  let last = here;
  while (here >= 0 && last < links.length && links[last] === null) last += 1;
  links.forEach((why, i) => {
    if (i >= last && here >= 0) wrong.set(changes[i].index, why ?? 'it follows a change that is not vouched for');
    else if (why !== null && changes[i].body.statement !== null) wrong.set(changes[i].index, why);
  });
  if (here < 0) wrong.set(changes[0].index, 'the key that was handed over is none of this log');
  const at = (index: number) => {
    const change = changes.findLastIndex((c) => c.index < index);
    return change + 1 > last ? null : keys[change + 1];
  };
  const known = keys.slice(0, last + 1).flatMap((k) => (k === null || k.x === trusted.x ? [] : [k]));
  return { at: here < 0 ? () => trusted : at, believed: [trusted, ...known], wrong };
}

/** Null when the key before has signed the one after. */
async function linked({ body }: KeyChangeEntry, before: PublicSigningKey | null): Promise<string | null> {
  if (body.statement === null || body.from === null) return 'the key before was lost, and nothing leads to this one';
  if (before === null || before.x !== body.from.x) return 'it is from another key than the one before';
  try {
    const to = await verifySuccession(body.statement, body.from);
    return to.x === body.to.x ? null : 'the key before has signed another one';
  } catch (error) {
    if (!(error instanceof FedError)) throw error;
    return 'the key before has not signed it';
  }
}
