/** That the noise of a site's steps is the noise its events are charged for, on the whole way from the policy. */
import { expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import { latticeFor } from '../../shared/dp/noised.ts';
import { initialise } from '../../shared/gan/layout.ts';
import { discriminatorFromBytes } from '../../shared/gan/noised-discriminator.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { momentImages } from '../../shared/moments/embedding.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { samplingOf } from '../../shared/policy/cost.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { secureBytes, type RandomBytes } from '../../shared/random.ts';
import { DpSiteComputation } from '../../site-agent/site-computation.ts';
import { phantomSite, planFor, tinyPolicy } from '../support/glue-rig.ts';

const SITE = 'site-1';

/** Noise from the operating system, and nobody drawn: the first bytes asked for are the sampler's. */
function nobodyJoins(): RandomBytes {
  let first = true;
  return (out) => {
    if (first) out.fill(255);
    else secureBytes(out);
    first = false;
  };
}

/** Standard deviation of a step's noise on the sum, over the clip: read off Adam's mean, which began at zero. */
async function noiseOver(policy: CheckedPolicy): Promise<{ measured: number; charged: number; d: number }> {
  const engine = await openEngine('cpu', { threads: 1 });
  const gan = openGan(ganConfigOf(policy));
  const generator = initialise(gan.generator.layout, 'test');
  const plan = planFor(policy, 1);
  const d = gan.discriminator.layout.length;
  const meanOfStep = async () => {
    const c = await DpSiteComputation.open({
      engine,
      policy,
      siteId: SITE,
      images: phantomSite(),
      random: nobodyJoins(),
    });
    const { state } = await c.discriminatorStep(await c.initialState(plan), plan, generator);
    const event = c.discriminatorEvent();
    await c.dispose();
    return { mean: discriminatorFromBytes(state, d).slots[0], event };
  };
  const [one, two] = [await meanOfStep(), await meanOfStep()];
  await engine.dispose();
  // The fakes of both are the same: in the difference there is noise alone, twice.
  const squares = one.mean.reduce((sum, x, i) => sum + (x - two.mean[i]) ** 2, 0);
  const scale = samplingOf(policy, SITE).expectedBatch / ((1 - policy.training.beta1) * policy.privacy.clipNorm);
  const { event } = one;
  const charged = event.kind === 'poisson-gaussian' ? event.noiseMultiplier : NaN;
  return { measured: scale * Math.sqrt(squares / (2 * d)), charged, d };
}

test('a discriminator step has the noise it is charged for, the policy’s', async () => {
  const policy = tinyPolicy({ privacy: { clipNorm: 0.3, noiseMultiplier: 1.7 } });
  const { measured, charged, d } = await noiseOver(policy);
  expect(charged).toBe(1.7);
  const { std } = latticeFor(d, 1, charged);
  // Six standard deviations of the estimate.
  const slack = 6 / Math.sqrt(2 * d);
  expect(Math.abs(measured / std - 1)).toBeLessThan(slack);
  // Positive control: a fifth less noise would be seen.
  expect(Math.abs((0.8 * measured) / std - 1)).toBeGreaterThan(slack);
});

test('at most so many images of a patient count in the moment round, their mean', () => {
  const labels = Int32Array.of(0, 1, 0, 1);
  expect(momentImages([[0, 1, 2], [3]], labels, 2)).toEqual([
    { index: 0, label: 0, weight: 0.5 },
    { index: 1, label: 1, weight: 0.5 },
    { index: 3, label: 1, weight: 1 },
  ]);
});
