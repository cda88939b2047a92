/** Signatures are checked on other threads while the log is read on: so many at a time, so that memory stays flat. */
const MOST = 128;

export class SignatureQueue {
  #pending = 0;
  #asked = 0;
  #fault: { error: unknown } | null = null;
  #waiting: { below: number; go: () => void } | null = null;

  /** How many checks were asked for. */
  get checked(): number {
    return this.#asked;
  }

  /** Takes a check that has begun; whatever it finds it reports itself. */
  add(check: Promise<void>): void {
    this.#asked += 1;
    this.#pending += 1;
    check.then(
      () => this.#done(),
      (error: unknown) => {
        this.#fault ??= { error };
        this.#done();
      },
    );
  }

  /** Waits until there is room for more. */
  room(): Promise<void> {
    return this.#below(MOST);
  }

  /** Waits for all. @throws whatever a check threw: a bug, since checks report what they find. */
  async drain(): Promise<void> {
    await this.#below(1);
    if (this.#fault !== null) throw this.#fault.error;
  }

  #done(): void {
    this.#pending -= 1;
    if (this.#waiting === null || this.#pending >= this.#waiting.below) return;
    const { go } = this.#waiting;
    this.#waiting = null;
    go();
  }

  #below(below: number): Promise<void> {
    if (this.#pending < below) return Promise.resolve();
    return new Promise((go) => (this.#waiting = { below, go }));
  }
}
