import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toBytes } from '../../shared/imaging/images.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { DecodeCache, imagingKey } from '../../site-agent/imaging/decode-cache.ts';
import type { DecodedFile, DecodeSettings } from '../../site-agent/imaging/decode-file.ts';
import { DecodePool } from '../../site-agent/imaging/decode-pool.ts';
import { type DatasetOptions, readDataset, readPrivateImages } from '../../site-agent/imaging/read-dataset.ts';
import { siteNpz } from '../../cli/demo/data.ts';
import { withoutPatients } from '../../site-agent/imaging/private-images.ts';
import { Withdrawals } from '../../site-agent/shell/withdrawals.ts';
import { temporaryFolder } from '../support/cli-rig.ts';
import { writeDicomPhantoms } from '../support/dicom-folder.ts';
import { dicomFile, greyImage } from '../support/dicom-write.ts';
import { niftiFile } from '../support/nifti-write.ts';

const root = temporaryFolder();
const CLASSES = ['chest', 'hand'] as const;
const options: DatasetOptions = { size: 28, channels: 1, onBadFile: 'refuse', classes: CLASSES, labelTags: ['BodyPartExamined'], threads: 2 }; // prettier-ignore
const settings: DecodeSettings = { size: 28, channels: 1, fit: 'crop', recipe: 'by-modality', burnedIn: 'refuse', plane: 'axial', everyPixel: false, labelTags: [], patientKey: new Uint8Array(32) }; // prettier-ignore

let files: string[];
beforeAll(() => {
  files = writeDicomPhantoms(root.at('archive'), { patients: 12, site: 'a', classes: CLASSES });
});
afterAll(() => root[Symbol.dispose]());

describe('a folder of DICOM files', () => {
  test('gives the phantoms it was written from, by patient, with labels from a tag', async () => {
    const { images, patientsKnown, bad } = await readDataset(root.at('archive'), options);
    expect([images.n, patientsKnown, bad, images.classNames]).toEqual([12, true, [], CLASSES]);
    // Files are read in the order of their names, STUDY by STUDY.
    const order = files.map((file, i) => [file, i] as const).toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, i]) => i); // prettier-ignore
    const drawn = phantomImages({ size: 28, channels: 1, seed: 'dicom folder', patients: 12, site: 'a', classes: CLASSES }); // prettier-ignore
    expect(Array.from(images.labels)).toEqual(order.map((i) => drawn.labels[i]));
    order.forEach((from, to) => {
      const [ours, theirs] = [images.pixels, drawn.pixels].map((p, k) => toBytes(p.slice((k ? from : to) * 784, ((k ? from : to) + 1) * 784))); // prettier-ignore
      expect(Math.max(...ours.map((x, i) => Math.abs(x - theirs[i])))).toBeLessThanOrEqual(1);
    });
    expect(new Set(images.patients).size).toBe(12);
    for (const patient of images.patients) expect(patient).toMatch(/^[0-9a-f]{32}$/);
  }, 60_000);

  test('a patient is one hash under the site’s key, however the data name the patient, and is found again when withdrawn', async () => {
    const patientKey = new Uint8Array(32).fill(5);
    const plain = { size: 28, channels: 1, onBadFile: 'refuse', patientKey, threads: 1 } as const;
    const copy = (...to: string[]): void => {
      mkdirSync(root.at(...to.slice(0, -1)), { recursive: true });
      copyFileSync(files[0], root.at(...to));
    };
    copy('by-folder', 'chest', 'PATIENT-7', 'a.dcm');
    copy('by-csv', 'scans', 'a.dcm');
    writeFileSync(root.at('by-csv', 'labels.csv'), 'file,label,patient\nscans/a.dcm,chest,PATIENT-7\n');
    const image = { size: 28, channels: 1, seed: 'x', patients: 1, site: 'a', classes: ['chest'] } as const;
    writeFileSync(root.at('one.npz'), await siteNpz({ ...phantomImages(image), patients: ['PATIENT-7'] }, true));
    const tagged = `a-${phantomImages(image).patients[0]}`;
    const ways = [
      ['PATIENT-7', root.at('by-folder'), { ...plain, patientFolders: true }],
      ['PATIENT-7', root.at('by-csv'), plain],
      ['PATIENT-7', root.at('one.npz'), plain],
      [tagged, root.at('archive'), { ...plain, labelTags: ['Modality'] }],
    ] as const;
    for (const [k, [name, target, how]] of ways.entries()) {
      const { images } = await readPrivateImages(target, how);
      for (const id of images.patients) expect(id).toMatch(/^[0-9a-f]{32}$/);
      const list = new Withdrawals(root.at(`${k}.json`), patientKey);
      const left = withoutPatients(images, list);
      const before = left.patientGroups.length;
      list.note({ patient: 'SOMEBODY ELSE', issuer: '', reason: 'consent', what: 'withdrawn' }, 1);
      expect([name, left.patientGroups.length]).toEqual([name, before]);
      list.note({ patient: name, issuer: '', reason: 'consent', what: 'withdrawn' }, 2);
      expect([name, left.patientGroups.length]).toEqual([name, before - 1]);
    }
  }, 60_000);

  test('a label that is no class refuses the file, and its text is not quoted', async () => {
    await expect(readDataset(root.at('archive'), { ...options, classes: ['chest'] })).rejects.toThrow(/IM\d+: its label is none of the classes/); // prettier-ignore
    const { bad } = await readDataset(root.at('archive'), { ...options, classes: ['chest'], onBadFile: 'skip' });
    expect([bad.length, JSON.stringify(bad).toLowerCase().includes('hand')]).toEqual([6, false]);
    const collected = await readDataset(root.at('archive'), { size: 28, channels: 1, onBadFile: 'refuse', labelTags: ['Modality'] }); // prettier-ignore
    expect(collected.images.classNames).toEqual(['ct']);
  }, 60_000);

  test('class folders, patient folders, CSV, DICOMDIR; strangers are left alone', async () => {
    const dir = root.at('sorted');
    for (const [k, file] of files.slice(0, 4).entries()) {
      mkdirSync(root.at('sorted', k < 2 ? 'x' : 'y', `mrs-${k % 3}`), { recursive: true });
      copyFileSync(file, root.at('sorted', k < 2 ? 'x' : 'y', `mrs-${k % 3}`, `${k}.dcm`));
    }
    for (const name of ['README.txt', 'viewer.exe', 'x/notes.pdf', 'x/.hidden']) writeFileSync(root.at('sorted', name), 'no image'); // prettier-ignore
    const plain = { size: 28, channels: 1, onBadFile: 'refuse' } as const;
    const byFolder = await readDataset(dir, { ...plain, patientFolders: true });
    expect([byFolder.images.classNames, byFolder.images.patients]).toEqual([['x', 'y'], ['mrs-0', 'mrs-1', 'mrs-0', 'mrs-2']]); // prettier-ignore
    writeFileSync(root.at('list.csv'), 'file,label,patient\nx/mrs-0/0.dcm,one,A\ny/mrs-2/2.dcm,two,A\n');
    const byCsv = await readDataset(dir, { ...plain, labels: root.at('list.csv') });
    expect([byCsv.images.classNames, byCsv.images.patients]).toEqual([['one', 'two'], ['A', 'A']]); // prettier-ignore
    const record = (file: string) => ({ '00041430': ['CS', 'IMAGE'], '00041500': ['CS', file] }) as const;
    writeFileSync(root.at('sorted', 'DICOMDIR'), dicomFile({ '00041220': ['SQ', [record('X\\NONE'), record('x\\mrs-0\\0.dcm')]] })); // prettier-ignore
    const listed = await readDataset(dir, { ...options, onBadFile: 'skip' });
    expect([listed.images.n, listed.bad]).toEqual([1, [{ file: 'X/NONE', reason: 'there is no such file' }]]);
  }, 60_000);

  test('volumes are slices, as many as are asked for; several frames of a file are one patient’s', async () => {
    mkdirSync(root.at('volumes', 'brain'), { recursive: true });
    const dims = [6, 6, 10];
    const affine = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]; // prettier-ignore
    const values = Array.from({ length: 360 }, (_, i) => (i * 37) % 251);
    writeFileSync(root.at('volumes', 'brain', 'a.nii'), niftiFile(values, { dims, affine }));
    const plain = { size: 28, channels: 1, onBadFile: 'refuse' } as const;
    const all = await readDataset(root.at('volumes'), plain);
    const some = await readDataset(root.at('volumes'), { ...plain, perFile: 3, plane: 'coronal' });
    expect([all.images.n, some.images.n, new Set(all.images.patients).size, all.patientsKnown]).toEqual([10, 3, 1, false]); // prettier-ignore
  }, 60_000);
});

describe('threads', () => {
  test('a file that takes too long costs itself and its thread, and the next one is decoded', async () => {
    const slow: string[] = [];
    const pool = new DecodePool({ settings, threads: 1, timeoutMs: 1 });
    await expect(pool.decode(files[0])).rejects.toThrow(/took longer than 0.001 s/);
    await pool.close();
    const patient = new DecodePool({
      settings,
      threads: 1,
      timeoutMs: 60_000,
      onUnexpected: (name) => slow.push(name),
    });
    const bad = patient.decodeBytes(Buffer.from('nothing that is known'), 'x');
    const good = patient.decode(files[0]);
    await expect(bad).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE' });
    expect((await good).units).toHaveLength(1);
    await patient.close();
    await expect(patient.decode(files[0])).rejects.toThrow(/closed/);
    expect(slow).toEqual([]);
  }, 60_000);
});

describe('the cache', () => {
  const decoded: DecodedFile = { facts: { packing: 'x', patient: 'MARKED-PATIENT' }, units: [new Float32Array(784).fill(0.25)], masked: 0 }; // prettier-ignore
  const id = { file: 'MARKED-NAME.dcm', size: 5n, mtimeNs: 7n };
  const key = new Uint8Array(32).fill(9);

  test('gives back what was put, for the same file, settings and key only', () => {
    const cache = new DecodeCache(root.at('c1.sqlite'), key, settings);
    cache.put(id, decoded);
    expect(cache.get(id)).toEqual(decoded);
    expect(cache.get({ ...id, mtimeNs: 8n })).toBeUndefined();
    cache.close();
    const again = new DecodeCache(root.at('c1.sqlite'), key, settings);
    expect(again.get(id)).toEqual(decoded);
    again.close();
    for (const other of [{ ...settings, recipe: 'ct-lung' } as const, { ...settings, burnedIn: 'accept' } as const]) {
      const elsewhere = new DecodeCache(root.at('c1.sqlite'), key, other);
      expect(elsewhere.get(id)).toBeUndefined();
      elsewhere.close();
    }
    const stranger = new DecodeCache(root.at('c1.sqlite'), new Uint8Array(32).fill(8), settings);
    expect(stranger.get(id)).toBeUndefined();
    stranger.close();
  });

  test('shows neither names nor values, and a changed or moved record counts as absent', () => {
    const cache = new DecodeCache(root.at('c2.sqlite'), key, settings);
    const other = { ...id, file: 'other.dcm' };
    cache.put(id, decoded);
    cache.put(other, { ...decoded, units: [new Float32Array(784).fill(-1)] });
    cache.close();
    const bytes = Buffer.concat(readdirSync(root.path).filter((f) => f.startsWith('c2.')).map((f) => readFileSync(root.at(f)))); // prettier-ignore
    for (const mark of ['MARKED', Buffer.from(decoded.units[0].buffer).subarray(0, 16)]) expect(bytes.includes(mark)).toBe(false); // prettier-ignore
    expect(statSync(root.at('c2.sqlite')).mode & 0o077).toBe(0);
    const db = new DatabaseSync(root.at('c2.sqlite'));
    const rows = db.prepare('SELECT name, box FROM decoded').all() as { name: Uint8Array; box: Uint8Array }[];
    const swap = db.prepare('UPDATE decoded SET box = ? WHERE name = ?');
    swap.run(rows[1].box, rows[0].name);
    swap.run(rows[0].box, rows[1].name);
    db.close();
    const reopened = new DecodeCache(root.at('c2.sqlite'), key, settings);
    expect([reopened.get(id), reopened.get(other)]).toEqual([undefined, undefined]);
    reopened.close();
    writeFileSync(root.at('c3.sqlite'), 'not a database at all, but long enough to be looked at as one');
    const renewed = new DecodeCache(root.at('c3.sqlite'), key, settings);
    renewed.put(id, decoded);
    expect(renewed.get(id)).toEqual(decoded);
    renewed.close();
  });

  test('its key is made once, and refused when others can read it', () => {
    const made = imagingKey(root.at('imaging.key'));
    expect([made.length, imagingKey(root.at('imaging.key'))]).toEqual([32, made]);
    chmodSync(root.at('imaging.key'), 0o640);
    expect(() => imagingKey(root.at('imaging.key'))).toThrow(/KEYS_EXPOSED/);
    writeFileSync(root.at('short.key'), 'short', { mode: 0o600 });
    expect(() => imagingKey(root.at('short.key'))).toThrow(/STORE_CORRUPT/);
  });

  test('an interrupted reading goes on where it was, and ends with the same images', async () => {
    const seen: string[] = [];
    const cache = { path: root.at('resumed.sqlite'), key };
    // A file in the middle that cannot be read ends the first attempt.
    const broken = root.at('archive', 'STUDY2', 'IM2');
    const whole = readFileSync(broken);
    const { atime, mtime } = statSync(broken);
    writeFileSync(broken, whole.subarray(0, 200));
    await expect(readDataset(root.at('archive'), { ...options, cache, threads: 1 })).rejects.toThrow(/IM2/);
    writeFileSync(broken, whole);
    utimesSync(broken, atime, mtime);
    const decodes = { count: 0 };
    const second = await readDataset(root.at('archive'), { ...options, cache, onFile: (file) => seen.push(file), onProgress: () => decodes.count++ }); // prettier-ignore
    const fresh = await readDataset(root.at('archive'), options);
    expect([second.images.n, seen.length, decodes.count]).toEqual([12, 12, 12]);
    expect(second.images.pixels).toEqual(fresh.images.pixels);
    // Everything is there now: no thread could decode anything in this time.
    const third = await readDataset(root.at('archive'), { ...options, cache, timeoutMs: 1 });
    expect(third.images.pixels).toEqual(fresh.images.pixels);
    await expect(readDataset(root.at('archive'), { ...options, timeoutMs: 1 })).rejects.toThrow(/took longer/);
  }, 60_000);
});

test('a grey picture of the right size keeps every value of its window', async () => {
  mkdirSync(root.at('exact', 'c'), { recursive: true });
  const values = Array.from({ length: 784 }, (_, i) => i % 256);
  writeFileSync(root.at('exact', 'c', 'a.dcm'), dicomFile({ ...greyImage(values, 28, { bits: 8 }), '00080060': ['CS', 'NM'] })); // prettier-ignore
  const { images } = await readDataset(root.at('exact'), { size: 28, channels: 1, onBadFile: 'refuse' });
  expect(Array.from(toBytes(images.pixels))).toEqual(values);
}, 60_000);
