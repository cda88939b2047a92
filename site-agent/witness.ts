/**
 * The site as a witness of the round log: it follows the log to a checkpoint, sees that it continues what it knows, and
 * cosigns. What it has checked is durable before its cosignature leaves, so that no restart makes it cosign a fork.
 */
import { cosignCheckpoint, openCheckpoint } from '../shared/audit/checkpoint.ts';
import type { LogDraft } from '../shared/audit/entry.ts';
import { draftOf, hashOfBase64 } from '../shared/audit/log.ts';
import type { LogHead } from '../shared/audit/log.ts';
import {
  EMPTY_MEMORY,
  arrive,
  beginFollowing,
  checkConsistent,
  checkNotBack,
  followEntry,
} from '../shared/audit/witness.ts';
import type { WitnessMemory } from '../shared/audit/witness.ts';
import type { Clock } from '../shared/clock.ts';
import { FedError } from '../shared/errors.ts';
import { type PublicSigningKey, thumbprint } from '../shared/identity/jwk.ts';
import type { SiteKeys } from '../shared/identity/keys.ts';
import type { CoordinatorLink } from '../shared/protocol/link.ts';
import { parseMessage } from '../shared/protocol/messages.ts';
import { CheckpointReply, LogPage } from '../shared/protocol/round-messages.ts';
import type { Outbox } from './shell/outbox.ts';

export interface WitnessParts {
  readonly siteId: string;
  readonly keys: SiteKeys;
  readonly coordinatorKey: PublicSigningKey;
  readonly link: CoordinatorLink;
  readonly outbox: Outbox;
  readonly clock: Clock;
  /** Thumbprints of this site's keys before its own of now. */
  readonly formerKeys?: readonly string[];
  /** Shown every entry on the way, in order; it throws to refuse the log. */
  readonly observe?: ((draft: LogDraft, index: number) => void) | undefined;
}

/**
 * Follows the log from what this site has checked last to `to`.
 * @returns what it knows then. Nothing is stored yet.
 * @throws {FedError} LOG_REWOUND, LOG_FORKED, LOG_INVALID; SIGNATURE_INVALID when the coordinator did not sign this head.
 */
export async function followLog(p: WitnessParts, runId: string, to: LogHead): Promise<WitnessMemory> {
  const memory = p.outbox.witness(runId) ?? EMPTY_MEMORY;
  checkNotBack(memory.head, to);
  if (memory.head.size === to.size && to.size > 0) return memory;
  const from = memory.head.size;
  const reply = parseMessage(CheckpointReply, await p.link.call('log.checkpoint', { runId, size: to.size, from }));
  const { head } = openCheckpoint(reply.note, runId, p.coordinatorKey);
  checkNotBack(head, to);
  // Refused before anything is read: a fork needs no page of it.
  checkConsistent(memory.head, head, reply.proof.map(hashOfBase64));
  let at = beginFollowing(memory);
  while (at.frontier.size < to.size) {
    const next = at.frontier.size;
    const page = parseMessage(LogPage, await p.link.call('log.read', { runId, from: next }));
    const entries = page.entries.filter((e) => e.index < to.size);
    if (entries.length === 0) throw new FedError('LOG_INVALID', `the log ends at ${next} of ${to.size}`);
    for (const entry of entries) {
      at = followEntry(at, entry);
      p.observe?.(draftOf(entry), entry.index);
    }
  }
  const arrived = arrive(at, to);
  // A log that gives this site another key would let somebody else speak for it.
  const own = arrived.keys[p.siteId];
  const former =
    own !== undefined &&
    memory.keys[p.siteId]?.x !== p.keys.signing.x &&
    p.formerKeys?.includes(thumbprint(own)) === true;
  if (own !== undefined && own.x !== p.keys.signing.x && !former)
    throw new FedError('LOG_INVALID', `the log enrols ${p.siteId} with a key that it does not hold`);
  return arrived;
}

/** Remembers what was checked, then cosigns it. May be called again: the coordinator takes the later line. */
export async function cosign(p: WitnessParts, runId: string, memory: WitnessMemory): Promise<void> {
  p.outbox.putWitness(runId, memory);
  const { siteId, keys, clock, link } = p;
  const line = cosignCheckpoint(runId, memory.head, siteId, keys.signing, clock.now());
  await link.call('log.cosign', { runId, size: memory.head.size, cosignature: line });
}
