/**
 * A generator whose images are no numbers: it is nobody's copy by any distance, and so would pass every question. Sites
 * decline by name and pay nothing, the coordinator measures nothing, and the verdict refuses.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { auditOwnLog } from '../../coordinator/own-log.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { candidateOf } from '../../shared/gate/candidate.ts';
import { drawCandidate } from '../../shared/gate/draw.ts';
import { candidateSimilarity } from '../../shared/gate/similarity.ts';
import { policySha256 } from '../../shared/policy/load.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { gatedPolicy } from '../support/gate-rig.ts';
import { gatedRun, SwappingTrainer } from '../support/gate-run.ts';
import { phantomSite } from '../support/glue-rig.ts';
import { RUN_ID } from '../support/round-rig.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

const policy = gatedPolicy(
  { minSites: 3, noiseMultiplier: 2.1, signOff: { needed: 0, people: [] } },
  {
    training: { rounds: 0, warmupDiscriminatorSteps: 0 },
    privacy: { epsilon: 6, maxSteps: 0 },
    warmStart: { fitSteps: 4 },
    minSites: 3,
  },
);
const sites = new Map(
  ['site-a', 'site-b', 'site-c'].map((site) => [site, phantomSite({ site, patients: 40, imagesPerPatient: 1 })]),
);
const gan = openGan(ganConfigOf(policy));
const { layout, statistics } = gan.generator;
/** The engine, but for one value of every batch: what has overflowed comes out as the engine's tanh will have it. */
const broken: Engine = Object.assign({} as Engine, {
  compile: async (...args: Parameters<Engine['compile']>) => {
    const program = await engine.compile(...args);
    return {
      run: async (feeds: Parameters<typeof program.run>[0]) => {
        const out = await program.run(feeds);
        Object.values(out)[0][7] = NaN;
        return out;
      },
      dispose: () => program.dispose(),
    };
  },
});

test('sites decline it by name and pay nothing; nothing is measured; the verdict refuses', async () => {
  const trainer = new SwappingTrainer(engine, policy, new Float32Array(layout.length).fill(NaN));
  const { verdict, log, events, ledgers, ...own } = await gatedRun({ engine, policy, sites, trainer });
  const answers = log.filter((e) => e.kind === 'gate-answered').map((e) => (e.body as { words: object }).words);
  expect(answers).toEqual(Array(3).fill({ kind: 'declined', code: 'GENERATOR_NOT_FINITE' }));
  const gateEntries = [...ledgers.values()].flatMap((ledger) =>
    ledger.entries().filter((e) => 'event' in e && (e.event as { noiseMultiplier: number }).noiseMultiplier === 2.1),
  );
  expect(gateEntries).toEqual([]);
  expect(events.filter((e) => e.kind === 'gate-unmeasured')).toMatchObject([{ code: 'GENERATOR_NOT_FINITE' }]);
  expect(verdict.passed).toBe(false);
  const against = Object.fromEntries(verdict.findings.filter((f) => !f.holds).map((f) => [f.bound, f.say]));
  expect(against['sites']).toContain('site-a declined (GENERATOR_NOT_FINITE)');
  expect(against['diversity']).toBe('How alike the images are was not measured.');
  expect(log.at(-1)!.kind).toBe('run-finished');
  expect((await auditOwnLog({ ...own, keys: own.cast.coordinator })).findings.problems).toEqual([]);
}, 120_000);

test('positive control: the same sites answer about a generator that draws numbers, and pay for it', async () => {
  const { log, ledgers, events } = await gatedRun({ engine, policy, sites });
  const words = log
    .filter((e) => e.kind === 'gate-answered')
    .map((e) => (e.body as { words: { kind: string } }).words.kind);
  expect(words).toEqual(['answered', 'answered', 'answered']);
  for (const ledger of ledgers.values())
    expect(ledger.entries().filter((e) => 'event' in e && (e.event as { noiseMultiplier: number }).noiseMultiplier === 2.1)).toHaveLength(1); // prettier-ignore
  expect(events.filter((e) => e.kind === 'gate-unmeasured')).toEqual([]);
}, 120_000);

test('also where weights and statistics are finite, and only a pixel is not', async () => {
  const released = new Float32Array(layout.length + statistics.length);
  const sha256 = 'a'.repeat(64);
  const named = { runId: RUN_ID, policySha256: policySha256(policy), generatorSha256: sha256, releasedSha256: sha256 };
  const candidate = candidateOf(policy, { ...named, bytes: released.byteLength });
  for (const act of [drawCandidate, candidateSimilarity])
    await expect(act(broken, policy, released, candidate)).rejects.toThrow(/^GENERATOR_NOT_FINITE/);
  // Positive control: the engine itself, and the same generator.
  expect((await drawCandidate(engine, policy, released, candidate)).n).toBe(120);
}, 120_000);
