/** The page in a real browser, Debian's chromium: by keyboard alone, by mouse alone, through a kill and a closed window. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { siteNpz } from '../../cli/demo/data.ts';
import { AnswerStore } from '../../site-agent/study/answer-store.ts';
import { killAll, type Running, startCli, temporaryFolder } from '../support/cli-rig.ts';
import { phantoms } from '../support/study-rig.ts';

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = BROWSERS.find((path) => existsSync(path));
if (executablePath === undefined) console.warn(`skipped: no browser at ${BROWSERS.join(', ')}`);

const root = temporaryFolder();
/** A machine under load takes its time. */
const PATIENCE = 60_000;
let browser: Browser;

beforeAll(async () => {
  for (const name of ['made', 'found']) writeFileSync(root.at(`${name}.npz`), await siteNpz(phantoms(name), true));
  if (executablePath === undefined) return;
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'], timeout: PATIENCE });
}, 120_000);
afterEach(killAll);
afterAll(async () => {
  await browser?.close();
  root[Symbol.dispose]();
});

interface Started {
  readonly running: Running;
  readonly port: number;
  readonly link: (reader: string) => string;
}

async function start(folder: string, ...more: string[]): Promise<Started> {
  const running = startCli('study', '--synthetic', root.at('made.npz'), '--real', root.at('found.npz'), '--out', root.at(folder), '--json', ...more); // prettier-ignore
  const { port, links } = (await running.until((e) => e['kind'] === 'serving')) as { port: number; links: { reader: string; url: string }[] }; // prettier-ignore
  return { running, port, link: (reader) => links.find((l) => l.reader === reader)!.url };
}

/** A window of its own that notes whatever the page complains of, and every address it asks. */
async function openWindow(): Promise<{ context: BrowserContext; page: Page; complaints: string[]; asked: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const complaints: string[] = [];
  const asked: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (line) => line.type() === 'error' && complaints.push(line.text()));
  page.on('request', (request) => asked.push(request.url()));
  return { context, page, complaints, asked };
}

const answersOf = (folder: string, reader: string) => {
  using store = new AnswerStore(root.at(folder, 'answers.sqlite'));
  return store.of(reader).map((k) => k.answer);
};
const heading = (page: Page, text: string) => page.getByRole('heading', { name: text, exact: true }).waitFor();

describe.skipIf(executablePath === undefined)('in a browser', () => {
  test('by keyboard alone, practice first, to the end; nothing but this server is asked', async () => {
    const { running, link, port } = await start('keys', '--readers', 'anna', '--count', '4', '--practice', '1', '--port', '0'); // prettier-ignore
    const { context, page, complaints, asked } = await openWindow();
    await page.goto(link('anna'));
    await page.getByText('You will see 8 pictures').waitFor();
    expect(page.url()).toBe(`http://127.0.0.1:${port}/`);
    await page.keyboard.press('Enter');
    for (const n of [1, 2]) {
      await heading(page, `Practice ${n} of 2`);
      for (const key of ['r', '4', 'a', 'Enter']) await page.keyboard.press(key);
      await page.getByText(/^It was (real|synthetic): /).waitFor();
      await page.keyboard.press('Enter');
    }
    for (let n = 1; n <= 8; n++) {
      await heading(page, `Picture ${n} of 8`);
      // Enter without all three answers keeps nothing.
      await page.keyboard.press('s');
      await page.keyboard.press('Enter');
      for (const key of ['2', 'x', 'Enter']) await page.keyboard.press(key);
    }
    await heading(page, 'Thank you');
    await running.until((e) => e['kind'] === 'answered' && e['answered'] === 10);
    expect(answersOf('keys', 'anna').map(({ kind, quality, label }) => [kind, quality, label])).toEqual([
      ...Array<unknown>(2).fill(['real', 4, 0]),
      ...Array<unknown>(8).fill(['synthetic', 2, -1]),
    ]);
    expect(readFileSync(root.at('keys', 'summary.md'), 'utf8')).toContain('| anna | 4 of 8, 50.0 %');
    expect(complaints).toEqual([]);
    expect(asked.filter((url) => !url.startsWith(`http://127.0.0.1:${port}/`) && !url.startsWith('blob:'))).toEqual([]);
    await context.close();
  }, 240_000);

  test('by mouse: the picture is drawn and enlarged with and without smoothing; accessible by axe', async () => {
    const { link } = await start('mouse', '--readers', 'ben', '--count', '4', '--port', '0');
    const { context, page, complaints } = await openWindow();
    await page.goto(link('ben'));
    await page.getByRole('button', { name: 'Begin' }).click();
    await heading(page, 'Picture 1 of 8');
    const canvas = page.locator('#picture');
    const look = () =>
      canvas.evaluate((element) => {
        const c = element as HTMLCanvasElement;
        const { data } = c.getContext('2d')!.getImageData(0, 0, c.width, c.height);
        return { pixels: [c.width, c.height], tones: new Set(data).size, edge: c.getBoundingClientRect().width, rendering: getComputedStyle(c).imageRendering }; // prettier-ignore
      });
    const first = await look();
    expect([first.pixels, first.tones > 10, first.rendering]).toEqual([[28, 28], true, 'pixelated']);
    await page.getByRole('button', { name: 'Larger' }).click();
    await page.getByLabel('Smooth pixels').click();
    const larger = await look();
    expect([larger.edge > first.edge, larger.rendering]).toEqual([true, 'auto']);
    // Nothing can be kept before everything is answered.
    const keep = page.getByRole('button', { name: 'Keep and go on' });
    expect(await keep.isDisabled()).toBe(true);
    await page.getByLabel('Synthetic').click();
    await page.getByLabel('3, fair').click();
    await page.getByLabel('knee').click();
    await audit(page);
    await keep.click();
    await heading(page, 'Picture 2 of 8');
    // With letters switched off they do nothing; Tab, arrows and Space still answer.
    await page.getByLabel('Letters and digits are keys').click();
    await page.keyboard.press('r');
    expect(await page.getByLabel('Real', { exact: false }).isChecked()).toBe(false);
    await page.getByLabel('Real', { exact: false }).focus();
    await page.keyboard.press('Space');
    await page.keyboard.press('ArrowRight');
    expect(await page.getByLabel('Synthetic').isChecked()).toBe(true);
    expect(answersOf('mouse', 'ben')).toMatchObject([{ kind: 'synthetic', quality: 3, label: 3 }]);
    expect(complaints).toEqual([]);
    await context.close();
  }, 240_000);

  test('a server that is killed while an answer is on its way, and a window that is closed, lose nothing', async () => {
    const first = await start('killed', '--readers', 'anna', '--count', '4', '--port', '0');
    const { context, page } = await openWindow();
    await page.goto(first.link('anna'));
    await page.getByRole('button', { name: 'Begin' }).click();
    await heading(page, 'Picture 1 of 8');
    for (const key of ['r', '1', 'a', 'Enter']) await page.keyboard.press(key);
    await heading(page, 'Picture 2 of 8');
    first.running.child.kill('SIGKILL');
    await first.running.ended;
    for (const key of ['s', '5', 'd', 'Enter']) await page.keyboard.press(key);
    await page.getByText('What you chose is not kept yet').waitFor();
    expect(answersOf('killed', 'anna')).toHaveLength(1);
    const second = await start('killed', '--port', String(first.port));
    await heading(page, 'Picture 3 of 8');
    expect(answersOf('killed', 'anna')).toMatchObject([{ kind: 'real', quality: 1 }, { kind: 'synthetic', quality: 5, label: 1 }]); // prettier-ignore
    await context.close();
    // Another window, another day: the same link goes on.
    const again = await openWindow();
    await again.page.goto(second.link('anna'));
    await again.page.getByText('Welcome back. 2 of your answers are kept; 6 pictures are left.').waitFor();
    await again.page.keyboard.press('Enter');
    await heading(again.page, 'Picture 3 of 8');
    await again.context.close();
    const stranger = await openWindow();
    await stranger.page.goto(`http://127.0.0.1:${second.port}/`);
    await stranger.page.getByText('needs the link that you were given').waitFor();
    await stranger.context.close();
  }, 240_000);
});

interface Axe {
  run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }>;
}

/** Labels, names, contrast and structure, by axe-core. The control takes the names away. */
async function audit(page: Page): Promise<void> {
  const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  await page.evaluate(source);
  const violations = () =>
    page.evaluate(async () => {
      const found = await (globalThis as unknown as { axe: Axe }).axe.run();
      return found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(' ')}`);
    });
  expect(await violations()).toEqual([]);
  await page.evaluate(() => document.querySelector('#picture')!.removeAttribute('aria-label'));
  expect((await violations()).length).toBeGreaterThan(0);
  await page.evaluate(() => document.querySelector('#picture')!.setAttribute('aria-label', 'The picture to judge'));
}
