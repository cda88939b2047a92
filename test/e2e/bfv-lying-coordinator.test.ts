/**
 * What a coordinator that lies can have opened: nothing but one true sum. Sites and their half of the scheme are the
 * real thing; the lies are made here.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { readEnvelope, writeEnvelope } from '../../shared/aggregation/bfv/envelope.ts';
import { bfvParameters } from '../../shared/aggregation/bfv/parameters.ts';
import { SealCore } from '../../shared/aggregation/bfv/seal-core.ts';
import type { Frame } from '../../shared/aggregation/bfv/seal-core.ts';
import { signConsent, verifyList } from '../../shared/aggregation/bfv/statements.ts';
import type { Shown } from '../../shared/aggregation/bfv/statements.ts';
import { BFV, BfvTable, spooled } from '../support/bfv-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

interface Open {
  readonly key: unknown;
  readonly contributors: Shown[];
  readonly consents: Shown[];
}
const parameters = bfvParameters(BFV);
let table: BfvTable;
let core: SealCore;
beforeAll(async () => {
  table = new BfvTable(5);
  core = await SealCore.open(parameters);
});
afterAll(async () => {
  core.dispose();
  await table.dispose();
});

let attempts = 0;
/** A fresh attempt, honest up to the moment the sum is to be opened. */
async function upToOpening() {
  const plan = table.plan(attempts++);
  const played = await table.play(3, plan);
  const [opener] = [...played.downlinks.keys()];
  const frames = new Map<string, Frame[]>();
  for (const [id, { tensor }] of played.answers[1]) {
    const own: Frame[] = [];
    for await (const group of readEnvelope(spooled(tensor!), 'update', parameters, table.length, 64))
      own.push(...group);
    frames.set(id, own);
  }
  const shown = played.downlinks.get(opener) as Open;
  const asSum = (sum: Frame[]) => writeEnvelope('sum', parameters, table.length, sum);
  const open = (blob: Uint8Array | undefined, over: Partial<Open> = {}, by = opener) =>
    table.answer(by, plan, 3, { ...shown, ...over }, blob);
  return { ...played, plan, opener, frames, shown, asSum, open };
}

describe('the encrypted sum', () => {
  test('the true sum is opened, and is the sum of the updates up to their rounding', async () => {
    const { open, blob, plan, answers, downlinks } = await upToOpening();
    expect((await open(blob)).body).toEqual({ opened: true });
    const given = new Map<string, Awaited<ReturnType<typeof open>>>();
    for (const [id, downlink] of downlinks) given.set(id, await table.answer(id, plan, 3, downlink, blob));
    const result = await table.close(plan, 3, [...answers, given]);
    if (!('sum' in result)) throw new Error('no sum');
    const step = 2 / 65_535;
    result.sum.forEach((v, i) => {
      const exact = [...table.updates.values()].reduce((sum, u) => sum + u[i], 0);
      expect(Math.abs(v - exact)).toBeLessThan(5 * step);
    });
    expect(result.contributors).toEqual(table.ids);
  });

  test('one site’s ciphertext under the list of all is not opened', async () => {
    const { open, asSum, frames } = await upToOpening();
    expect(await codeOf(open(asSum(frames.get('site-a')!)))).toBe('SUM_REFUSED');
  });

  test('nor with the tag of the true sum', async () => {
    const { open, asSum, frames } = await upToOpening();
    const sum = core.add([...frames.values()]);
    const mixed = frames.get('site-a')!.map((frame, i) => ({ ...frame, tag: sum[i].tag }));
    expect(await codeOf(open(asSum(mixed)))).toBe('SUM_REFUSED');
  });

  test('a ciphertext that was added twice, or left out, is not opened', async () => {
    const twice = await upToOpening();
    const all = [...twice.frames.values()];
    expect(await codeOf(twice.open(twice.asSum(core.add([...all, all[0]]))))).toBe('SUM_REFUSED');
    const less = await upToOpening();
    expect(await codeOf(less.open(less.asSum(core.add([...less.frames.values()].slice(1)))))).toBe('SUM_REFUSED');
  });

  test('the sum of another attempt is not opened', async () => {
    const before = await upToOpening();
    const { open } = await upToOpening();
    expect(await codeOf(open(before.blob))).toBe('SUM_REFUSED');
  });

  test('what is no sum at all is refused with the same words', async () => {
    const { open, blob, asSum, frames } = await upToOpening();
    const words: string[] = [];
    const lies = [undefined, new Uint8Array(100), blob!.slice(0, -1), asSum(frames.get('site-b')!)];
    for (const lie of lies) await open(lie).catch((error: Error) => words.push(error.message));
    expect(words).toEqual(lies.map(() => 'SUM_REFUSED: the sum was not opened'));
  });
});

describe('the list', () => {
  test('a sum of fewer sites, true to its shorter list, is not what the sites agreed to', async () => {
    const { open, asSum, frames, shown } = await upToOpening();
    const contributors = shown.contributors.slice(0, 4);
    const blob = asSum(core.add(contributors.map((c) => frames.get(c.siteId)!)));
    expect(await codeOf(open(blob, { contributors }))).toBe('SUM_REFUSED');
  });

  test('a list without enough consents, or with one twice, or a stranger’s, is not opened', async () => {
    const { open, blob, shown } = await upToOpening();
    const two = shown.consents.slice(0, 2);
    expect(await codeOf(open(blob, { consents: two }))).toBe('SUM_REFUSED');
    expect(await codeOf(open(blob, { consents: [...two, two[1]] }))).toBe('SUM_REFUSED');
    const renamed = { siteId: shown.consents[2].siteId, statement: two[1].statement };
    expect(await codeOf(open(blob, { consents: [...two, renamed] }))).toBe('SIGNATURE_INVALID');
  });

  test('a contribution of another attempt, or under another name, is refused', async () => {
    const before = await upToOpening();
    const { open, blob, shown } = await upToOpening();
    const [first, second, ...rest] = shown.contributors;
    const old = [before.shown.contributors[0], second, ...rest];
    expect(await codeOf(open(blob, { contributors: old }))).toBe('SIGNATURE_INVALID');
    const swapped = [{ ...first, statement: second.statement }, second, ...rest];
    expect(await codeOf(open(blob, { contributors: swapped }))).toBe('SIGNATURE_INVALID');
  });

  test('a site agrees only to a list in which its own ciphertext is the one it sent', async () => {
    const plan = table.plan(attempts++);
    const { downlinks } = await table.play(2, plan);
    const { contributors } = downlinks.get('site-a') as { contributors: Shown[] };
    const without = contributors.filter((c) => c.siteId !== 'site-a');
    expect(await codeOf(table.answer('site-a', plan, 2, { contributors: without }))).toBe('SUM_REFUSED');
    const few = contributors.slice(0, 2);
    expect(await codeOf(table.answer('site-a', plan, 2, { contributors: few }))).toBe('SUM_REFUSED');
    const disordered = contributors.toReversed();
    expect(await codeOf(table.answer('site-a', plan, 2, { contributors: disordered }))).toBe('SUM_REFUSED');
    await table.answer('site-a', plan, 2, { contributors });
  });

  test('two lists of one attempt cannot both be opened: no two majorities, and a site opens the list it signed', async () => {
    const { open, asSum, frames, shown, plan, opener } = await upToOpening();
    // The coordinator works with two sites that sign a second list; the third consent it needs is of an honest site.
    const contributors = shown.contributors.slice(0, 4);
    const context = { plan, parameters, roster: table.cast.roster };
    const { listSha256 } = await verifyList(context, contributors, 3);
    const consents = await Promise.all(
      ['site-a', 'site-b', 'site-c'].map(async (siteId) => ({
        siteId,
        statement: await signConsent(table.cast.sites.get(siteId)!, context, siteId, listSha256, 0),
      })),
    );
    const blob = asSum(core.add(contributors.map((c) => frames.get(c.siteId)!)));
    expect(await codeOf(open(blob, { contributors, consents }, opener))).toBe('SUM_REFUSED');
  });
});

test('positive control: a site that asked for no tag would open one update under the list of all', async () => {
  const { plan, frames, answers } = await upToOpening();
  // The key as site-a has it; the check is left out.
  const { unwrapKey, shownTo, KeyBundle } = await import('../../shared/aggregation/bfv/key-bundle.ts');
  const bundle = KeyBundle.parse(answers[0].get('site-a')!.body);
  const keys = table.cast.sites.get('site-b')!;
  const o = { plan, parameters, roster: table.cast.roster, steward: 'site-a', keys };
  const key = await unwrapKey(shownTo(bundle, 'site-b'), o);
  // Under a list of one, its own, the tag is right: what stands between is the list, the consents and the tag.
  const found = core.openPart(key, plan, ['site-a'], 0, frames.get('site-a')!, [table.length]);
  const opened = Float32Array.from(found, (v) => (v * 2) / 65_535 - 1);
  const update = table.updates.get('site-a')!;
  expect(Math.max(...opened.map((v, i) => Math.abs(v - update[i])))).toBeLessThan(2 / 65_535);
  expect(sha256Hex(answers[1].get('site-a')!.tensor!)).toHaveLength(64);
});
