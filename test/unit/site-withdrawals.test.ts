import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { initialise } from '../../shared/gan/layout.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { selectImages } from '../../shared/imaging/images.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { publicBytes } from '../../shared/public-random.ts';
import { patientIdHash } from '../../site-agent/imaging/dicom/identity.ts';
import { asPrivateImages, type LeftOut, withoutPatients } from '../../site-agent/imaging/private-images.ts';
import { Withdrawals, withdrawalsPath } from '../../site-agent/shell/withdrawals.ts';
import { DpSiteComputation } from '../../site-agent/site-computation.ts';
import { phantomSite, planFor, tinyPolicy } from '../support/glue-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-withdrawals-'));
afterAll(() => rmSync(folder, { recursive: true }));
const out = (patient: string, issuer = '') => ({ patient, issuer, reason: 'consent', what: 'withdrawn' }) as const;

describe('the list', () => {
  const path = withdrawalsPath(join(folder, 'ledger.sqlite'));
  test('outlives its process, for its owner alone; a patient may come back', () => {
    const list = new Withdrawals(path, null);
    expect([list.has('p-17'), list.count, list.version]).toEqual([false, 0, 0]);
    expect(list.note(out('p-17'), 1)).toBe(true);
    expect(list.note(out('p-17'), 2), 'twice is once').toBe(false);
    expect(list.note(out('p-18'), 3)).toBe(true);
    expect(statSync(path).mode & 0o077).toBe(0);
    const again = new Withdrawals(path, null);
    expect([again.has('p-17'), again.has('p-18'), again.has('p-1'), again.count]).toEqual([true, true, false, 2]);
    expect(again.note({ ...out('p-17'), what: 'restored' }, 4)).toBe(true);
    expect([again.has('p-17'), again.count]).toEqual([false, 1]);
    // What another process wrote is seen without opening the file anew.
    const before = list.version;
    expect(list.version, 'the version follows the file').toBeGreaterThan(0);
    expect([list.has('p-17'), list.version >= before]).toEqual([false, true]);
  });
  test('an id of a DICOM header is known by its hash, with and without an issuer', () => {
    const key = new Uint8Array(32).fill(7);
    const hash = (id: string, issuer: string) => patientIdHash(id, Buffer.from(issuer, 'latin1'), key);
    const file = withdrawalsPath(join(folder, 'dicom.sqlite'));
    new Withdrawals(file, null).note(out('4711'), 1);
    new Withdrawals(file, null).note(out('4712', 'HOSP'), 1);
    new Withdrawals(file, null).note(out('4713', 'HOS'), 1);
    const list = new Withdrawals(file, key);
    expect(list.has(hash('4711', ''))).toBe(true);
    expect(list.has(hash('4712', 'HOSP'))).toBe(true);
    expect(list.has(hash('4713', 'HOS ')), 'padded to an even length, as in a header').toBe(true);
    expect(list.has(hash('4712', ''))).toBe(false);
    expect(new Withdrawals(file, new Uint8Array(32)).has(hash('4711', ''))).toBe(false);
  });
  test('changed by hand, it is refused: an entry altered, one removed, no list at all', () => {
    const file = withdrawalsPath(join(folder, 'tampered.sqlite'));
    const list = new Withdrawals(file, null);
    list.note(out('a'), 1);
    list.note(out('b'), 2);
    const text = readFileSync(file, 'utf8');
    const broken = [
      text.replace('"b"', '"c"'),
      JSON.stringify({ version: 1, entries: (JSON.parse(text) as { entries: unknown[] }).entries.slice(1) }),
      '{}',
      'not json',
    ];
    for (const wrong of broken) {
      writeFileSync(file, wrong);
      expect(() => new Withdrawals(file, null)).toThrow(/STORE_CORRUPT/);
    }
    writeFileSync(file, text);
    expect(new Withdrawals(file, null).count).toBe(2);
  });
});

describe('what a run makes of it', () => {
  const policy = tinyPolicy({ privacy: { sampleRate: 0.9, expectedBatch: 24, maxBatch: 26 } });
  const all = phantomSite();
  const gone = all.patientGroups[3].id;
  const nobody: LeftOut = { version: 0, has: () => false };
  let engine: Engine;
  beforeAll(async () => {
    engine = await openEngine('cpu', { threads: 1 });
  });
  afterAll(() => engine.dispose());

  /** A step and a moment sum from the same bytes of chance: the same patients give the same bytes. */
  async function stepOf(images: typeof all, during?: () => void) {
    const random = publicBytes('withdrawal');
    const c = await DpSiteComputation.open({ engine, policy, siteId: 'site-1', images, random });
    const plan = planFor(policy, 1);
    const gan = openGan(ganConfigOf(policy));
    const generator = initialise(gan.generator.layout, 'test');
    let { state } = await c.discriminatorStep(await c.initialState(plan), plan, generator);
    during?.();
    ({ state } = await c.discriminatorStep(state, plan, generator));
    const moments = await c.noisedMoments(planFor(policy, 0), null);
    await c.dispose();
    return [Buffer.from(state).toString('hex'), Buffer.from(moments.buffer).toString('hex')];
  }
  const without = (id: string) =>
    asPrivateImages(
      selectImages(
        all,
        [...all.labels.keys()].filter((i) => all.patients[i] !== id),
      ),
      true,
    );

  test('who is left out is in no batch and no sum, as if the patient had never been there', async () => {
    const left = withoutPatients(all, { version: 0, has: (id) => id === gone });
    expect(await stepOf(left)).toEqual(await stepOf(without(gone)));
    // Positive control: with the patient, both are others.
    const [state, moments] = await stepOf(withoutPatients(all, nobody));
    const [stateWithout, momentsWithout] = await stepOf(left);
    expect(state).not.toBe(stateWithout);
    expect(moments).not.toBe(momentsWithout);
  });

  test('in the middle of a run: the steps before stay, the ones after are without', async () => {
    let version = 0;
    const images = withoutPatients(all, {
      get version() {
        return version;
      },
      has: (id) => version === 1 && id === gone,
    });
    const [, moments] = await stepOf(images, () => (version = 1));
    version = 0;
    const [, never] = await stepOf(images);
    expect(moments).not.toBe(never);
    version = 1;
    expect(images.patientGroups.some((p) => p.id === gone)).toBe(false);
    expect(images.patientGroups).toHaveLength(all.patientGroups.length - 1);
  });

  test('they stay private: no message and no log line can carry them', () => {
    const left = withoutPatients(all, nobody);
    expect(() => JSON.stringify(left)).toThrow(/never serialised/);
  });
});
