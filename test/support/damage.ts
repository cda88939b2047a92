/** Damage to files, from a seed: the same seed, the same bytes. */
import { seeded } from '../../shared/imaging/seeded.ts';

/** Flipped bytes, cuts, runs of zeros and ones, bytes taken out or put in twice, lengths and sizes overwritten. */
export function mutated(bytes: Buffer, seed: string): Buffer {
  const random = seeded(seed);
  const out = Buffer.from(bytes);
  const head = Math.min(2048, out.length);
  // Most of what decides is in the first bytes and, for lists at the end, in the last.
  const spot = (): number => {
    const where = random.below(4);
    return where < 2 ? random.below(head) : where === 2 ? random.below(out.length) : out.length - 1 - random.below(Math.min(256, out.length)); // prettier-ignore
  };
  const at = spot();
  const extremes = [0, 1, 0x7f, 0x80, 0xff];
  switch (random.below(8)) {
    case 0:
      return out.subarray(0, random.below(out.length));
    case 1:
      return Buffer.concat([out.subarray(0, at), out.subarray(Math.min(out.length, at + 1 + random.below(64)))]);
    case 2:
      return Buffer.concat([out.subarray(0, at), out.subarray(Math.max(0, at - random.below(64)))]);
    case 3:
      return out.fill(random.below(2) * 255, at, Math.min(out.length, at + 1 + random.below(16)));
    case 4:
      // A length or a size: two or four bytes at their extremes.
      for (let k = 0; k < 2 + 2 * random.below(2) && at + k < out.length; k++) out[at + k] = extremes[random.below(5)];
      return out;
    case 5:
      out[at] ^= 1 << random.below(8);
      return out;
    default:
      for (let k = 0; k < 1 + random.below(8); k++) out[spot()] = random.below(256);
      return out;
  }
}
