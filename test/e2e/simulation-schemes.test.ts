/** Schemes that hide updates, where researchers meet them: the simulator, on real networks. Pooled runs are in `pooled-run.test.ts`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { simulate } from '../../cli/simulation.ts';
import type { CoordinatorEvent } from '../../coordinator/events.ts';
import { openEngine } from '../../shared/engine/open.ts';
import { loadPolicy } from '../../shared/policy/load.ts';
import type { PrivateImages } from '../../site-agent/imaging/private-images.ts';
import { wrongOrderIn } from '../support/audit-order.ts';
import { phantomSite, tinyPolicy } from '../support/glue-rig.ts';

const SCHEMES = {
  bfv: { bits: 29, maxSites: 8 },
  secagg: { bits: 20, maxSites: 8, maxColluders: 1, maxDropouts: 0, graphAboveSites: 100 },
} as const;

test.each(['bfv', 'secagg'] as const)(
  'simulate runs %s: rounds close with every site, nobody declines',
  async (scheme) => {
    const tiny = structuredClone(tinyPolicy()) as unknown as Record<string, unknown>;
    const aggregation = { scheme, minSites: 3, minSurvivors: 3, deadlineSeconds: 600, ...SCHEMES[scheme] };
    const policy = loadPolicy({ ...tiny, aggregation }, { availableSchemes: [scheme] });
    const ids = ['site-1', 'site-2', 'site-3'];
    const sites = new Map<string, PrivateImages>(ids.map((site) => [site, phantomSite({ site, imagesPerPatient: 2 })]));
    const folder = mkdtempSync(join(tmpdir(), 'veilgan-schemes-'));
    const engine = await openEngine('cpu', { threads: 1 });
    const events: CoordinatorEvent[] = [];
    try {
      const { log } = await simulate({ policy, sites, engine, folder, onEvent: (e) => events.push(e) });
      expect(log.at(-1)).toMatchObject({ kind: 'run-finished', body: { outcome: 'completed', rounds: 3 } });
      expect(await wrongOrderIn(log, policy)).toEqual([]);
      const sum = log.findIndex((e) => e.kind === 'aggregated');
      expect(await wrongOrderIn(log.toSpliced(sum - 1, 1), policy)).not.toEqual([]);
      expect(events.find((e) => e.kind === 'round-opened')?.plan.scheme).toBe(scheme);
      const closed = events.filter((e) => e.kind === 'round-closed');
      expect(closed.map((e) => e.contributors)).toEqual([ids, ids, ids]);
      expect(events.filter((e) => e.kind === 'declined' || e.kind === 'round-void')).toEqual([]);
    } finally {
      await engine.dispose();
      rmSync(folder, { recursive: true });
    }
  },
);
