/** Patients who are held out for the release gate: on no road to a gradient, a share or a moment. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GanPooledTrainer } from '../../coordinator/gan-pooled-trainer.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { initialise } from '../../shared/gan/layout.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { imageAt } from '../../shared/imaging/images.ts';
import { criticLayout } from '../../shared/moments/critic.ts';
import { type CheckedPolicy, loadPolicy } from '../../shared/policy/load.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { publicBytes } from '../../shared/public-random.ts';
import { secureBytes } from '../../shared/random.ts';
import { isHeldOut, splitHoldOut } from '../../site-agent/core/hold-out.ts';
import { asPrivateImages, type PrivateImages, withoutPatients } from '../../site-agent/imaging/private-images.ts';
import { openComputation } from '../../site-agent/open-computation.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { gatedPolicy, testGate } from '../support/gate-rig.ts';
import { phantomSite, planFor, refusalOf, tinyCritic } from '../support/glue-rig.ts';
import { pooledFile } from '../support/pooled-rig.ts';

const gate = {
  ...{ ...testGate, holdOut: 0.3, leastPatients: 60, noiseMultiplier: 0.5 },
  membership: { advantageAtMost: 0.3 },
};
const everybody = { sampleRate: 0.9, expectedBatch: 54, maxBatch: 60, epsilon: 1e6 };
const local = gatedPolicy(gate, { privacy: everybody, warmStart: { critic: tinyCritic } });
const pooled = loadPolicy(
  {
    ...pooledFile({ secure: true, moments: true, privacy: everybody }),
    release: { maxImages: 10, gate },
  },
  { availableSchemes: ['secagg'] },
);
const key = new Uint8Array(32).fill(3);
const images = phantomSite({ patients: 60, imagesPerPatient: 2 });
const held = new Set(images.patientGroups.flatMap(({ id }) => (isHeldOut(id, 0.3, key) ? [id] : [])));

/** The same site with other pictures of these patients: a trace of them anywhere is another result. */
function repainted(who: (id: string) => boolean): PrivateImages {
  const pixels = images.pixels.slice();
  for (const { id, images: rows } of images.patientGroups)
    if (who(id)) for (const row of rows) imageAt({ ...images, pixels }, row).fill(0.7);
  const { patientGroups: _, ...rest } = images;
  return asPrivateImages({ ...rest, pixels }, true);
}

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

/** Everything that a site computes for training, from the same bytes of chance. */
async function trainingOf(policy: CheckedPolicy, own: PrivateImages): Promise<Record<string, string>> {
  const parts = { engine, policy, siteId: 'site-1', images: own, random: publicBytes('hold-out'), holdOutKey: key };
  const c = await openComputation(parts);
  const hex = (bytes: Uint8Array | Float32Array | Int32Array) =>
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
  const sites = ['site-1', 'site-2', 'site-3'];
  const found: Record<string, string> = {
    moments: hex(await c.noisedMoments(planFor(policy, 0, sites), null)),
  };
  const gan = openGan(ganConfigOf(policy));
  if (policy.warmStart.kind === 'moments' && policy.warmStart.critic) {
    const critic = initialise(criticLayout(policy.warmStart.critic, own, 3), 'critic');
    found['critic'] = hex(await c.noisedMoments(planFor(policy, 1, sites), critic));
  }
  if (c.pooled) {
    const trainer = new GanPooledTrainer(engine, policy);
    const weights = trainer.discriminatorWeights(await trainer.initialDiscriminator());
    found['share'] = hex(await c.pooled.share(weights, planFor(policy, 1, sites)));
    await trainer.dispose();
  } else {
    const plan = planFor(policy, 3, sites);
    const generator = initialise(gan.generator.layout, 'generator');
    const { state } = await c.discriminatorStep(await c.initialState(plan), plan, generator);
    found['discriminator'] = hex(state);
    found['generator'] = hex((await c.generatorGradient(state, plan, generator)).update);
  }
  await c.dispose();
  return found;
}

describe.each([
  ['local', local, ['critic', 'discriminator', 'generator', 'moments']],
  ['pooled', pooled, ['moments', 'share']],
] as const)('training, %s', (_, policy, roads) => {
  test('other pictures of the patients held out change nothing; of one training patient, everything', async () => {
    expect(held.size).toBeGreaterThan(8);
    const before = await trainingOf(policy, images);
    expect(Object.keys(before).sort()).toEqual(roads);
    expect(
      await trainingOf(
        policy,
        repainted((id) => held.has(id)),
      ),
    ).toEqual(before);
    const after = await trainingOf(
      policy,
      repainted((id) => !held.has(id)),
    );
    for (const road of roads) expect([road, after[road] === before[road]]).toEqual([road, false]);
  });
});

test('without a key of the site nothing is opened: a hold-out that changes holds nothing out', async () => {
  const open = (holdOutKey?: Uint8Array) =>
    refusalOf(() =>
      openComputation({
        engine,
        policy: local,
        siteId: 'site-1',
        images,
        random: secureBytes,
        ...(holdOutKey && { holdOutKey }),
      }),
    );
  expect(await open()).toMatch(/PARAMETER_INVALID: a hold-out needs a key/);
  expect(await open(new Uint8Array(5))).toMatch(/PARAMETER_INVALID/);
});

test('the key outlives the process, and is nobody else’s', () => {
  const outbox = new Outbox(':memory:');
  const first = outbox.secret('hold-out', 32, secureBytes);
  expect(outbox.secret('hold-out', 32, secureBytes)).toEqual(first);
  expect(new Outbox(':memory:').secret('hold-out', 32, secureBytes)).not.toEqual(first);
});

test('a share of the patients, each by a coin of its own; withdrawals are followed on both sides', () => {
  const ids = Array.from({ length: 20_000 }, (_, i) => `patient-${i}`);
  const share = ids.filter((id) => isHeldOut(id, 0.1, key)).length / ids.length;
  expect(share).toBeGreaterThan(0.09);
  expect(share).toBeLessThan(0.11);
  const other = ids.filter((id) => isHeldOut(id, 0.1, new Uint8Array(32).fill(4)));
  expect(other.filter((id) => isHeldOut(id, 0.1, key)).length / other.length).toBeLessThan(0.2);

  const gone = new Set<string>();
  const leftOut = { version: 0, has: (id: string) => gone.has(id) };
  const split = splitHoldOut(withoutPatients(images, leftOut), 0.3, key);
  const idsOf = (part: PrivateImages) => part.patientGroups.map((p) => p.id);
  expect([...idsOf(split.training), ...idsOf(split.heldOut)].sort()).toEqual(
    images.patientGroups.map((p) => p.id).sort(),
  );
  expect(idsOf(split.heldOut).sort()).toEqual([...held].sort());
  const [one, two] = [idsOf(split.training)[0], idsOf(split.heldOut)[0]];
  gone.add(one).add(two);
  leftOut.version += 1;
  expect(idsOf(split.training)).not.toContain(one);
  expect(idsOf(split.heldOut)).not.toContain(two);
  expect(() => JSON.stringify(split.training)).toThrow(/never serialised/);
});
