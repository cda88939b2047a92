/** A patient withdraws in the middle of a run: nothing that crosses, is logged or is printed says so. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { GanGeneratorTrainer } from '../../coordinator/gan-generator-trainer.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import { secureBytes } from '../../shared/random.ts';
import { asPrivateImages, withoutPatients } from '../../site-agent/imaging/private-images.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Withdrawals, withdrawalsPath } from '../../site-agent/shell/withdrawals.ts';
import { DpSiteComputation } from '../../site-agent/site-computation.ts';
import { phantomSite, tinyPolicy } from '../support/glue-rig.ts';
import { overheard } from '../support/overheard.ts';
import { agentOf, castOf, coordinatorOf, RUN_ID, testBounds } from '../support/round-rig.ts';
import { Tap } from '../support/round-hand.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-unseen-'));
const MARK = 'MRN-8086-CONSENT';
let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(async () => {
  await engine.dispose();
  rmSync(folder, { recursive: true });
});

/** Everything that a site says, in order, as text; bytes as they are, before a buffer can make JSON of itself. */
const textOf = (value: unknown): string =>
  JSON.stringify(value, function (this: Record<string, unknown>, key, v: unknown) {
    const raw = this[key];
    return raw instanceof Uint8Array ? Buffer.from(raw).toString('latin1') : v;
  }) ?? '';

/** The policy of these tests protects nobody, and both sites let it. */
const bounds = { ...testBounds, maxEpsilon: 1e9, maxDelta: 0.1, minNoiseToSampleRate: 0, minSites: 1, minSurvivors: 1, lifetime: { epsilon: 1e9, delta: 0.1 } }; // prettier-ignore

/** A run of two sites; at one of them the marked patient is withdrawn after the first round, or is not. */
async function run(name: string, withdraw: boolean) {
  const policy = tinyPolicy({ training: { rounds: 3 } });
  const cast = castOf(2);
  const [store, tap] = [new MemoryStore(), new Tap()];
  const coordinator = coordinatorOf(cast, policy, {
    store,
    trainer: new GanGeneratorTrainer(engine, policy),
    onEvent: tap.hear,
  });
  const path = withdrawalsPath(join(folder, `${name}.sqlite`));
  const said: string[] = [];
  const events: string[] = [];
  const ledgers = new Map<string, Ledger>();
  const agents = await Promise.all(
    [...cast.sites.keys()].map(async (siteId, i) => {
      const phantoms = phantomSite({ site: siteId });
      const patients = phantoms.patients.map((p) => (p === phantoms.patients[0] ? MARK : p));
      const images = asPrivateImages({ ...phantoms, patients }, true);
      const list = new Withdrawals(i === 0 ? path : join(folder, 'none.json'), null);
      const computation = await DpSiteComputation.open({
        ...{ engine, policy, siteId, random: secureBytes },
        images: withoutPatients(images, list),
      });
      const link = overheard(directLink(coordinator, siteId), (what) => said.push(textOf(what)));
      const ledger = new Ledger(':memory:');
      ledgers.set(siteId, ledger);
      const onEvent = (event: object) => events.push(textOf(event));
      const leftOut = () => list.chain;
      return agentOf(cast, policy, siteId, link, { computation, ledger, bounds, onEvent, leftOut });
    }),
  );
  const running = [coordinator.run(), ...agents.map((a) => a.run())];
  await tap.when('round-closed', 1);
  if (withdraw) {
    const entry = { patient: MARK, issuer: '', reason: 'consent', what: 'withdrawn' } as const;
    expect(new Withdrawals(path, null).note(entry, Date.now())).toBe(true);
  }
  await Promise.all(running);
  const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 10_000));
  const entries = [...ledgers].map(([site, l]) => [site, l.entries().length]);
  return { said, events, log, entries };
}

test('neither the patient’s name nor that somebody withdrew can be seen from outside', async () => {
  const printed: string[] = [];
  const spies = [process.stdout, process.stderr].map((out) =>
    vi.spyOn(out, 'write').mockImplementation((text) => printed.push(String(text)) > 0),
  );
  let runs;
  try {
    runs = [await run('with', true), await run('without', false)];
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  const [withdrew, kept] = runs;
  const everything = [...withdrew.said, ...withdrew.events, textOf(withdrew.log), ...printed];
  expect(everything.join('\n').length).toBeGreaterThan(50_000);
  for (const text of everything) {
    expect(text.includes(MARK)).toBe(false);
    expect(/withdraw/i.test(text)).toBe(false);
  }
  // The same entries in ledger and log, whoever withdrew.
  expect(withdrew.entries).toEqual(kept.entries);
  const kinds = (r: typeof kept) => r.log.map((e) => e.kind).sort();
  expect(kinds(withdrew)).toEqual(kinds(kept));
  // Positive control: the search sees a mark where there is one.
  expect(textOf({ data: Buffer.from(`xx${MARK}xx`) }).includes(MARK)).toBe(true);
});
