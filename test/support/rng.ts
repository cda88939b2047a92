/** A small seeded generator for tests: mulberry32, uniform in [0, 1). Not for anything private. */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `n` uniform values in [low, high). */
export function uniform(seed: number, n: number, low = -1, high = 1): Float32Array {
  const draw = mulberry32(seed);
  return Float32Array.from({ length: n }, () => low + (high - low) * draw());
}
