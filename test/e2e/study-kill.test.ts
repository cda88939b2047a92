/** The study as its operator has it: real processes, killed in the middle. An answer that was acknowledged is never lost. */
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { siteNpz } from '../../cli/demo/data.ts';
import { runStudy, type StudyOptions } from '../../cli/study.ts';
import { imageAt, toBytes } from '../../shared/imaging/images.ts';
import { encodePng } from '../../shared/imaging/png.ts';
import { AnswerStore } from '../../site-agent/study/answer-store.ts';
import { type Ended, cli, killAll, type Running, sentence, startCli, startProcess, temporaryFolder } from '../support/cli-rig.ts'; // prettier-ignore
import { anAnswer, phantoms } from '../support/study-rig.ts';

const root = temporaryFolder();
const begin = ['study', '--synthetic', root.at('made.npz'), '--real', root.at('found.npz'), '--json', '--port', '0'];
const start = (folder: string, ...more: string[]): Running => startCli(...begin, '--out', root.at(folder), ...more);

beforeAll(async () => {
  for (const name of ['made', 'found', 'other'])
    writeFileSync(root.at(`${name}.npz`), await siteNpz(phantoms(name), true));
});
afterEach(killAll);
afterAll(() => root[Symbol.dispose]());

interface Reader {
  /** Answers one picture. @returns the status. */
  answer(position: number): Promise<number>;
  answered(): Promise<number>;
}

/** The reader of a link that a server printed. */
async function reader(running: Running, name = 'anna'): Promise<Reader> {
  const serving = await running.until((e) => e['kind'] === 'serving');
  const link = (serving['links'] as { reader: string; url: string }[]).find((l) => l.reader === name)!;
  const [url, token] = link.url.split('/#');
  const ask = (path: string, init: RequestInit = {}) => fetch(url + path, { ...init, headers: { Authorization: `Bearer ${token}` } }); // prettier-ignore
  return {
    answer: async (position) => (await ask('/api/answer', { method: 'POST', body: JSON.stringify({ position, answer: anAnswer({ quality: 1 + (position % 5) }) }) })).status, // prettier-ignore
    answered: async () => ((await (await ask('/api/study')).json()) as { answered: number }).answered,
  };
}

async function kill(running: Running): Promise<Ended> {
  running.child.kill('SIGKILL');
  return running.ended;
}

test('killed after every few answers, nothing that was acknowledged is lost, and the same links go on', async () => {
  const folder = ['--readers', 'anna,ben', '--count', '8'];
  let acknowledged = 0;
  for (const until of [1, 3, 8]) {
    const running = start('killed', ...(acknowledged === 0 ? folder : []));
    const anna = await reader(running);
    expect(await anna.answered()).toBe(acknowledged);
    for (; acknowledged < until; acknowledged++) expect(await anna.answer(acknowledged)).toBe(200);
    // One more is on its way when the process dies: it may be kept or not, and is asked again with the same answer.
    const inFlight = anna.answer(acknowledged).catch(() => 0);
    expect((await kill(running)).code).toBe('SIGKILL');
    if ((await inFlight) === 200) acknowledged++;
    else {
      using store = new AnswerStore(root.at('killed', 'answers.sqlite'));
      expect([acknowledged, acknowledged + 1]).toContain(store.of('anna').length);
      acknowledged = store.of('anna').length;
    }
  }
  const last = start('killed', '--readers', 'carol');
  const [anna, carol] = [await reader(last), await reader(last, 'carol')];
  for (; acknowledged < 16; acknowledged++) expect(await anna.answer(acknowledged)).toBe(200);
  expect([await anna.answered(), await carol.answered()]).toEqual([16, 0]);
  last.child.kill('SIGTERM');
  expect(await last.ended).toMatchObject({ code: 0, err: expect.stringContaining('Every answer that was acknowledged is kept') }); // prettier-ignore
  const csv = readFileSync(root.at('killed', 'answers.csv'), 'utf8').trimEnd().split('\r\n');
  expect(csv.slice(1).map((line) => line.split(',').slice(0, 2).join())).toEqual(Array.from({ length: 16 }, (_, k) => `anna,${k}`)); // prettier-ignore
  const summary = await cli('study', '--out', root.at('killed'), '--results');
  expect([summary.code, summary.out]).toEqual([0, expect.stringContaining('## Real or synthetic')]);
  expect(summary.out).toContain('**Not finished:** ben 0 of 16, carol 0 of 16');
}, 240_000);

test('answers are flushed to the disk before they are acknowledged, and final', () => {
  using store = new AnswerStore(root.at('flushed.sqlite'));
  expect(store.synchronous).toBe(2);
  const kept = { reader: 'anna', position: 0, item: 'x', timeMs: 0, answer: anAnswer() };
  store.keep(kept);
  expect(() => store.keep(kept)).toThrow();
  expect(() => store.keep({ ...kept, position: 2 })).toThrow(/STORE_CORRUPT/);
});

test('positive control: a server that acknowledges first loses answers', async () => {
  const child = join(import.meta.dirname, '../support/study-child.ts');
  const running = startProcess(process.execPath, [child, root.at('lazy.sqlite')]);
  const anna = await reader(running);
  for (let k = 0; k < 5; k++) expect(await anna.answer(k)).toBe(200);
  await kill(running);
  using store = new AnswerStore(root.at('lazy.sqlite'));
  expect(store.of('anna')).toHaveLength(0);
}, 120_000);

test('real files that cannot be read are left out, and whoever runs the study hears how many and why', async () => {
  const real = phantoms('found');
  for (let i = 0; i < real.n; i++) {
    const folder = root.at('files', real.classNames[real.labels[i]], real.patients[i]);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${i}.png`), encodePng(toBytes(imageAt(real, i)), real.size, real.size, 1));
    if (i < 2) writeFileSync(join(folder, `broken-${i}.png`), 'no picture');
  }
  const running = start('left-out', '--count', '4', '--real', root.at('files'));
  await reader(running, 'reader-1');
  running.child.kill('SIGTERM');
  expect((await running.ended).err).toMatch(/^Left out of the real images, 2 files: .+$/m);
}, 120_000);

test('SIGTERM again and again, as GNU timeout sends it twice: the results are written all the same', async () => {
  const running = start('twice', '--count', '4');
  const anna = await reader(running, 'reader-1');
  expect(await anna.answer(0)).toBe(200);
  const again = setInterval(() => running.child.kill('SIGTERM'), 1);
  const { err } = await running.ended;
  clearInterval(again);
  expect(err).toMatch(/Every answer that was acknowledged is kept\. Results: .*summary\.json/);
  expect(readFileSync(root.at('twice', 'answers.csv'), 'utf8').trimEnd().split('\r\n')).toHaveLength(2);
}, 120_000);

test('what holds the truth is for its owner alone, and names no file', async () => {
  const running = start('private', '--count', '4');
  await reader(running, 'reader-1');
  running.child.kill('SIGTERM');
  await running.ended;
  for (const name of ['study.json', 'answers.sqlite', 'answers.csv', 'summary.csv', 'summary.json', 'summary.md'])
    expect([name, statSync(root.at('private', name)).mode & 0o077]).toEqual([name, 0]);
  expect(readFileSync(root.at('private', 'study.json'), 'utf8')).not.toMatch(/npz|found|made/);
}, 120_000);

test('refusals: other images, other settings, off this machine without TLS, bad names, a folder in use', async () => {
  const running = start('refusals', '--count', '4');
  await reader(running, 'reader-1');
  const real = root.at('found.npz');
  const common = { synthetic: root.at('made.npz'), port: 0, host: '127.0.0.1', json: true };
  await expect(runStudy({ ...common, out: root.at('refusals'), real })).rejects.toThrow(/another process/);
  await kill(running);
  writeFileSync(root.at('notes.txt'), 'no images');
  const cases: [Partial<StudyOptions> & { out: string }, RegExp][] = [
    [{ out: root.at('refusals'), real: root.at('other.npz') }, /STUDY_DIFFERS.*real images/],
    [{ out: root.at('refusals') }, /STUDY_DIFFERS.*real images/],
    [{ out: root.at('refusals'), real, count: 5 }, /STUDY_DIFFERS.*count 4, not 5/],
    [{ out: root.at('x'), synthetic: root.at('notes.txt') }, /PARAMETER_INVALID.*no \.npz, no idx file and no folder/],
    [{ out: root.at('x'), host: '0.0.0.0' }, /PARAMETER_INVALID.*need TLS.*ssh -L/],
    [{ out: root.at('x'), readers: ['Dr Who'] }, /PARAMETER_INVALID.*small letters/],
    [{ out: root.at('x'), readers: ['a', 'a'] }, /PARAMETER_INVALID.*twice/],
  ];
  for (const [options, why] of cases) await expect(runStudy({ ...common, ...options })).rejects.toThrow(why);
  const none = await cli('study', '--out', root.at('x'));
  expect([none.code, sentence(none)]).toEqual([2, expect.stringContaining('--synthetic')]);
  const nothing = await cli('study', '--out', root.at('x'), '--results');
  expect([nothing.code, sentence(nothing)]).toEqual([2, expect.stringContaining('there is no study in')]);
}, 240_000);
