import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  createSiteKeys,
  loadOrCreateSigningKeys,
  loadOrCreateSiteKeys,
  publicKeys,
} from '../../shared/identity/keys.ts';
import { codeOf } from '../support/wire-rig.ts';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'veilgan-keys-'))));
afterEach(() => rmSync(folder, { recursive: true }));

test('keys are made once, kept with mode 0600, and read back', () => {
  const path = join(folder, 'deep', 'keys.json');
  const made = loadOrCreateSiteKeys(path);
  expect(loadOrCreateSiteKeys(path)).toEqual(made);
  expect(readdirSync(join(folder, 'deep'))).toEqual(['keys.json']);
  if (process.platform !== 'win32') expect(statSync(path).mode & 0o777).toBe(0o600);
  const coordinator = loadOrCreateSigningKeys(join(folder, 'coordinator.json'));
  expect(loadOrCreateSigningKeys(join(folder, 'coordinator.json'))).toEqual(coordinator);
});

test.skipIf(process.platform === 'win32')('a key file that others can read is refused', async () => {
  const path = join(folder, 'keys.json');
  loadOrCreateSiteKeys(path);
  chmodSync(path, 0o640);
  expect(await codeOf(async () => loadOrCreateSiteKeys(path))).toBe('KEYS_EXPOSED');
});

test('a damaged key file is refused, never replaced, and never quoted', async () => {
  const path = join(folder, 'keys.json');
  for (const text of ['', '{"d":"secret-material"', '{"version":2}']) {
    writeFileSync(path, text, { mode: 0o600 });
    const refused = await (async () => loadOrCreateSiteKeys(path))().catch((error: unknown) => error);
    expect(String(refused)).toMatch(/STORE_CORRUPT/);
    expect(String(refused)).not.toMatch(/secret-material/);
    expect(readFileSync(path, 'utf8')).toBe(text);
  }
});

test('what a site shows of its keys holds no private part', () => {
  const keys = createSiteKeys();
  const shown = JSON.stringify(publicKeys(keys));
  expect(shown).not.toContain(keys.signing.d);
  expect(shown).not.toContain(keys.sealing.d);
  expect(JSON.stringify(keys)).toContain(keys.sealing.d);
});
