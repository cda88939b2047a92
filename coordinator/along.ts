import type { NextReply } from '../shared/protocol/round-messages.ts';
import type { TensorReceiver } from '../shared/protocol/tensor-receiver.ts';
import { turn } from '../shared/turn.ts';
import type { Served } from './core/served.ts';

/**
 * The discriminator along with the work that names it: a journey fewer before a site's step. It is what any site may read,
 * and only what is named in the reply, so durable. Once: a site that lost it on its way asks for it in parts, which a slow line
 * bears better, and no other goes along for as long as its session lasts.
 */
export class Along {
  readonly #receiver: Pick<TensorReceiver, 'along'>;
  readonly #served: Pick<Served, 'note'>;
  /** Which went last to a site, and to which session of it. */
  readonly #last = new Map<string, { readonly session: string; readonly sha256: string }>();
  /** The session of a site that has lost one. */
  readonly #lossy = new Map<string, string>();

  constructor(receiver: Pick<TensorReceiver, 'along'>, served: Pick<Served, 'note'>) {
    this.#receiver = receiver;
    this.#served = served;
  }

  /** The reply, with the discriminator where it may go along. */
  with(siteId: string, session: string, reply: NextReply): NextReply {
    if (reply.kind !== 'work' || reply.discriminator === null) return reply;
    const { sha256 } = reply.discriminator;
    const along = this.#receiver.along(sha256);
    if (along === null || this.#last.get(siteId)?.sha256 === sha256 || this.#lossy.get(siteId) === session)
      return reply;
    this.#last.set(siteId, { session, sha256 });
    // Who counts on this begins to compute, and sends nothing meanwhile: only once it is on its way.
    void turn()
      .then(turn)
      .then(() => this.#served.note(siteId, sha256));
    return { ...reply, along };
  }

  /** A site asks for these bytes: if they went along to it, they did not come. */
  asked(siteId: string, sha256: string): void {
    const last = this.#last.get(siteId);
    if (last?.sha256 === sha256) this.#lossy.set(siteId, last.session);
  }
}
