import { expect, test } from 'vitest';
import type { DecodeSettings } from '../../site-agent/imaging/decode-file.ts';
import { DecodePool } from '../../site-agent/imaging/decode-pool.ts';
import { mutated } from '../support/damage.ts';
import { damageCorpus } from '../support/damage-corpus.ts';
import { medicalDataAbsent } from '../support/medical-data.ts';

const settings: DecodeSettings = { size: 28, channels: 1, fit: 'crop', recipe: 'by-modality', burnedIn: 'accept', plane: 'axial', perFile: 2, everyPixel: false, labelTags: ['Modality'], patientKey: new Uint8Array(32) }; // prettier-ignore

// A hundred thousand run with the slow tests; these are the first of them.
test('400 damaged DICOM and NIfTI files are decoded or refused by name, never worse', async () => {
  const corpus = await damageCorpus();
  const unexpected: string[] = [];
  const pool = new DecodePool({
    settings,
    threads: 2,
    timeoutMs: 20_000,
    onUnexpected: (name) => unexpected.push(name),
  });
  const seen = { decoded: 0, refused: 0 };
  const one = async (k: number): Promise<void> => {
    const { name, bytes } = corpus[k % corpus.length];
    try {
      const { units } = await pool.decodeBytes(mutated(bytes, `${name} ${Math.floor(k / corpus.length)}`), name);
      for (const unit of units) expect(unit.every((x) => x >= -1 && x <= 1)).toBe(true);
      seen.decoded++;
    } catch (error) {
      expect(error).toMatchObject({ code: 'IMAGE_UNREADABLE' });
      expect((error as Error).message).not.toMatch(/took longer|needs more than/);
      seen.refused++;
    }
  };
  for (let k = 0; k < 400; k += 8) await Promise.all(Array.from({ length: 8 }, (_, i) => one(k + i)));
  await pool.close();
  expect(unexpected).toEqual([]);
  // Control: damage does damage, and not everything.
  expect([seen.decoded > 40, seen.refused > 80]).toEqual([true, true]);
}, 120_000);

// CharLS before https://github.com/team-charls/charls/pull/334 counts through all of a word on some damaged streams: 8 s on a
// fast processor, minutes on a busy one, and in WebAssembly nothing but the end of the thread stops it. These two bytes of
// the stream, and one behind it, are enough.
test.skipIf(medicalDataAbsent)(
  'a stream that its decoder takes too long over costs its time and its thread, and the next file is decoded',
  async () => {
    const { name, bytes } = (await damageCorpus()).find((file) => file.name === 'JLSL_08_07_0_1F.dcm')!;
    const pool = new DecodePool({ settings, threads: 1, timeoutMs: 4000 });
    const slow = pool.decodeBytes(mutated(bytes, `${name} 2334`), name);
    const next = pool.decodeBytes(bytes, name);
    await expect(slow).rejects.toThrow(/IMAGE_UNREADABLE: it took longer than 4 s/);
    expect((await next).units).toHaveLength(1);
    await pool.close();
  },
  120_000,
);
