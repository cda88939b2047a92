import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, expect, test } from 'vitest';
import { outForGood } from '../../cli/demo/demo.ts';
import { lockFolder } from '../../cli/lock.ts';
import { siteNpz } from '../../cli/demo/data.ts';
import { headOfEntries } from '../../shared/audit/log.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { cli, killAll, sentence, startCli, temporaryFolder, tinyPolicy } from '../support/cli-rig.ts';

const root = temporaryFolder();
const { at } = root;
afterEach(killAll);
afterAll(() => root[Symbol.dispose]());

const COMMON = ['--sites', '2', '--rounds', '2', '--threads', '1'];
const base = (): string => {
  writeFileSync(at('base.json'), tinyPolicy());
  return at('base.json');
};

test('the demonstration ends with pictures, a generator, a log that holds and a summary', async () => {
  const out = at('own');
  // A public set with two classes and no patients, dealt so that each site lacks a class.
  const images = phantomImages({ size: 28, channels: 1, patients: 120, classes: ['chest', 'hand'], seed: 'own' });
  writeFileSync(at('set.npz'), await siteNpz(images, false));
  const ended = await cli(
    ...['demo', '--out', out, '--policy', base(), '--data', at('set.npz'), '--skew', 'missing-class', ...COMMON],
  );
  expect(ended).toMatchObject({ code: 0 });
  expect(ended.err).toContain('the claim protects single images');
  expect(ended.out).toContain('What the privacy claim is, and is not');

  const files = ['synthetic.png', 'generator.onnx', 'generator.json', 'log.jsonl', 'summary.md', 'summary.html'];
  expect(files.filter((file) => !existsSync(at('own', file)))).toEqual([]);
  expect(readdirSync(at('own', 'images', 'chest')).length).toBe(128);
  const log = readFileSync(at('own', 'log.jsonl'), 'utf8').trim().split('\n');
  expect(headOfEntries(log.map((line) => JSON.parse(line) as unknown)).size).toBe(log.length);
  const policy = JSON.parse(readFileSync(at('own', 'policy.json'), 'utf8')) as { sites: Record<string, unknown> };
  expect(policy.sites).toMatchObject({ 'site-1': { classes: ['hand'] }, 'site-2': { classes: ['chest'] } });
}, 120_000);

test('interrupted, it takes its processes with it', async () => {
  const out = at('interrupted');
  const demo = startCli('demo', '--out', out, '--policy', base(), '--patients', '40', ...COMMON, '--rounds', '4');
  await new Promise<void>((resolve) => {
    let said = '';
    demo.child.stderr!.on('data', (text: string) => {
      said += text;
      if (/round 1 of/.test(said)) resolve();
    });
    void demo.ended.then(() => resolve());
  });
  demo.child.kill('SIGINT');
  const ended = await demo.ended;
  expect([ended.code, sentence(ended)]).toEqual([6, `Interrupted. What there was is in ${out}.`]);
  // No process is left at work in any folder.
  for (const party of ['coordinator', 'site-1', 'site-2']) lockFolder(at('interrupted', party))[Symbol.dispose]();
}, 120_000);

test('killed outright, its processes notice and end', async () => {
  const out = at('killed');
  const demo = startCli('demo', '--out', out, '--policy', base(), '--patients', '40', ...COMMON);
  await new Promise<void>((resolve) => {
    demo.child.stderr!.on('data', (text: string) => /round 1 of/.test(text) && resolve());
    void demo.ended.then(() => resolve());
  });
  demo.child.kill('SIGKILL');
  // `close` comes when nobody holds its standard error any more; its parties have their own.
  await demo.ended;
  await expect
    .poll(() => ['coordinator', 'site-1', 'site-2'].map((party) => isFree(at('killed', party))), { timeout: 15_000 })
    .toEqual([true, true, true]);
}, 120_000);

test('a party that fails ends the demonstration with its last words and its log', async () => {
  const out = at('fails');
  const ended = await cli(
    'demo',
    '--out',
    out,
    '--policy',
    base(),
    '--patients',
    '40',
    ...COMMON,
    '--engine',
    'coreml',
  );
  expect(ended.code).toBe(1);
  expect(sentence(ended)).toMatch(
    /^INTERNAL: the coordinator ended with code 5: ENGINE_MISSING: .*coordinator\.log\)$/,
  );
}, 120_000);

test('a site that declines for good ends the demonstration; one that only comes too late does not', () => {
  const declined = (code: string) =>
    outForGood('site-1', { kind: 'declined', round: 3, code, detail: code }, 'site-1.log');
  expect(declined('BUDGET_EXHAUSTED')?.message).toBe('INTERNAL: site-1 declines: BUDGET_EXHAUSTED (log: site-1.log)');
  expect(declined('ROUND_NOT_OPEN')).toBeNull();
});

function isFree(folder: string): boolean {
  try {
    lockFolder(folder)[Symbol.dispose]();
    return true;
  } catch {
    return false;
  }
}
