import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../cli/exit-codes.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { EXPORT_BATCH, generatorOnnx } from '../../shared/gan/export.ts';
import { initialise } from '../../shared/gan/layout.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { CLASSES, cli, sentence, temporaryFolder, tinyPolicy, writePhantoms } from '../support/cli-rig.ts';

const root = temporaryFolder();
const { at } = root;

beforeAll(async () => {
  writeFileSync(at('good.json'), tinyPolicy());
  writeFileSync(
    at('unknown.json'),
    tinyPolicy((p) => Object.assign(p['privacy'], { epsilonn: 3 })),
  );
  writeFileSync(
    at('spends.json'),
    tinyPolicy((p) => Object.assign(p['privacy'], { maxSteps: 2000 })),
  );
  writeFileSync(at('secagg.json'), '{"id": 1');
  await writePhantoms(at('a.npz'), 'a');
});
afterAll(() => root[Symbol.dispose]());

test('exit codes are what they were: scripts depend on them', () => {
  expect(EXIT).toEqual({
    ok: 0,
    unexpected: 1,
    usage: 2,
    refused: 3,
    invalid: 4,
    unavailable: 5,
    interrupted: 6,
    incomplete: 7,
  });
});

test('policy check says what a run spends, or why not, and exits 3', async () => {
  const names = ['good', 'unknown', 'spends', 'secagg'];
  const [good, unknown, spends, cut] = await Promise.all(names.map((n) => cli('policy', 'check', at(`${n}.json`))));
  expect([good.code, good.out]).toEqual([0, expect.stringMatching(/ok: demo-insecure[^]*spends epsilon \d/)]);
  expect([unknown.code, unknown.err]).toEqual([3, expect.stringMatching(/^POLICY_INVALID: [^]*epsilonn/)]);
  expect([spends.code, sentence(spends)]).toEqual([3, expect.stringMatching(/spends epsilon=[\d.]+, more than 10/)]);
  expect([cut.code, sentence(cut)]).toEqual([3, 'POLICY_INVALID: the file is not JSON']);
});

test('a command line that is wrong exits 2 with a sentence', async () => {
  const wrong = [
    ['policy', 'check', at('nowhere.json')],
    ['coordinator', 'status', '--dir', at('nowhere')],
    ['site', 'run', '--dir', at('nowhere'), '--data', at('a.npz')],
    ['site', 'join', '--dir', at('s'), '--invite', 'not-an-invite'],
    ['coordinator', 'init', '--dir', root.path, '--policy', at('good.json')],
    ['site', 'run', '--dir', at('s')],
    ['coordinator', 'rnu'],
  ];
  const ended = await Promise.all(wrong.map((args) => cli(...args)));
  expect(ended.map((e) => e.code)).toEqual(wrong.map(() => 2));
  expect(sentence(ended[1])).toMatch(/veilgan coordinator init makes one/);
  expect(sentence(ended[4])).toMatch(/is not empty/);
  expect(ended[6].err).toContain('Did you mean run?');
});

test('a published generator makes a dataset folder, the same for the same seed', async () => {
  const gan = openGan({
    architecture: 'mlp',
    imageSize: 28,
    channels: 1,
    classes: 4,
    latent: 4,
    generatorWidth: 6,
    discriminatorWidth: 4,
    conditioning: 'projection',
    groupNorm: 0,
    loss: 'bce',
  });
  const model = generatorOnnx(gan, initialise(gan.generator.layout, 'test'), new Float32Array());
  mkdirSync(at('g'));
  writeFileSync(at('g', 'generator.onnx'), model);
  const card = {
    format: 'veilgan-generator/1',
    model: 'generator.onnx',
    sha256: sha256Hex(model),
    batch: EXPORT_BATCH,
  };
  const rest = { latent: 4, classes: CLASSES, channels: 1, imageSize: 28, distribution: [0.25, 0.25, 0.25, 0.25] };
  writeFileSync(at('g', 'generator.json'), JSON.stringify({ ...card, ...rest, policySha256: '', runId: '' }));
  const generate = (out: string, ...more: string[]) =>
    cli('generate', '--generator', at('g', 'generator.onnx'), '--count', '20', '--out', at(out), ...more);

  // More than one batch, and not a multiple of it.
  const first = await generate('one', '--seed', 's');
  expect([first.code, first.out]).toEqual([0, `20 images in ${at('one')}, seed s\n`]);
  const [second, hands, unknown] = await Promise.all([
    generate('two', '--seed', 's'),
    generate('three', '--class', 'hand'),
    generate('four', '--class', 'foot'),
  ]);
  expect(second.code).toBe(0);
  expect(readFileSync(at('two', 'synthetic.npz'))).toEqual(readFileSync(at('one', 'synthetic.npz')));
  expect(hands.code).toBe(0);
  expect(readdirSync(at('three', 'hand'))).toHaveLength(20);
  expect([unknown.code, sentence(unknown)]).toEqual([2, expect.stringContaining('there are chest, hand')]);

  writeFileSync(at('g', 'generator.onnx'), Buffer.from(model).fill(0, 200, 201));
  const changed = await generate('five');
  expect([changed.code, sentence(changed).startsWith('STORE_CORRUPT')]).toEqual([4, true]);
}, 120_000);

test('evaluate trains on one set and tests on another', async () => {
  await writePhantoms(at('b.npz'), 'b');
  const { code, out } = await cli(
    'evaluate',
    '--train',
    at('a.npz'),
    '--test',
    at('b.npz'),
    '--epochs',
    '20',
    '--metrics',
    'utility,diversity',
    '--json',
  );
  expect(code).toBe(0);
  const report = JSON.parse(out) as { accuracy: number; perClass: { name: string }[] };
  expect(report.perClass.map((c) => c.name)).toEqual(CLASSES);
  // Four phantoms that a person tells apart: far above a quarter even from another scanner.
  expect(report.accuracy).toBeGreaterThan(0.8);
}, 120_000);

test('evaluate writes a report, and refuses what it cannot measure in one sentence', async () => {
  const sets = ['--train', at('a.npz'), '--test', at('b.npz')];
  const chosen = ['--metrics', 'diversity', '--report', at('report.html')];
  const [told, needs, unknown, ending, column] = await Promise.all([
    cli('evaluate', ...sets, ...chosen),
    cli('evaluate', ...sets, '--metrics', 'memorisation'),
    cli('evaluate', ...sets, '--metrics', 'beauty'),
    cli('evaluate', ...sets, '--report', at('report.pdf')),
    cli('evaluate', ...sets, '--subgroup-column', 'sex'),
  ]);
  expect([told.code, told.out]).toEqual([0, expect.stringContaining('Diversity')]);
  expect(readFileSync(at('report.html'), 'utf8')).toContain('MS-SSIM');
  expect([needs.code, sentence(needs)]).toEqual([2, expect.stringContaining('--reference')]);
  expect([unknown.code, unknown.err]).toEqual([2, expect.stringContaining('beauty')]);
  expect([ending.code, sentence(ending)]).toEqual([2, expect.stringContaining('.html')]);
  expect([column.code, sentence(column)]).toEqual([2, expect.stringContaining('has no array sex')]);
}, 120_000);
