import { expect, test } from 'vitest';
import type { DecodeSettings } from '../../site-agent/imaging/decode-file.ts';
import { DecodePool } from '../../site-agent/imaging/decode-pool.ts';
import { mutated } from '../support/damage.ts';
import { damageCorpus } from '../support/damage-corpus.ts';

const COPIES = 100_000;
const settings: DecodeSettings = { size: 28, channels: 1, fit: 'crop', recipe: 'by-modality', burnedIn: 'accept', plane: 'axial', perFile: 2, everyPixel: false, labelTags: ['Modality'], patientKey: new Uint8Array(32) }; // prettier-ignore
/** Of the whole process, threads and WebAssembly included. */
const MAX_RSS_BYTES = 2 * 2 ** 30;

test(`${COPIES} damaged copies neither crash, nor hang, nor take the memory`, async () => {
  const corpus = await damageCorpus();
  const unexpected = new Map<string, string>();
  let current = '';
  const pool = new DecodePool({ settings, threads: 2, timeoutMs: 120_000, onUnexpected: (name) => unexpected.set(name, current) }); // prettier-ignore
  const seen = { decoded: 0, refused: 0, rss: 0 };
  const slow: string[] = [];
  const one = async (k: number): Promise<void> => {
    const { name, bytes } = corpus[k % corpus.length];
    const seed = `${name} ${Math.floor(k / corpus.length)}`;
    current = seed;
    try {
      await pool.decodeBytes(mutated(bytes, seed), name);
      seen.decoded++;
    } catch (error) {
      expect(error).toMatchObject({ code: 'IMAGE_UNREADABLE' });
      if (/took longer|needs more than/.test((error as Error).message))
        slow.push(`${seed}: ${(error as Error).message}`);
      seen.refused++;
    }
  };
  for (let k = 0; k < COPIES; k += 8) {
    await Promise.all(Array.from({ length: 8 }, (_, i) => one(k + i)));
    seen.rss = Math.max(seen.rss, process.memoryUsage.rss());
    if (k % 5000 === 0) console.log(`${k} of ${COPIES}`, JSON.stringify(seen), slow);
  }
  await pool.close();
  console.log(JSON.stringify(seen), slow, [...unexpected]);
  expect([...unexpected]).toEqual([]);
  expect(seen.rss).toBeLessThan(MAX_RSS_BYTES);
  // A file may be given up for its time, which the pool is there for; many would say that something hangs.
  expect(slow.length, slow.join('\n')).toBeLessThan(COPIES / 1000);
  // Half an hour on two idle processors; beside other work it is given its time.
}, 14_400_000);
