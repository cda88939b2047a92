/** Links that vanish in a phase of secagg, or write down all that goes over them. */
import type { Coordinator } from '../../coordinator/coordinator.ts';
import { FedError } from '../../shared/errors.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';

export const PHASES = ['keys', 'shares', 'upload', 'agree', 'reveal'] as const;
export type SecretPhase = (typeof PHASES)[number];

/**
 * A link that breaks when its site would answer this phase, for as long as `away` says; the coordinator is told, as by a
 * socket's end.
 */
export function dropping(
  link: CoordinatorLink,
  coordinator: Coordinator,
  siteId: string,
  phase: SecretPhase,
  away: () => boolean = () => true,
): CoordinatorLink {
  let gone = false;
  return {
    ...link,
    async call(type, payload) {
      if (type === 'round.answer' && (payload as { phase: number }).phase === PHASES.indexOf(phase)) gone = true;
      if (!gone || !away()) return link.call(type, payload);
      coordinator.left(siteId);
      throw new FedError('LINK_LOST', 'the site has vanished');
    },
  };
}

/** All bytes of every message in both directions, to be searched. */
export class Recorder {
  readonly #parts: Buffer[] = [];

  around(link: CoordinatorLink): CoordinatorLink {
    return {
      ...link,
      call: async (type, payload) => {
        this.#note(payload);
        const body = await link.call(type, payload);
        this.#note(body);
        return body;
      },
    };
  }

  #note(value: unknown): void {
    this.#parts.push(
      Buffer.from(JSON.stringify(value, (_, v: unknown) => (ArrayBuffer.isView(v) ? undefined : v)) ?? ''),
    );
    const walk = (v: unknown): void => {
      if (ArrayBuffer.isView(v)) this.#parts.push(Buffer.from(v.buffer, v.byteOffset, v.byteLength));
      else if (typeof v === 'object' && v !== null) Object.values(v).forEach(walk);
    };
    walk(value);
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}
