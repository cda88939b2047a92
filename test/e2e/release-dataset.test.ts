/** From DICOM files at three sites to a released data set that other people's tools open, and that its finder can check. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GanGeneratorTrainer } from '../../coordinator/gan-generator-trainer.ts';
import { readRun } from '../../cli/coordinator-status.ts';
import { siteNpz } from '../../cli/demo/data.ts';
import { batchInputs, engineName, processorClass } from '../../cli/release/draw.ts';
import type { Drawing } from '../../cli/release/redraw.ts';
import { makeRelease, type ReleaseOptions } from '../../cli/release/make-release.ts';
import { openSource, type ReleaseSource } from '../../cli/release/source.ts';
import { type VerifyOptions, verifyReleaseFolder } from '../../cli/release/verify.ts';
import { canonicalJson, sha256Hex } from '../../shared/audit/canonical.ts';
import { openEngine } from '../../shared/engine/open.ts';
import { calibrated } from '../../shared/gan/released-images.ts';
import { Sampler } from '../../shared/gan/sampler.ts';
import { createSigningKeys } from '../../shared/identity/keys.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { encodePng } from '../../shared/imaging/png.ts';
import { labelDistribution } from '../../shared/policy/views.ts';
import { recipeId, SignedManifest, signRelease } from '../../shared/release/manifest.ts';
import { cli, CLASSES, sentence, temporaryFolder, tinyPolicy } from '../support/cli-rig.ts';
import { bodyPart, writeDicomPhantoms } from '../support/dicom-folder.ts';
import { holdsMark, MARK, marked } from '../support/marked.ts';
import { pythonWith } from '../support/medical-data.ts';

const root = temporaryFolder();
const { at } = root;
const SITES = ['north', 'south', 'west'];
const LICENCE = ['--licence', 'CC-BY-4.0'];
const IMAGES = 4 * 20;
const kid = () => openSource(at('run')).keys.kid;
const manifestOf = (folder: string) => SignedManifest.parse(JSON.parse(readFileSync(join(folder, 'release.json'), 'utf8'))); // prettier-ignore
const release = (out: string, ...args: string[]) => cli('release', '--dir', at('run'), '--out', at(out), ...LICENCE, '--threads', '1', ...args); // prettier-ignore
const released = () => {
  const log = readRun(openSource(at('run')));
  return log.then((run) => run.log.filter((entry) => entry.kind === 'released').length);
};

beforeAll(async () => {
  for (const site of SITES)
    writeDicomPhantoms(at(site), { patients: 24, site, classes: CLASSES, more: (patient, label) => ({ ...marked(patient), '00180015': ['CS', bodyPart(label)] }) }); // prettier-ignore
  const imaging = { recipe: 'ct-soft-tissue', burnedIn: 'refuse' };
  writeFileSync(
    at('policy.json'),
    tinyPolicy((p) => Object.assign(p, { imaging })),
  );
  const test = phantomImages({ size: 28, channels: 1, patients: 24, imagesPerPatient: [1, 1], seed: 'public' });
  writeFileSync(at('public.npz'), await siteNpz(test, true));
  const data = SITES.map((site) => at(site));
  const run = [
    '--policy',
    at('policy.json'),
    '--out',
    at('run'),
    '--images',
    '8',
    '--label-tag',
    'BodyPartExamined',
    '--threads',
    '1',
  ];
  expect(await cli('simulate', '--data', ...data, ...run)).toMatchObject({ code: 0 });
  expect(await release('png', '--per-class', '20', '--public', at('public.npz'))).toMatchObject({ code: 0 });
}, 300_000);
afterAll(() => root[Symbol.dispose]());

const everyFile = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

test('the folder has all that was promised, each file with its digest, and the log names it', async () => {
  const papers = ['croissant.json', 'datasheet.html', 'datasheet.md', 'generator.json', 'generator.onnx', 'labels.csv'];
  const more = ['model-card.md', 'policy.json', 'release.json', 'release.jws', 'samples.png', 'synthetic.npz'];
  expect(readdirSync(at('png')).sort()).toEqual(['images', ...papers, ...more].sort());
  const manifest = manifestOf(at('png'));
  expect(manifest.files.length).toBe(IMAGES + papers.length + more.length - 2);
  expect(manifest).toMatchObject({ images: IMAGES, gate: null, log: { outcome: 'completed', rounds: 4 } });
  expect(manifest.epsilon).toMatchObject({ bound: 10, sites: [{ siteId: 'site-1' }, {}, {}] });
  expect(manifest.metrics.map((m) => m.name)).toContain('train on synthetic, test on real');
  const { log } = await readRun(openSource(at('run')));
  const entry = log.find((e) => e.kind === 'released');
  expect(entry?.body).toMatchObject({ manifestSha256: sha256Hex(readFileSync(at('png', 'release.json'))), images: IMAGES }); // prettier-ignore
});

test('no mark of a patient is in any released file', () => {
  expect(holdsMark(readFileSync(at('north', 'STUDY0', 'IM0')))).toBe(true);
  const files = everyFile(at('png'));
  expect(files.length).toBeGreaterThan(IMAGES);
  expect(files.filter((file) => holdsMark(readFileSync(file)) || file.includes(MARK))).toEqual([]);
});

test('the datasheet has its seven sections, what it knows, and what only the publisher can say', () => {
  const sheet = readFileSync(at('png', 'datasheet.md'), 'utf8');
  const titles = Array.from(sheet.matchAll(/^## (.*)$/gm), ([, title]) => title);
  expect(titles).toEqual(['Motivation', 'Composition', 'Collection process', 'Preprocessing, cleaning, labeling', 'Uses', 'Distribution', 'Maintenance']); // prettier-ignore
  expect(sheet).toContain('No release gate judged these images');
  expect(sheet).toContain('OPEN: only the publisher can answer this (question "consent")');
  expect(sheet).toContain('demonstration policy');
  expect(sheet).toContain('| chest | 20 |');
  const page = readFileSync(at('png', 'datasheet.html'), 'utf8').replace(/src="data:image\/png;base64,[^"]+"/, '');
  expect(page.match(/<script|<link|(?:src|href)=|url\(/i)).toBeNull();
});

describe('Python', () => {
  const read = async (folder: string) => {
    const python = await pythonWith('numpy, pydicom, onnx, PIL');
    if (python === undefined) return null;
    const script = join(import.meta.dirname, '../support/release-check.py');
    return JSON.parse(execFileSync(python, [script, folder], { encoding: 'utf8' })) as Record<string, unknown>;
  };
  const all = { rows: IMAGES, agree: IMAGES, digests: IMAGES, marked: IMAGES, empty: [0, 0, 0, 0], labels: [IMAGES, 1], classes: [...CLASSES], inputs: ['latents', 'labels'] }; // prettier-ignore

  test('opens PNG, npz, ONNX, CSV and Croissant, and they agree', async (context) => {
    const found = await read(at('png'));
    if (found === null) return context.skip('no Python with numpy, pydicom, onnx and PIL');
    expect(found).toMatchObject({ ...all, shape: [IMAGES, 28, 28], dtype: 'uint8' });
    expect(found['croissant']).toContain('http://mlcommons.org/croissant/1.1');
  }, 120_000);

  test('opens DICOM of 16 bits: one made-up patient, UIDs that come again with the release', async (context) => {
    const args = ['--per-class', '20', '--format', 'dicom', '--bits', '16', '--mark'];
    expect(await release('dicom', ...args)).toMatchObject({ code: 0 });
    expect(await cli('release', 'verify', at('dicom'), '--coordinator', kid())).toMatchObject({ code: 0 });
    const found = await read(at('dicom'));
    if (found === null) return context.skip('no Python with numpy, pydicom, onnx and PIL');
    expect(found).toMatchObject({ ...all, shape: [IMAGES, 28, 28], dtype: 'uint16' });
    expect(found['patients']).toEqual([`SYNTHETIC^NO PATIENT SYNTHETIC-${manifestOf(at('dicom')).recipeSha256.slice(0, 16)}`]); // prettier-ignore
    expect(new Set(found['uids'] as string[]).size).toBe(IMAGES);
  }, 120_000);

  test.each(['dciodvfy', 'gdcminfo', 'dcmftest'])('%s has nothing against the DICOM files', (tool, ...rest) => {
    const file = everyFile(at('dicom', 'images'))[0];
    let said: string;
    try {
      said = execFileSync('sh', ['-c', `${tool} "$0" 2>&1 || true`, file], { encoding: 'utf8' });
    } catch {
      return;
    }
    if (said.includes('not found')) return console.warn(`skipped: ${tool} is not here`, ...rest);
    // Dictionaries from before 2022 do not know Synthetic Data.
    expect(said.split('\n').filter((line) => /error|^no:/i.test(line) && !line.includes('(0x0008,0x001c)'))).toEqual(
      [],
    );
  });
});

describe('release verify', () => {
  const verify = (folder: string, o: Partial<VerifyOptions> = {}) =>
    verifyReleaseFolder(at(folder), { coordinator: kid(), sample: 100, ...o });
  const changed = (name: string, change: (folder: string) => void): string => {
    cpSync(at('png'), at(name), { recursive: true });
    change(at(name));
    return name;
  };
  const image = 'images/chest/000001.png';
  const signedAgain = async (
    folder: string,
    change: (m: SignedManifest) => void,
    keys = openSource(at('run')).keys,
  ) => {
    const manifest = manifestOf(folder);
    for (const file of manifest.files) {
      const body = readFileSync(join(folder, file.name));
      Object.assign(file, { sha256: sha256Hex(body), bytes: body.length });
    }
    change(manifest);
    const { text, jws } = await signRelease(manifest, keys);
    writeFileSync(join(folder, 'release.json'), text);
    writeFileSync(join(folder, 'release.jws'), jws);
  };

  test('with the coordinator’s key it holds; without one, that is said', async () => {
    const [given, alone, json] = await Promise.all([
      cli('release', 'verify', at('png'), '--coordinator', kid()),
      cli('release', 'verify', at('png')),
      cli('release', 'verify', at('png'), '--json', '--coordinator', publicPart(openSource(at('run')).keys.signing).x),
    ]);
    expect([given.code, given.out]).toEqual([0, expect.stringContaining('80 of 80 are identical')]);
    expect([alone.code, alone.out]).toEqual([7, expect.stringContaining('the key is the folder’s own')]);
    expect(JSON.parse(json.out)).toMatchObject({ verdict: 'holds', gate: false, redrawn: { images: IMAGES, identical: IMAGES } }); // prettier-ignore
  }, 120_000);

  test.each([
    ['a byte of an image', (f: string) => writeFileSync(join(f, image), readFileSync(join(f, image)).fill(7, 1600, 1601)), 'was changed'],
    ['an image that is missing', (f: string) => rmSync(join(f, image)), 'is missing'],
    ['a file more', (f: string) => writeFileSync(join(f, 'images', 'more.png'), 'x'), 'is not in the manifest'],
    ['a label', (f: string) => writeFileSync(join(f, 'labels.csv'), readFileSync(join(f, 'labels.csv'), 'utf8').replace('chest,0', 'hand,1')), 'labels.csv was changed'],
    ['a claim of the manifest', (f: string) => writeFileSync(join(f, 'release.json'), readFileSync(join(f, 'release.json'), 'utf8').replace('"bound":10', '"bound":1')), 'SIGNATURE_INVALID'],
    ['another signature', (f: string) => writeFileSync(join(f, 'release.jws'), 'a..b'), 'SIGNATURE_INVALID'],
  ] as const)('finds %s', async (name, change, wrong) => {
    const report = await verify(changed(name.replaceAll(' ', '-'), change));
    expect([report.verdict, report.problems.join('\n')]).toEqual(['failed', expect.stringContaining(wrong)]);
  }, 120_000); // prettier-ignore

  test('a folder that somebody else signed is not the coordinator’s', async () => {
    const other = createSigningKeys();
    changed('other', () => undefined);
    await signedAgain(at('other'), (m) => Object.assign(m, { signer: { kid: other.kid, key: publicPart(other.signing) } }), other); // prettier-ignore
    expect((await verify('other', { sample: 0 })).problems).toEqual([expect.stringContaining('is not the key that was given')]); // prettier-ignore
    // A network of theirs is not run.
    const { redrawn, gaps } = await verify('other');
    expect([redrawn, gaps.join()]).toEqual([null, expect.stringContaining('no image was drawn again')]);
    // Without a key to compare: its marks still name the coordinator, and so are not those that it would have written.
    expect((await verifyReleaseFolder(at('other'), { sample: 100 })).problems.at(-1)).toBe('and 60 more');
  }, 120_000);

  test('a coordinator that signs an image its generator never drew is found out by drawing it again', async () => {
    changed('forged', (f) => writeFileSync(join(f, image), encodePng(new Uint8Array(784).fill(99), 28, 28, 1)));
    const before = sha256Hex(readFileSync(at('png', image)));
    writeFileSync(at('forged', 'labels.csv'), readFileSync(at('forged', 'labels.csv'), 'utf8').replace(before, sha256Hex(readFileSync(at('forged', image))))); // prettier-ignore
    await signedAgain(at('forged'), () => undefined);
    expect((await verify('forged', { sample: 0 })).problems).toEqual([]);
    expect((await verify('forged')).problems).toEqual([`${image} is not what the generator draws`]);
  }, 120_000);

  test('a manifest that contradicts itself, or leads out of the folder, is refused', async () => {
    changed('crooked', () => undefined);
    await signedAgain(at('crooked'), (m) => Object.assign(m, { recipeSha256: '0'.repeat(64) }));
    expect((await verify('crooked')).problems.join()).toContain('the recipe is not the one');
    // Signed, and of another promise than the policy's, or by sites that have spent more than it.
    await signedAgain(at('crooked'), (m) => Object.assign(m, { recipeSha256: recipeId(m.recipe), epsilon: { ...m.epsilon, bound: 1 } })); // prettier-ignore
    expect((await verify('crooked', { sample: 0 })).problems).toEqual(['the manifest names another epsilon or delta than the policy']); // prettier-ignore
    const [first, ...rest] = manifestOf(at('png')).epsilon.sites;
    await signedAgain(at('crooked'), (m) => Object.assign(m, { epsilon: { ...m.epsilon, bound: manifestOf(at('png')).epsilon.bound, sites: [{ ...first, epsilon: 1000 }, ...rest] } })); // prettier-ignore
    expect((await verify('crooked', { sample: 0 })).problems).toEqual(['site-1 has stated more epsilon than the policy allows']); // prettier-ignore
    const manifest = JSON.parse(readFileSync(at('png', 'release.json'), 'utf8')) as SignedManifest;
    manifest.files[0] = { ...manifest.files[0], name: '../../secret' };
    writeFileSync(at('crooked', 'release.json'), canonicalJson(manifest));
    await expect(verify('crooked')).rejects.toThrow(/LOG_INVALID.*leaves the folder/);
  }, 120_000);

  /** The folder's own values, moved by so many grey levels at one pixel, as an engine that rounds otherwise would. */
  const moved = async (levels: number, machine: { engine?: string; processor?: string }): Promise<Drawing> => {
    const { Drawer } = await import('../../cli/release/draw.ts');
    const drawer = await Drawer.open(readFileSync(at('png', 'generator.onnx')));
    return {
      engine: machine.engine ?? (await engineName()),
      processor: machine.processor ?? processorClass(),
      batch: async (of, index) => {
        const values = await drawer.batch(of, index);
        values[0] += (values[0] > 0 ? -levels : levels) / 127.5;
        return values;
      },
      [Symbol.asyncDispose]: () => drawer[Symbol.asyncDispose](),
    };
  };

  test('one grey level is borne on another class of processor or engine, and on the same none', async () => {
    const verdicts = [];
    for (const [levels, machine] of [
      [0, {}],
      [1, {}],
      [1, { processor: 'arm64 asimd' }],
      [1, { engine: 'other' }],
      [2, { processor: 'arm64 asimd' }],
    ] as const)
      // prettier-ignore
      verdicts.push((await verify('png', { drawing: await moved(levels, machine) })).verdict);
    expect(verdicts).toEqual(['holds', 'failed', 'holds', 'holds', 'failed']);
  }, 120_000);

  test('another engine altogether draws the same within a grey level', async () => {
    const source = openSource(at('run'));
    await using open = new AsyncDisposableStack();
    const engine = open.adopt(await openEngine('tfjs', {}), (e) => e.dispose());
    const ort = open.adopt(await openEngine('cpu', { threads: 1 }), (e) => e.dispose());
    const trainer = new GanGeneratorTrainer(ort, source.policy);
    const weights = trainer.decode((await readRun(source)).state).average;
    const statistics = await calibrated(ort, trainer.gan, weights, labelDistribution(source.policy));
    const sampler = open.adopt(await Sampler.open(engine, trainer.gan, 16, 'fixed'), (s) => s.dispose());
    const drawing: Drawing = {
      engine: 'tfjs',
      processor: processorClass(),
      batch: (of, index) => sampler.images(weights, batchInputs(of, index), statistics),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
    const report = await verify('png', { drawing });
    expect(report).toMatchObject({ verdict: 'holds', redrawn: { sameMachine: false, images: IMAGES } });
    expect(report.redrawn!.largest).toBeLessThanOrEqual(1);
  }, 120_000);
});

test('the same again gives the same images, byte for byte', async () => {
  expect(await release('again', '--per-class', '20')).toMatchObject({ code: 0 });
  for (const { name, sha256 } of manifestOf(at('png')).files.filter(
    (f) => f.name.startsWith('images/') || /npz|csv|onnx/.test(f.name),
  ))
    // prettier-ignore
    expect([name, sha256Hex(readFileSync(at('again', name)))]).toEqual([name, sha256]);
  expect(await cli('release', 'verify', at('again'), '--coordinator', kid())).toMatchObject({ code: 0 });
}, 120_000);

test('the caller chooses the balance; rare classes are drawn more often, and the papers say so', async () => {
  writeFileSync(at('balance.json'), JSON.stringify({ chest: 1, hand: 1, 'head-ct': 1, knee: 37 }));
  writeFileSync(at('answers.json'), JSON.stringify({ funding: 'A grant | of nobody' }));
  const args = ['--images', '60', '--balance', at('balance.json'), '--answers', at('answers.json'), '--title', 'Rare <knees>']; // prettier-ignore
  expect(await release('rare', ...args)).toMatchObject({ code: 0 });
  expect(manifestOf(at('rare')).recipe.classes.map((c) => c.images)).toEqual([2, 2, 1, 55]);
  const sheet = readFileSync(at('rare', 'datasheet.md'), 'utf8');
  expect(sheet).toContain('| knee | 55 | 0.25 | 3.67 × |');
  expect(sheet).toContain('Some classes were drawn more often');
  expect(sheet).toContain('The publisher: A grant | of nobody');
  expect(readFileSync(at('rare', 'datasheet.html'), 'utf8')).toContain('Rare &lt;knees&gt;');
}, 120_000);

test('what is refused leaves no file and no entry behind', async () => {
  const before = await released();
  mkdirSync(at('taken'));
  writeFileSync(at('taken', 'x'), '');
  writeFileSync(at('unasked.json'), JSON.stringify({ weather: 'fine' }));
  const many = await release('refused', '--images', '100000');
  expect([many.code, sentence(many)]).toEqual([3, expect.stringMatching(/the policy lets at most 256 leave/)]);
  // Found out when everything but the papers is written.
  const answers = await release('refused', '--images', '8', '--answers', at('unasked.json'));
  expect([answers.code, sentence(answers)]).toEqual([2, expect.stringMatching(/no question "weather"/)]);
  const noLicence = await cli('release', '--dir', at('run'), '--out', at('refused'));
  expect([noLicence.code, sentence(noLicence)]).toEqual([2, expect.stringMatching(/--licence is wanted/)]);
  const taken = { out: at('taken') } as unknown as ReleaseOptions;
  await expect(makeRelease(openSource(at('run')), taken)).rejects.toThrow(/taken is not empty/);
  expect(() => openSource(at('north'))).toThrow(/no folder of a coordinator/);
  const gated = { ...openSource(at('run')), policy: { ...openSource(at('run')).policy, release: { maxImages: 9, gate: {} } } }; // prettier-ignore
  const few = { out: at('refused'), count: { perClass: 1 } } as unknown as ReleaseOptions;
  await expect(makeRelease(gated as unknown as ReleaseSource, few)).rejects.toThrow(
    /^RELEASE_REFUSED: .*a simulation cannot pass/,
  );
  expect(existsSync(at('refused'))).toBe(false);
  expect(readdirSync(root.path).filter((name) => name.startsWith('.veilgan-release-'))).toEqual([]);
  expect(await released()).toBe(before);
}, 120_000);
