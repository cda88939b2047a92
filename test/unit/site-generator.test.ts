/** What a site says of a generator before it charges a step for it. */
import { expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import { initialise } from '../../shared/gan/layout.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { secureBytes } from '../../shared/random.ts';
import { DpSiteComputation } from '../../site-agent/site-computation.ts';
import { phantomSite, refusalOf, tinyPolicy } from '../support/glue-rig.ts';

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
