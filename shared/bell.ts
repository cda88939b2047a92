import type { Clock } from './clock.ts';

/** Somebody asked to stop; what was being done is durable and goes on after the next start. */
export class Stopped extends Error {
  override readonly name = 'Stopped';
}

/** Wakes whoever waits for the state to change. A ring between looking and waiting is not lost. */
export class Bell {
  #rings = 0;
  readonly #waiting = new Set<() => void>();

  /** Taken before looking at the state; handed to `wait`. */
  get rings(): number {
    return this.#rings;
  }

  ring(): void {
    this.#rings += 1;
    for (const wake of [...this.#waiting]) wake();
  }

  /**
   * Waits until it has rung since `seen`, or until `untilMs` on this clock, whichever is first.
   * @throws {Stopped} when the signal is aborted.
   */
  async wait(seen: number, untilMs: number | null, clock: Clock, signal: AbortSignal): Promise<void> {
    if (!signal.aborted && this.#rings === seen && (untilMs === null || clock.now() < untilMs))
      await new Promise<void>((resolve) => {
        const done = () => {
          callOff();
          this.#waiting.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        this.#waiting.add(done);
        signal.addEventListener('abort', done);
        const callOff = untilMs === null ? () => undefined : clock.after(untilMs - clock.now(), done);
      });
    if (signal.aborted) throw new Stopped();
  }
}
