import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { verifyFolder } from '../../cli/audit/verify-folder.ts';
import { exportedRun, handedOver } from '../support/audit-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-audit-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('a run is verified offline, from its folder and the keys alone', async () => {
  const out = join(folder, 'run');
  const { cast, common } = await exportedRun(out);
  const report = await verifyFolder(out, { keys: handedOver(cast) });
  expect(report.problems).toEqual([]);
  expect(report.gaps).toEqual([]);
  expect(report).toMatchObject({
    verdict: 'verified',
    runId: common.runId,
    policy: { witnessQuorum: 3 },
    log: { finished: 'completed' },
    keys: { from: 'given', coordinator: cast.coordinator.kid },
    generator: { replayed: 0, chained: 4, why: 'no sums were exported', rounds: 4 },
  });
});
