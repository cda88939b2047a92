/**
 * The release gate on real networks: three sites, a run under differential privacy, and the question to the sites. A
 * healthy generator passes; one that was trained without privacy on fifty images of one site, and put in its place by
 * the coordinator, is stopped by what that site says, though epsilon, log and everything else look as they should.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { selectImages } from '../../shared/imaging/images.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { gatedPolicy } from '../support/gate-rig.ts';
import { gatedRun, SwappingTrainer } from '../support/gate-run.ts';
import { phantomSite } from '../support/glue-rig.ts';
import { memorise } from '../support/memoriser.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

const policy = gatedPolicy(
  {
    minSites: 3,
    images: 900,
    memorisation: { distance: 0.5, shareAtMost: 0.05 },
    diversity: { similarityAtMost: 0.97 },
    signOff: { needed: 0, people: [] },
  },
  {
    model: { latent: 2, generatorWidth: 128 },
    training: { rounds: 0, warmupDiscriminatorSteps: 0 },
    privacy: { epsilon: 6, maxSteps: 0 },
    warmStart: { fitSteps: 80 },
    minSites: 3,
  },
);
const sites = new Map(
  ['site-a', 'site-b', 'site-c'].map((site) => [site, phantomSite({ site, patients: 300, imagesPerPatient: 1 })]),
);

test('a healthy generator passes; one that was trained without privacy on 50 images is stopped', async () => {
  const healthy = await gatedRun({ engine, policy, sites });
  expect(healthy.verdict.findings.filter((f) => !f.holds)).toEqual([]);
  expect(healthy.verdict.passed).toBe(true);

  const of = sites.get('site-a')!;
  const fifty = selectImages(
    of,
    Array.from({ length: 50 }, (_, i) => i),
  );
  const copies = await memorise(engine, openGan(ganConfigOf(policy)), fifty, 2500);
  const trainer = new SwappingTrainer(engine, policy, copies);
  const { verdict, log } = await gatedRun({ engine, policy, sites, trainer });
  const against = verdict.findings.filter((f) => !f.holds).map((f) => f.bound);
  expect(verdict.passed).toBe(false);
  expect(against).toContain('memorisation');
  expect(against).not.toContain('epsilon');
  expect(against).not.toContain('log');
  expect(verdict.findings.find((f) => f.bound === 'memorisation')!.say).toBe(
    'site-a found copies of more than 5 % of their patients.',
  );
  // What left the sites for it: two words each, signed.
  const answers = log.filter((e) => e.kind === 'gate-answered').map((e) => e.body as { siteId: string; words: object });
  expect(answers.map((a) => a.siteId).sort()).toEqual(['site-a', 'site-b', 'site-c']);
  for (const { words } of answers) expect(Object.keys(words).sort()).toEqual(['kind', 'membership', 'memorisation']);
  expect(log.find((e) => e.kind === 'gate-judged')!.body).toMatchObject({ passed: false });
}, 400_000);
