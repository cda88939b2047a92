import type { NextReply } from '../shared/protocol/round-messages.ts';
import type { TensorReceiver } from '../shared/protocol/tensor-receiver.ts';
import { turn } from '../shared/turn.ts';
import type { Served } from './core/served.ts';

/**
 * The discriminator along with the work that names it: a journey fewer before a site's step. It is what any site may read,
 * and only what is named in the reply, so durable. Once a session: a site that lost it on its way asks for it.
 */
export class Along {
  readonly #receiver: Pick<TensorReceiver, 'along'>;
  readonly #served: Pick<Served, 'note'>;
  /** Which went last, to which session of a site. */
  readonly #last = new Map<string, string>();

  constructor(receiver: Pick<TensorReceiver, 'along'>, served: Pick<Served, 'note'>) {
    this.#receiver = receiver;
    this.#served = served;
  }

  /** The reply, with the discriminator where it may go along. */
  with(siteId: string, session: string, reply: NextReply): NextReply {
    if (reply.kind !== 'work' || reply.discriminator === null) return reply;
    const { sha256 } = reply.discriminator;
    const along = this.#receiver.along(sha256);
    const name = `${session} ${sha256}`;
    if (along === null || this.#last.get(siteId) === name) return reply;
    this.#last.set(siteId, name);
    // Who counts on this begins to compute, and sends nothing meanwhile: only once it is on its way.
    void turn()
      .then(turn)
      .then(() => this.#served.note(siteId, sha256));
    return { ...reply, along };
  }
}
