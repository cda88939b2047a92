/**
 * Numbers in [-1, 1) that NumPy makes as well, bit for bit: whole-number arithmetic below 2^53, then a division by a power
 * of two. `metrics-reference.py` beside this file makes the same.
 * @param phase - tells sets apart.
 */
export const referenceRows = (values: number, phase: number): Float32Array =>
  Float32Array.from({ length: values }, (_, k) => {
    const q = (k * k * 31 + k * 7919 + phase * 104_729) % 65_521;
    return ((q * q) % 65_536) / 32_768 - 1;
  });
