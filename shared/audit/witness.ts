/**
 * What a witness of the log decides: whether a checkpoint continues the last one it cosigned, and whether a plan rests
 * on a checkpoint that enough witnesses have cosigned. Pure; what it remembers is `WitnessMemory`, kept by the caller.
 *
 * Guarantee: a witness that follows these rules never cosigns two heads of which one does not continue the other.
 */
import { z } from 'zod';
import { FedError } from '../errors.ts';
import { PublicSigningKey } from '../identity/jwk.ts';
import { Sha256Hex, SiteId } from '../protocol/plan.ts';
import type { RoundPlan } from '../protocol/plan.ts';
import { cosigners, openCheckpoint } from './checkpoint.ts';
import type { LogEntry } from './entry.ts';
import { EMPTY_LOG, LogHead, draftOf, entryLeaf, hashOfHex, headOf, hexOf } from './log.ts';
import { bodyOf } from './jws-body.ts';
import { appendLeaf, verifyConsistency } from './merkle.ts';
import type { Frontier, Hash } from './merkle.ts';

/** Heads that are kept: those of plans since the last one that was cosigned by enough, and some before. */
const RECENT = 32;

/** What a witness keeps of one log. */
export const WitnessMemory = z.strictObject({
  /** The last head it has checked; what it cosigned last is never beyond it. */
  head: LogHead,
  /** The tree's frontier at that head, as hexadecimal. */
  frontier: z.array(Sha256Hex),
  /** Heads it has checked on the way, ascending; the last is `head`. */
  recent: z.array(LogHead),
  /** The signing keys of the sites that may witness, as the log enrolled them. */
  keys: z.record(SiteId, PublicSigningKey),
  /** Size of the checkpoint of the last plan in the log; null before the first. */
  lastPlan: z.int().min(0).nullable(),
});
const PlanCheckpoint = z.object({ checkpoint: LogHead });
export type WitnessMemory = z.infer<typeof WitnessMemory>;

export const EMPTY_MEMORY: WitnessMemory = { head: EMPTY_LOG, frontier: [], recent: [], keys: {}, lastPlan: null };

/** @throws {FedError} LOG_REWOUND when `next` is shorter than `last`; LOG_FORKED for another log of the same length. */
export function checkNotBack(last: LogHead, next: LogHead): void {
  if (next.size < last.size) throw new FedError('LOG_REWOUND', `the log has ${next.size} entries and had ${last.size}`);
  if (next.size === last.size && next.root !== last.root)
    throw new FedError('LOG_FORKED', `two logs of ${next.size} entries: ${next.root} and ${last.root}`);
}

/** @throws {FedError} LOG_REWOUND, LOG_FORKED when the proof does not lead from `last` to `next`. */
export function checkConsistent(last: LogHead, next: LogHead, proof: readonly Hash[]): void {
  checkNotBack(last, next);
  const [fromRoot, toRoot] = [hashOfHex(last.root), hashOfHex(next.root)];
  if (!verifyConsistency({ from: last.size, to: next.size, fromRoot, toRoot, proof }))
    throw new FedError(
      'LOG_FORKED',
      `${next.size} entries under ${next.root} do not continue ${last.size} under ${last.root}`,
    );
}

/** Where a witness stands while it reads entries. */
export interface Following {
  readonly memory: WitnessMemory;
  readonly frontier: Frontier;
}
export const beginFollowing = (memory: WitnessMemory): Following => ({
  memory,
  frontier: { size: memory.head.size, hashes: memory.frontier.map(hashOfHex) },
});

/** Reads one entry. @throws {FedError} LOG_INVALID when it is not well-formed or not in its place. */
export function followEntry({ memory, frontier }: Following, entry: LogEntry): Following {
  if (entry.index !== frontier.size)
    throw new FedError('LOG_INVALID', `entry ${frontier.size}: carries index ${entry.index}`);
  return { memory: noteEntry(memory, entry), frontier: appendLeaf(frontier, entryLeaf(entry)).frontier };
}

/** What an entry changes in what a witness has to know. */
function noteEntry(memory: WitnessMemory, entry: LogEntry): WitnessMemory {
  const { kind, body } = draftOf(entry);
  switch (kind) {
    case 'site-enrolled':
    case 'site-keys-changed':
      return { ...memory, keys: { ...memory.keys, [body.siteId]: body.signing } };
    case 'site-revoked': {
      const { [body.siteId]: _, ...keys } = memory.keys;
      return { ...memory, keys };
    }
    case 'plan': {
      // The entry's word for where the plan rests is held to the plan's own.
      const plan = PlanCheckpoint.safeParse(bodyOf(body.plan)).data;
      if (plan === undefined || plan.checkpoint.size !== body.checkpoint.size)
        throw new FedError('LOG_INVALID', `entry ${entry.index}: its plan rests elsewhere than it says`);
      return { ...memory, lastPlan: plan.checkpoint.size };
    }
    default:
      return memory;
  }
}

/**
 * Arrives at a checkpoint: everything up to it was read.
 * @throws {FedError} LOG_FORKED when the entries are not those under its root.
 */
export function arrive({ memory, frontier }: Following, at: LogHead): WitnessMemory {
  const head = headOf(frontier);
  if (head.size !== at.size || head.root !== at.root)
    throw new FedError(
      'LOG_FORKED',
      `the entries give ${head.size} under ${head.root}; the checkpoint is ${at.size} under ${at.root}`,
    );
  const recent = [...memory.recent.filter((h) => h.size < head.size), head].slice(-RECENT);
  return { ...memory, head, frontier: frontier.hashes.map(hexOf), recent };
}

/**
 * The rule that keeps the log from having two histories: a plan rests on a checkpoint not older than that of the plan
 * before it, cosigned by as many sites as the policy asks for, and lying on the history this witness has followed.
 * @param memory - after following the log to the plan's own checkpoint.
 * @throws {FedError} WITNESSES_MISSING; LOG_FORKED; LOG_INVALID, SIGNATURE_INVALID for what is no checkpoint.
 */
export function requireWitnesses(p: {
  plan: Pick<RoundPlan, 'runId' | 'round' | 'attempt' | 'checkpoint' | 'witnessed'>;
  coordinator: PublicSigningKey;
  memory: WitnessMemory;
  quorum: number;
}): void {
  const { plan, memory, quorum } = p;
  const name = `plan ${plan.round}.${plan.attempt}`;
  if (plan.witnessed === null) {
    if (quorum > 0 && memory.lastPlan !== null)
      throw new FedError('WITNESSES_MISSING', `${name} carries no cosigned checkpoint; the policy asks for ${quorum}`);
    return;
  }
  const { head, note } = openCheckpoint(plan.witnessed, plan.runId, p.coordinator);
  const known = memory.recent.find((h) => h.size === head.size);
  if (known !== undefined && known.root !== head.root)
    throw new FedError('LOG_FORKED', `${name} rests on ${head.size} entries under ${head.root}, not ${known.root}`);
  if (quorum === 0) return;
  if (known === undefined || head.size > plan.checkpoint.size || head.size < (memory.lastPlan ?? 0))
    throw new FedError(
      'WITNESSES_MISSING',
      `${name} rests on the checkpoint of ${head.size} entries, after ${memory.lastPlan}`,
    );
  const signed = cosigners(note, new Map(Object.entries(memory.keys)));
  if (signed.length < quorum)
    throw new FedError(
      'WITNESSES_MISSING',
      `${name}: ${signed.length} of ${quorum} cosignatures (${signed.join(', ')})`,
    );
}
