/**
 * The masks of a site's next step, added up while it waits for the coordinator: they depend on keys, on who masks, and on
 * nothing else of the step. What is taken is what would be worked out then. None of it is on the disk or on the wire; it
 * is used once, and not at all where anything it was made of is another by then.
 */
import type { RoundPlan } from '../../protocol/plan.ts';
import { turn } from '../../turn.ts';
import { addMasks, addWords } from './mask.ts';
import type { Mask } from './mask.ts';
import type { Secret } from './secret.ts';

/** Everything that the masks of a step are made of. */
export interface MaskedStep {
  /** By identity, as is the secret. */
  readonly plan: RoundPlan;
  readonly secret: Secret;
  readonly step: number;
  /** Who masks in it, ascending. */
  readonly sites: readonly string[];
}

/** Masks expanded between two turns of the event loop. */
const AT_ONCE = 8;

export class MasksAhead {
  #at: { readonly of: MaskedStep; readonly total: Promise<Int32Array | null> } | null = null;
  /** Of the vector that was masked last: the next one has it too. */
  #length = 0;
  readonly #addMasks: typeof addMasks;

  constructor(add = addMasks) {
    this.#addMasks = add;
  }

  /** Begins to add up the masks of a step; what was there before goes. */
  begin(of: MaskedStep, masks: () => Mask[]): void {
    this.forget();
    // Whatever goes wrong is met again, and heard of, when the masks are needed.
    this.#at = { of, total: this.#total(masks).catch(() => null) };
  }

  /** Adds the masks of a step to values, modulo 2^32, as `addMasks` does: with less to do where they were begun. */
  async add(values: Uint32Array, of: MaskedStep, masks: () => Mask[]): Promise<void> {
    const at = this.#at;
    this.#at = null;
    this.#length = values.length;
    const total = (await at?.total) ?? null;
    if (at !== null && same(at.of, of) && total?.length === values.length)
      addWords(new Int32Array(values.buffer, values.byteOffset, values.length), total, 1);
    else this.#addMasks(values, masks());
    total?.fill(0);
  }

  /** What was added up is overwritten, if it is not on its way into an update. */
  forget(): void {
    void this.#at?.total.then((total) => total?.fill(0));
    this.#at = null;
  }

  async #total(masks: () => Mask[]): Promise<Int32Array> {
    const [total, all] = [new Uint32Array(this.#length), masks()];
    for (let start = 0; start < all.length; start += AT_ONCE) {
      await turn();
      this.#addMasks(total, all.slice(start, start + AT_ONCE));
    }
    return new Int32Array(total.buffer);
  }
}

const same = (a: MaskedStep, b: MaskedStep): boolean =>
  a.plan === b.plan && a.secret === b.secret && a.step === b.step && a.sites.join() === b.sites.join();
