/** Time as an argument: tests turn the hands themselves. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls `wake` once, `ms` from now. Returns the function that calls it off. */
  after(ms: number, wake: () => void): () => void;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, wake) => {
    // Node fires a timer above 2^31-1 ms at once; such a wait is split by whoever needs it, so it is capped here.
    const timer = setTimeout(wake, Math.min(ms, 2 ** 31 - 1));
    return () => clearTimeout(timer);
  },
};
