/**
 * The roster of the plan a site is answering: by it peers' signatures are checked. The signed plan names its hash, so it
 * may come from anywhere; it never goes back, also over restarts.
 */
import { FedError } from '../../shared/errors.ts';
import { requireNotRewound, Roster } from '../../shared/identity/roster.ts';
import type { RosterSeen } from '../../shared/identity/roster.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { parseMessage } from '../../shared/protocol/messages.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { downloadTensor } from '../../shared/protocol/tensor-transfer.ts';
import { deepFreeze } from '../../shared/policy/freeze.ts';
import type { Outbox } from './outbox.ts';

/** Largest roster a site fetches, in bytes: some ten thousand sites. */
const MAX_ROSTER_BYTES = 4 * 1024 * 1024;

export class RosterKeeper {
  readonly #link: CoordinatorLink;
  readonly #outbox: Pick<Outbox, 'roster' | 'putRoster'>;
  /** As it was read last: every reveal asks for it, and what is worked out from a key is kept by the key's object. */
  #last: { readonly text: string; readonly roster: Roster } | null = null;

  /** @param joined - the roster this site was shown when it joined, if that is known. */
  constructor(link: CoordinatorLink, outbox: Pick<Outbox, 'roster' | 'putRoster'>, joined: RosterSeen | null = null) {
    this.#link = link;
    this.#outbox = outbox;
    if (joined !== null && outbox.roster() === null) outbox.putRoster(joined);
  }

  /** The last roster of a plan that was accepted. */
  seen(): RosterSeen | null {
    return this.#outbox.roster();
  }

  /** An accepted plan's roster; durable when this returns. @throws {FedError} ROSTER_STALE */
  see(roster: RosterSeen): void {
    requireNotRewound(roster, this.seen());
    this.#outbox.putRoster(roster);
  }

  /**
   * The roster that a plan names: the kept one, or fetched over the link and then kept.
   * @throws {FedError} ROSTER_STALE; MESSAGE_INVALID when the text under that hash is no such roster; LINK_LOST and
   *   TENSOR_UNKNOWN, after which it is asked for again.
   */
  async of(plan: Pick<RoundPlan, 'roster'>): Promise<Roster> {
    const { version, sha256 } = plan.roster;
    this.see(plan.roster);
    const kept = this.#outbox.roster()?.text ?? null;
    const text =
      kept ?? Buffer.from(await downloadTensor(this.#link, sha256, { maxBytes: MAX_ROSTER_BYTES })).toString();
    const last = this.#last;
    const roster = last?.text === text ? last.roster : parseMessage(Roster, jsonOf(text));
    deepFreeze(roster);
    this.#last = { text, roster };
    if (roster.version !== version)
      throw new FedError('MESSAGE_INVALID', `the roster is version ${roster.version}, the plan names ${version}`);
    if (kept === null) this.#outbox.putRoster(plan.roster, text);
    return roster;
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new FedError('MESSAGE_INVALID', 'the roster is not JSON');
  }
}
