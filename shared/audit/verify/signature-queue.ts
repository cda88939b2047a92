/** Signatures are checked on other threads while the log is read on: so many at a time, so that memory stays flat. */
const IN_FLIGHT = 512;

export class SignatureQueue {
  readonly #pending = new Set<Promise<void>>();
  #checked = 0;

  /** How many checks were asked for. */
  get checked(): number {
    return this.#checked;
  }

  /** Begins a check; whatever it finds it reports itself. */
  add(check: Promise<void>): void {
    this.#checked += 1;
    const settled = check.finally(() => this.#pending.delete(settled));
    this.#pending.add(settled);
  }

  /** Waits until there is room for more. */
  async room(): Promise<void> {
    while (this.#pending.size >= IN_FLIGHT) await Promise.race(this.#pending);
  }

  /** Waits for all. @throws whatever a check threw: a bug, since checks report what they find. */
  async drain(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }
}
