/** What a site says of a generator before it charges a step for it. */
import { expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import { initialise } from '../../shared/gan/layout.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { secureBytes } from '../../shared/random.ts';
import { DpSiteComputation } from '../../site-agent/site-computation.ts';
import { MAX_CRITIC_PARAMETER, criticLayout } from '../../shared/moments/critic.ts';
import { phantomSite, refusalOf, tinyCritic, tinyPolicy } from '../support/glue-rig.ts';

test('a generator is taken when it has the size of the network and is finite', async () => {
  const engine = await openEngine('cpu');
  const policy = tinyPolicy();
  const parts = { engine, policy, siteId: 'site-1', images: phantomSite(), random: secureBytes };
  const computation = await DpSiteComputation.open(parts);
  const good = initialise(openGan(ganConfigOf(policy)).generator.layout, 'test');
  const check = (generator: Float32Array) => refusalOf(() => computation.checkGenerator(generator));
  expect(await check(good)).toBe('no error');
  expect(await check(good.slice(1))).toMatch(/^PARAMETER_INVALID: .* parameters, not/);
  expect(await check(Float32Array.of(...good, 0))).toMatch(/^PARAMETER_INVALID/);
  for (const bad of [NaN, Infinity, -Infinity])
    expect(await check(good.map((x, i) => (i === 7 ? bad : x)))).toMatch(/^PARAMETER_INVALID: .*not finite/);
  await computation.dispose();
  await engine.dispose();
});

test('a critic is taken when its features have norm 1 whatever the image, and only where the policy has one', async () => {
  const engine = await openEngine('cpu');
  const policy = tinyPolicy({ warmStart: { critic: tinyCritic } });
  const parts = { engine, policy, siteId: 'site-1', images: phantomSite(), random: secureBytes };
  const computation = await DpSiteComputation.open(parts);
  const good = initialise(criticLayout(tinyCritic, { channels: 1, size: 28 }, 3), 'test');
  const check = (critic: Float32Array) => refusalOf(() => computation.checkCritic(critic));
  expect(await check(good)).toBe('no error');
  expect(await check(good.slice(1))).toMatch(/^PARAMETER_INVALID: .* parameters, not/);
  for (const bad of [NaN, Infinity, -Infinity, 2 * MAX_CRITIC_PARAMETER])
    expect(await check(good.map((x, i) => (i === 7 ? bad : x)))).toMatch(/^PARAMETER_INVALID: a critic with/);
  await computation.dispose();
  const without = await DpSiteComputation.open({ ...parts, policy: tinyPolicy() });
  expect(await refusalOf(() => without.checkCritic(good))).toMatch(/the policy has no critic/);
  await without.dispose();
  await engine.dispose();
});
