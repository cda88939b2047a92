/** A coordinator's key that is lost is not made anew by a command that only looks: every site would be locked out. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type CoordinatorFolder, keysPath } from '../../cli/coordinator-folder.ts';
import { judgedRelease } from '../../cli/release/judged.ts';
import { loadOrCreateSigningKeys } from '../../shared/identity/keys.ts';
import { testPolicy } from '../support/round-rig.ts';
import { refusalOf } from '../support/glue-rig.ts';

test('the gate’s verdict without the key is STORE_CORRUPT, and no key appears', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'veilgan-no-key-'));
  try {
    const folder = { dir, file: { runId: 'none' }, policy: testPolicy({}) } as unknown as CoordinatorFolder;
    expect(await refusalOf(() => judgedRelease(folder))).toMatch(/^STORE_CORRUPT/);
    expect(existsSync(keysPath(dir))).toBe(false);
    // Control: what makes a key where there is none.
    loadOrCreateSigningKeys(keysPath(dir));
    expect(existsSync(keysPath(dir))).toBe(true);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
