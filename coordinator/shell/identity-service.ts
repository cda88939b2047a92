import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { FedError } from '../../shared/errors.ts';
import { type Binding, checkJoin, type Join } from '../../shared/identity/handshake.ts';
import { signInvite, verifyInvite } from '../../shared/identity/invite.ts';
import { type PublicSigningKey, publicPart } from '../../shared/identity/jwk.ts';
import type { SigningKeys } from '../../shared/identity/keys.ts';
import {
  activeSite,
  EMPTY_ROSTER,
  type Roster,
  type RosterEntry,
  rosterSeen,
  signRoster,
  verifyRoster,
  withoutSite,
} from '../../shared/identity/roster.ts';
import type { RequestHandler } from '../../shared/protocol/link.ts';
import { parseMessage } from '../../shared/protocol/messages.ts';
import { admit, issueInvite, type Membership, withdrawInvite } from '../core/admission.ts';
import type { IdentityStore, StoredIdentity } from './identity-store.ts';

export interface InviteRequest {
  readonly siteId: string;
  /** Where sites reach this coordinator, `https://...`. */
  readonly url: string;
  /** The certificate to pin; null when the sites' own certificate authorities vouch for it. */
  readonly tlsFingerprint: string | null;
  readonly ttlMs?: number;
}

const WEEK_MS = 7 * 24 * 3600 * 1000;

/** Puts `identity.roster` {} -> {roster} before a handler: any site may ask for the signed roster at any time. */
export const withRoster = (identity: IdentityService, handler: RequestHandler): RequestHandler => ({
  async handle(siteId, type, payload) {
    if (type !== 'identity.roster') return handler.handle(siteId, type, payload);
    parseMessage(z.strictObject({}), payload);
    return { ok: true, body: { roster: identity.rosterJws } };
  },
  onWake: (listener) => handler.onWake(listener),
});

interface Loaded {
  readonly revision: number;
  readonly identity: StoredIdentity;
}

/** Invites, joins and the roster: loads, asks the pure core, signs, saves. */
export class IdentityService {
  readonly keys: SigningKeys;
  /** What former keys of this coordinator have signed, oldest first: how sites come from theirs to `keys`. */
  readonly succession: readonly string[];
  readonly #store: IdentityStore;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #listeners = new Set<(roster: Roster) => void>();
  #now: Loaded;

  private constructor(
    keys: SigningKeys,
    succession: readonly string[],
    store: IdentityStore,
    clock: Pick<Clock, 'now'>,
    now: Loaded,
  ) {
    this.keys = keys;
    this.succession = succession;
    this.#store = store;
    this.#clock = clock;
    this.#now = now;
  }

  /**
   * Opens the store; the first time, signs an empty roster.
   * @param o.former - public keys this coordinator had before: a roster that one of them signed is signed anew.
   * @param o.signerLost - the key before was lost, and with it who it was: the roster is taken as it is stored.
   * @throws {FedError} STORE_CORRUPT when the roster there is not what one of these keys signed.
   */
  static async open(
    keys: SigningKeys,
    store: IdentityStore,
    clock: Pick<Clock, 'now'>,
    o: {
      readonly succession?: readonly string[];
      readonly former?: readonly PublicSigningKey[];
      readonly signerLost?: boolean;
    } = {},
  ): Promise<IdentityService> {
    const succession = o.succession ?? [];
    const loaded = await store.load();
    if (loaded) {
      const by = await signerOf(loaded.identity, [publicPart(keys.signing), ...(o.former ?? [])]);
      if (by === null && o.signerLost !== true)
        throw new FedError('STORE_CORRUPT', `the stored roster was not signed by ${keys.kid}`);
      if (by === 0) return new IdentityService(keys, succession, store, clock, loaded);
      // The same roster under the key of now: its version stays, so that no site has seen a newer one.
      const { roster } = loaded.identity;
      const identity = { ...loaded.identity, rosterJws: await signRoster(keys, roster, clock.now()) };
      if (!(await store.save(identity, loaded.revision)))
        throw new FedError('INTERNAL', 'the identity store changed while the roster was signed anew');
      return new IdentityService(keys, succession, store, clock, { revision: loaded.revision + 1, identity });
    }
    const rosterJws = await signRoster(keys, EMPTY_ROSTER, clock.now());
    return new IdentityService(keys, succession, store, clock, {
      revision: 0,
      identity: { invites: [], roster: EMPTY_ROSTER, rosterJws },
    });
  }

  get roster(): Roster {
    return this.#now.identity.roster;
  }
  /** The roster as signed, for sites. */
  get rosterJws(): string {
    return this.#now.identity.rosterJws;
  }

  /** An active site's entry. @throws {FedError} KEY_UNKNOWN */
  site(siteId: string): RosterEntry {
    return activeSite(this.roster, siteId);
  }

  /** Called after every change of the roster. Returns the function that stops listening. */
  onRoster(listener: (roster: Roster) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Makes a one-time invite, to join as a new site or to give an existing one new keys.
   * @returns the string to hand to the site's operator: a secret until it is used.
   */
  async invite(request: InviteRequest): Promise<{ jti: string; invite: string }> {
    const nowMs = this.#clock.now();
    const ttlMs = request.ttlMs ?? WEEK_MS;
    const jti = randomUUID();
    const { siteId, url, tlsFingerprint } = request;
    const invite = await signInvite(this.keys, { jti, siteId, url, tlsFingerprint, nowMs, ttlMs });
    await this.#change((m) => issueInvite(m, { jti, siteId, expMs: nowMs + ttlMs }, nowMs));
    return { jti, invite };
  }

  /** Reads what another process has changed: an operator's command beside a coordinator that runs. */
  async refresh(): Promise<void> {
    const loaded = await this.#store.load();
    if (loaded !== null && loaded.revision > this.#now.revision) this.#adopt(loaded);
  }

  async withdraw(jti: string): Promise<void> {
    await this.#change((m) => withdrawInvite(m, jti));
  }

  /** Revokes a site; its connection is cut by the server. @throws {FedError} KEY_UNKNOWN */
  async revoke(siteId: string): Promise<void> {
    await this.#change((m) => ({ ...m, roster: withoutSite(m.roster, siteId) }));
  }

  /**
   * Lets a site in.
   *
   * Guarantee: invite spent and roster entry written together, durable, before the roster is answered.
   * @throws {FedError} INVITE_INVALID, SIGNATURE_INVALID, HANDSHAKE_REPLAYED
   */
  async join(message: z.infer<typeof Join>, binding: Binding): Promise<{ siteId: string; roster: string }> {
    const claims = await verifyInvite(message.invite, publicPart(this.keys.signing));
    const keys = await checkJoin(message, this.keys.kid, binding);
    await this.#change((m) => admit(m, claims, keys, this.#clock.now()));
    return { siteId: claims.siteId, roster: this.rosterJws };
  }

  /** Applies a pure change to what the store holds now; another coordinator's change in between is read first. */
  async #change(decide: (m: Membership) => Membership | null): Promise<void> {
    for (let tries = 0; tries < 10; tries++) {
      const { revision, identity } = (await this.#store.load()) ?? this.#now;
      const next = decide(identity);
      if (next === null) return this.#adopt({ revision, identity });
      const same = next.roster === identity.roster;
      const rosterJws = same ? identity.rosterJws : await signRoster(this.keys, next.roster, this.#clock.now());
      const saved: StoredIdentity = { invites: [...next.invites], roster: next.roster, rosterJws };
      if (await this.#store.save(saved, revision)) return this.#adopt({ revision: revision + 1, identity: saved });
    }
    throw new FedError('INTERNAL', 'the identity store changed under every one of ten tries');
  }

  #adopt(now: Loaded): void {
    if (now.revision < this.#now.revision) return;
    const changed = now.identity.rosterJws !== this.rosterJws;
    this.#now = now;
    if (changed) for (const listener of this.#listeners) listener(this.roster);
  }
}

/** Which of these keys signed the roster that is stored; null when none did. */
async function signerOf(identity: StoredIdentity, keys: readonly PublicSigningKey[]): Promise<number | null> {
  const { sha256 } = rosterSeen(identity.roster);
  for (const [i, key] of keys.entries()) {
    const signed = await verifyRoster(identity.rosterJws, key, null).catch(() => null);
    if (signed !== null && rosterSeen(signed).sha256 === sha256) return i;
  }
  return null;
}
