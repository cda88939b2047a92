import type { Clock } from '../../shared/clock.ts';

/** A clock whose hands a test turns. */
export class ManualClock implements Clock {
  #now: number;
  #timers: { at: number; wake: () => void }[] = [];
  constructor(now = 1_700_000_000_000) {
    this.#now = now;
  }
  now(): number {
    return this.#now;
  }
  after(ms: number, wake: () => void): () => void {
    const timer = { at: this.#now + ms, wake };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((t) => t !== timer);
    };
  }
  /** How many timers are set: a test waits for one to be there before it turns the hands. */
  get pending(): number {
    return this.#timers.length;
  }
  advance(ms: number): void {
    this.#now += ms;
    const due = this.#timers.filter((t) => t.at <= this.#now).sort((a, b) => a.at - b.at);
    this.#timers = this.#timers.filter((t) => t.at > this.#now);
    for (const timer of due) timer.wake();
  }
}
