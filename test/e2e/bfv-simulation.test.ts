/** Scheme `bfv` where researchers meet it: the simulator, on real networks, and a policy that comes with the project. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { simulate } from '../../cli/simulation.ts';
import type { CoordinatorEvent } from '../../coordinator/events.ts';
import { openEngine } from '../../shared/engine/open.ts';
import { loadPolicy } from '../../shared/policy/load.ts';
import type { PrivateImages } from '../../site-agent/imaging/private-images.ts';
import { phantomSite, tinyPolicy } from '../support/glue-rig.ts';

test('simulate runs it as it runs any scheme: the rounds close with every site, and nobody declines', async () => {
  const tiny = structuredClone(tinyPolicy()) as unknown as Record<string, unknown>;
  const aggregation = { scheme: 'bfv', minSites: 3, minSurvivors: 3, deadlineSeconds: 600, bits: 29, maxSites: 8 };
  const policy = loadPolicy({ ...tiny, aggregation }, { availableSchemes: ['bfv'] });
  const ids = ['site-1', 'site-2', 'site-3'];
  const sites = new Map<string, PrivateImages>(ids.map((site) => [site, phantomSite({ site, imagesPerPatient: 2 })]));
  const folder = mkdtempSync(join(tmpdir(), 'veilgan-bfv-'));
  const engine = await openEngine('cpu', { threads: 1 });
  const events: CoordinatorEvent[] = [];
  try {
    const { log } = await simulate({ policy, sites, engine, folder, onEvent: (e) => events.push(e) });
    expect(log.at(-1)).toMatchObject({ kind: 'run-finished', body: { outcome: 'completed', rounds: 3 } });
    const closed = events.filter((e) => e.kind === 'round-closed');
    expect(closed.map((e) => e.contributors)).toEqual([ids, ids, ids]);
    expect(events.filter((e) => e.kind === 'declined' || e.kind === 'round-void')).toEqual([]);
  } finally {
    await engine.dispose();
    rmSync(folder, { recursive: true });
  }
});
