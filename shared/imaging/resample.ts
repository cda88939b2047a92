/**
 * Separable resampling of one plane. Shrinking averages exactly the area a target pixel covers; enlarging uses
 * Lanczos with three lobes. At the same size every value is returned unchanged.
 */

/** For each target position: the first source position and the weights from there on. They sum to 1. */
interface Taps {
  readonly first: Int32Array;
  readonly weights: readonly Float64Array[];
}

const lanczos3 = (x: number): number => {
  if (x === 0) return 1;
  if (Math.abs(x) >= 3) return 0;
  const t = Math.PI * x;
  return (3 * Math.sin(t) * Math.sin(t / 3)) / (t * t);
};

function tapsFor(from: number, to: number): Taps {
  const first = new Int32Array(to);
  const scale = from / to;
  const weights = Array.from(first, (_, i) => {
    const [low, high] = scale >= 1 ? [i * scale, (i + 1) * scale] : [(i + 0.5) * scale - 3, (i + 0.5) * scale + 3];
    const start = Math.max(0, Math.floor(low + 1e-9));
    const end = Math.max(start + 1, Math.min(from, Math.ceil(high - 1e-9)));
    first[i] = start;
    const w = Float64Array.from({ length: end - start }, (_, k) =>
      scale >= 1
        ? Math.max(0, Math.min(high, start + k + 1) - Math.max(low, start + k))
        : lanczos3(start + k + 0.5 - (i + 0.5) * scale),
    );
    const sum = w.reduce((a, b) => a + b, 0);
    return w.map((x) => x / sum);
  });
  return { first, weights };
}

const cache = new Map<string, Taps>();
function cachedTaps(from: number, to: number): Taps {
  const key = `${from}:${to}`;
  let taps = cache.get(key);
  if (!taps) {
    // Folders of photographs come in many sizes; the cache must not grow with them.
    if (cache.size >= 256) cache.clear();
    taps = tapsFor(from, to);
    cache.set(key, taps);
  }
  return taps;
}

/**
 * Resamples a plane to `size` × `size`.
 *
 * @param plane - [height, width] row-major.
 * @returns [size, size], never outside the range of `plane`, since Lanczos overshoot is cut.
 */
export function resamplePlane(plane: Float64Array, width: number, height: number, size: number): Float64Array {
  if (width === size && height === size) return plane;
  let [min, max] = [Infinity, -Infinity];
  for (const x of plane) {
    if (x < min) min = x;
    if (x > max) max = x;
  }
  const across = cachedTaps(width, size);
  const narrow = new Float64Array(height * size);
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < size; i++) {
      const w = across.weights[i];
      const at = y * width + across.first[i];
      let sum = 0;
      for (let k = 0; k < w.length; k++) sum += w[k] * plane[at + k];
      narrow[y * size + i] = sum;
    }
  }
  const down = cachedTaps(height, size);
  const out = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    const w = down.weights[i];
    const at = down.first[i] * size;
    for (let x = 0; x < size; x++) {
      let sum = 0;
      for (let k = 0; k < w.length; k++) sum += w[k] * narrow[at + k * size + x];
      out[i * size + x] = sum < min ? min : sum > max ? max : sum;
    }
  }
  return out;
}
