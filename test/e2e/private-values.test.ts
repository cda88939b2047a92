/**
 * A whole training with marked private values, from the moment round to the release gate: nothing that is logged, crosses
 * or is told to a screen holds one. And no number is in any of it but those listed here, each with its reason: a
 * statistic of a private batch would need a place of its own.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GanGeneratorTrainer } from '../../coordinator/gan-generator-trainer.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { candidateSimilarity } from '../../shared/gate/similarity.ts';
import { valuesPerImage } from '../../shared/imaging/images.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import { secureBytes } from '../../shared/random.ts';
import type { SiteComputation } from '../../site-agent/core/computation.ts';
import { HOLD_OUT_KEY_BYTES } from '../../site-agent/core/hold-out.ts';
import { asPrivateImages } from '../../site-agent/imaging/private-images.ts';
import { openComputation } from '../../site-agent/open-computation.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { gatedPolicy } from '../support/gate-rig.ts';
import { phantomSite } from '../support/glue-rig.ts';
import { holdsMark, MARK } from '../support/marked.ts';
import { leavesOf, overheard } from '../support/overheard.ts';
import { agentOf, castOf, coordinatorOf, RUN_ID } from '../support/round-rig.ts';
import { Tap } from '../support/round-hand.ts';

/** Every name under which a number may be logged, sent or shown. */
const PUBLIC_NUMBERS = {
  'where the run and the log stand': ['attempt', 'phase', 'round', 'rounds', 'resumedAt', 'index', 'version', 'timeMs', 'size', 'from'],
  'lengths of what is sent, which follow from the policy': ['bytes', 'have', 'credit', 'offset', 'length'],
  'how long a question may wait, the same at every site': ['waitMs'],
  'the plan': ['deadlineMs', 'declarers', 'discriminatorSteps', 'counts', 'step', 'of', 'steps', 'share'],
  'the policy': ['clipNorm', 'delta', 'noiseMultiplier', 'sampleRate', 'sensitivity', 'limit', 'atMost'],
  'the ledger: what was charged, whatever the data': ['epsilon', 'entries', 'count'],
  'of fakes, by a discriminator that was noised': ['fakeLoss', 'fakeAccuracy'],
  'of synthetic images': ['similarity'],
  'of the gate’s public findings': ['measured'],
} as const; // prettier-ignore

const PATIENTS = 211;
/** Pixels that no phantom has, small enough to pass the clip of an update. */
const PIXELS = Float32Array.of(0.0012345, -0.0023456, 0.0031416, 0.0012718);
const policy = gatedPolicy(
  { minSites: 3, signOff: { needed: 0, people: [] } },
  {
    training: { rounds: 2, warmupDiscriminatorSteps: 1 },
    privacy: { epsilon: 60, noiseMultiplier: 1, maxSteps: 8, generatorClipNorm: 1 },
    warmStart: { fitSteps: 4 },
    minSites: 3,
  },
);

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

/** @param tampered - what becomes of a site's computation. @returns all that three sites and a coordinator said. */
async function training(tampered: (c: SiteComputation) => SiteComputation = (c) => c) {
  await using open = new AsyncDisposableStack();
  const cast = castOf(3);
  const [store, tap] = [new MemoryStore(), new Tap()];
  const trainer = open.adopt(new GanGeneratorTrainer(engine, policy), (t) => t.dispose());
  const similarity = (...args: [Float32Array, Parameters<typeof candidateSimilarity>[3]]) => candidateSimilarity(engine, policy, ...args); // prettier-ignore
  const coordinator = coordinatorOf(cast, policy, { store, trainer, onEvent: tap.hear, similarity });
  const [traffic, events]: unknown[][] = [[], []];
  const private_ = new Set<number>([PATIENTS]);
  const agents = await Promise.all(
    [...cast.sites.keys()].map(async (siteId) => {
      const phantoms = phantomSite({ site: siteId, patients: PATIENTS, imagesPerPatient: [1, 2] });
      for (let i = 0; i < phantoms.n; i++) phantoms.pixels.set(PIXELS, i * valuesPerImage(phantoms) + 100);
      const patients = phantoms.patients.map((p) => `${MARK}-${p}`);
      const images = asPrivateImages({ ...phantoms, patients }, true);
      private_.add(images.n);
      const outbox = new Outbox(':memory:');
      const holdOutKey = outbox.secret('hold-out', HOLD_OUT_KEY_BYTES, secureBytes);
      const parts = { engine, policy, siteId, images, random: secureBytes, holdOutKey };
      const computation = open.adopt(await openComputation(parts), (c) => c.dispose());
      const link = overheard(directLink(coordinator, siteId), (what) => traffic.push(what));
      return agentOf(cast, policy, siteId, link, { computation: tampered(computation), outbox, onEvent: (e) => events.push({ [e.kind]: e }) }); // prettier-ignore
    }),
  );
  await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  const entries = await store.transaction((tx) => tx.log(RUN_ID, 0, 10_000));
  const log = entries.map((e) => ({ ...e, body: { [e.kind]: e.body } }));
  expect(entries.filter((e) => e.kind === 'gate-judged')).toHaveLength(1);
  return { all: [...log, ...traffic, ...events, ...tap.events.map((e) => ({ [e.kind]: e }))], numbers: private_ };
}

/** Two neighbouring marked pixels in any form that numbers are sent in. */
const FORMS = [0, 1, 2].flatMap((i) => [
  Buffer.from(Float32Array.from(PIXELS.subarray(i, i + 2)).buffer),
  Buffer.from(Float64Array.from(PIXELS.subarray(i, i + 2)).buffer),
]);
const TEXTS = ['0.0012345', '0.0023456', '0.0031416', '0.0012718'];

/** What of all that was said is private: where, and what. */
function leaksIn({ all, numbers }: Awaited<ReturnType<typeof training>>): string[] {
  const found = new Set<string>();
  for (const part of all)
    for (const { path, value } of leavesOf(part)) {
      if (typeof value === 'number' && numbers.has(value)) found.add(`${path}: a count of this site`);
      if (value instanceof Uint8Array && FORMS.some((form) => Buffer.from(value).includes(form)))
        found.add(`${path}: pixels`);
      if (typeof value === 'string' && TEXTS.some((text) => value.includes(text))) found.add(`${path}: pixels`);
      if ((typeof value === 'string' || value instanceof Uint8Array) && holdsMark(value))
        found.add(`${path}: a patient`);
    }
  return [...found];
}

/** The last names of every number's path. */
const namesOfNumbers = (all: readonly unknown[]): string[] => {
  const leaves = all.flatMap((part) => [...leavesOf(part)].filter((leaf) => typeof leaf.value === 'number'));
  return [...new Set(leaves.map(({ path }) => path.replaceAll('[]', '').split('.').at(-1)!))].sort();
};

test('no private value, and no number that is not listed, is in log, traffic or events', async () => {
  const said = await training();
  expect(said.all.length).toBeGreaterThan(200);
  expect(leaksIn(said)).toEqual([]);
  expect(namesOfNumbers(said.all)).toEqual(Object.values(PUBLIC_NUMBERS).flat().toSorted());
}, 120_000);

test('positive control: a careless site that sends pixels for a gradient, or a count anywhere, is found', async () => {
  const careless = (c: SiteComputation): SiteComputation =>
    new Proxy(c, {
      get(target, name) {
        if (name === 'generatorGradient')
          return async (...args: Parameters<SiteComputation['generatorGradient']>) => {
            const { update, fakes } = await target.generatorGradient(...args);
            const own = new Float32Array(update.length);
            own.set(PIXELS);
            return { update: own, fakes };
          };
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  const said = await training(careless);
  expect(leaksIn(said)).toEqual(['tensor.chunk.data: pixels']);
  const statement = ['e30', Buffer.from(JSON.stringify({ body: { fakes: { batch: PATIENTS } } })).toString('base64url'), ''].join('.'); // prettier-ignore
  const more = [{ answer: { note: `patient ${MARK}`, mean: '-0.0023456', signature: statement } }];
  expect(leaksIn({ ...said, all: more })).toEqual(['answer.note: a patient', 'answer.mean: pixels', 'answer.signature.jws.fakes.batch: a count of this site']); // prettier-ignore
  expect(namesOfNumbers(more)).toEqual(['batch']);
}, 120_000);
