import type { PublicError } from '../errors.ts';

/** What a call comes back with on the wire. */
export type Reply = { readonly ok: true; readonly body: unknown } | ({ readonly ok: false } & PublicError);

/**
 * A site's way to its coordinator. Only sites open connections and only sites ask; the coordinator never pushes data,
 * it just says "ask again". Socket.IO over TLS in production, a direct call in the simulator.
 */
export interface CoordinatorLink {
  /**
   * One request, one reply. Never retried inside: the caller knows what may be repeated.
   * @throws {FedError} with the code of a refusal; LINK_LOST when no answer can be had now.
   */
  call(type: string, payload: unknown): Promise<unknown>;
  /** The coordinator's state changed: ask `site.next` again. Returns the function that stops listening. */
  onWake(listener: () => void): () => void;
  close(): Promise<void>;
}

/**
 * The coordinator's side of every call. The identity is the authenticated socket's, never the message's; payloads are
 * `unknown` until a schema has parsed them.
 */
export interface RequestHandler {
  handle(siteId: string, type: string, payload: unknown): Promise<Reply>;
  /** Called with the sites that should ask again, or `all`. Returns the function that stops listening. */
  onWake(listener: (sites: readonly string[] | 'all') => void): () => void;
}
