/** The noise that a pooled sum holds is the noise that was charged: from the site's own step, on real networks. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GanPooledTrainer } from '../../coordinator/gan-pooled-trainer.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { loadPolicy } from '../../shared/policy/load.ts';
import { eventsOfPolicy } from '../../shared/policy/cost.ts';
import { eventKey } from '../../shared/dp/event.ts';
import { planLatticeOf } from '../../shared/policy/pooled.ts';
import { secureBytes } from '../../shared/random.ts';
import { PooledSiteComputation } from '../../site-agent/pooled-computation.ts';
import { phantomSite, planFor, refusalOf } from '../support/glue-rig.ts';
import { pooledFile, pooledPolicy } from '../support/pooled-rig.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

const IDS = ['site-1', 'site-2', 'site-3', 'site-4'];
/** Hardly anybody is ever drawn: what is left is noise. */
const policy = pooledPolicy({
  secure: true,
  moments: true,
  pooled: { maxDropouts: 1 },
  privacy: { sampleRate: 1e-7, expectedBatch: 4e-6 },
  aggregation: { minSites: 4, minSurvivors: 3, maxDropouts: 1 },
});
const open = (siteId: string, p = policy) =>
  PooledSiteComputation.open({
    engine,
    policy: p,
    siteId,
    images: phantomSite({ site: siteId, patients: 6 }),
    random: secureBytes,
  });

test('shares of a step and of a moment round make up the variance in the ledger: with all four there, twice of it', async () => {
  const trainer = new GanPooledTrainer(engine, policy);
  const weights = trainer.discriminatorWeights(await trainer.initialDiscriminator());
  const plan = { ...planFor(policy, 1, IDS), kind: 'discriminator' as const };
  const sum = new Float64Array(weights.length);
  for (const id of IDS) {
    const site = await open(id);
    (await site.share(weights, plan)).forEach((x, i) => (sum[i] += x));
    const [moments, steps] = eventsOfPolicy(policy, id);
    expect(eventKey(site.discriminatorEvent())).toBe(eventKey(steps));
    expect(eventKey(site.momentEvent())).toBe(eventKey(moments));
    await site.dispose();
  }
  const event = eventsOfPolicy(policy)[1];
  if (event.kind !== 'poisson-skellam') throw new Error('not a pooled event');
  const variance = sum.reduce((total, x) => total + x * x, 0) / sum.length;
  // Four shares, made so that two are enough. Rounding of nothing adds nothing.
  const wanted = (event.variance * 4) / 2;
  expect(variance / wanted).toBeGreaterThan(1 - 5 * Math.sqrt(2 / sum.length));
  expect(variance / wanted).toBeLessThan(1 + 5 * Math.sqrt(2 / sum.length));
  expect(planLatticeOf(policy, plan).share).toBe(Math.ceil(event.variance / 2));
});

test('what a site refuses before anything is charged: a vector longer than accounted, an odd discriminator', async () => {
  const long = loadPolicy(pooledFile({ pooled: { coordinates: 200 } }), { availableSchemes: ['clear'] });
  expect(await refusalOf(() => open('site-1', long))).toMatch(/^POLICY_INVALID: pooled.coordinates is 200/);
  expect(await refusalOf(async () => new GanPooledTrainer(engine, long))).toMatch(/^POLICY_INVALID/);
  const site = await open('site-1');
  const weights = new Float32Array(new GanPooledTrainer(engine, policy).gan.discriminator.layout.length);
  expect(await refusalOf(() => site.checkDiscriminator(weights.subarray(1)))).toMatch(/^PARAMETER_INVALID/);
  expect(await refusalOf(() => site.checkDiscriminator(weights.map(() => NaN)))).toMatch(/^PARAMETER_INVALID/);
  expect(await refusalOf(() => site.checkDiscriminator(weights))).toBe('no error');
  expect(await refusalOf(() => site.initialState())).toMatch(/^POLICY_MISMATCH/);
  await site.dispose();
});
