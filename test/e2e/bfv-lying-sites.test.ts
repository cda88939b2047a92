/** What the coordinator refuses of sites under scheme `bfv`, and what it does when they do not agree. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeEnvelope } from '../../shared/aggregation/bfv/envelope.ts';
import { bfvParameters } from '../../shared/aggregation/bfv/parameters.ts';
import { signContribution } from '../../shared/aggregation/bfv/statements.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { BFV, BfvTable } from '../support/bfv-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

const parameters = bfvParameters(BFV);
let table: BfvTable;
beforeAll(() => {
  table = new BfvTable(5);
});
afterAll(() => table.dispose());
let attempts = 0;

describe('an upload', () => {
  test('that is not whole, is of other parameters or lengths, or is no ciphertext, is refused', async () => {
    const plan = table.plan(attempts++);
    const { answers } = await table.play(2, plan);
    const { body, tensor } = answers[1].get('site-a')!;
    const bytes = tensor!;
    const changed = (at: number) => bytes.map((b, i) => (i === at ? b ^ 1 : b));
    const refused = async (wrong: Uint8Array | null) => codeOf(table.check('site-a', plan, 1, { body, tensor: wrong }));
    await table.check('site-a', plan, 1, { body, tensor });
    for (const wrong of [null, bytes.slice(0, -1), new Uint8Array(1000), Uint8Array.of(...bytes, 0)])
      expect(await refused(wrong)).toBe('UPDATE_SHAPE');
    // Our magic, the length, the name of the parameters, SEAL's magic, and SEAL's own size.
    for (const at of [0, 12, 20, 64, 72]) expect(await refused(changed(at))).toBe('UPDATE_SHAPE');
    // The tag is not SEAL's to check; but the site did not sign these bytes.
    expect(await refused(changed(56))).toBe('SIGNATURE_INVALID');
    const retagged = writeEnvelope('update', parameters, table.length, [{ tag: 1n, seal: bytes.slice(64) }]);
    expect(await refused(retagged)).toBe('SIGNATURE_INVALID');
  });

  test('whose statement is of another attempt, or by another site, is refused', async () => {
    const plan = table.plan(attempts++);
    const { answers } = await table.play(2, plan);
    const { tensor } = answers[1].get('site-a')!;
    const roster = table.cast.roster;
    const sign = (siteId: string, over: object) =>
      signContribution(
        table.cast.sites.get(siteId)!,
        { plan: { ...plan, ...over }, parameters, roster },
        'site-a',
        sha256Hex(tensor!),
        0,
      );
    const refused = async (contribution: string) =>
      codeOf(table.check('site-a', plan, 1, { body: { contribution }, tensor }));
    expect(await refused(await sign('site-b', {}))).toBe('SIGNATURE_INVALID');
    expect(await refused(await sign('site-a', { attempt: 99 }))).toBe('SIGNATURE_INVALID');
    await table.check('site-a', plan, 1, { body: { contribution: await sign('site-a', {}) }, tensor });
  });

  test('a key by a site that is not the steward is refused; so is one that leaves a site out', async () => {
    const plan = table.plan(attempts++);
    const { body } = await table.answer('site-a', plan, 0, null);
    await table.check('site-a', plan, 0, { body, tensor: null });
    expect(await codeOf(table.check('site-b', plan, 0, { body, tensor: null }))).toBe('MESSAGE_INVALID');
    const { recipients, ...rest } = body as { recipients: Record<string, unknown> };
    const { 'site-e': _, ...fewer } = recipients;
    const less = { ...rest, recipients: fewer };
    expect(await codeOf(table.check('site-a', plan, 0, { body: less, tensor: null }))).toBe('MESSAGE_INVALID');
  });
});

describe('an opened sum', () => {
  async function opened() {
    const plan = table.plan(attempts++);
    const { answers, downlinks, blob } = await table.play(3, plan);
    const given = new Map<string, Awaited<ReturnType<typeof table.answer>>>();
    for (const [id, downlink] of downlinks) given.set(id, await table.answer(id, plan, 3, downlink, blob));
    return { plan, answers, given };
  }

  test('that two sites found differently is not taken; one site alone is not enough', async () => {
    const { plan, answers, given } = await opened();
    const [first, second] = [...given.keys()];
    const changed = given.get(second)!.tensor!.map((b, i) => (i === 3 ? b ^ 1 : b));
    const lying = new Map([...given, [second, { body: given.get(second)!.body, tensor: changed }]]);
    expect(await codeOf(table.close(plan, 3, [...answers, lying]))).toBe('SUM_DISAGREES');
    const alone = new Map([[first, given.get(first)!]]);
    expect(await codeOf(table.close(plan, 3, [...answers, alone]))).toBe('ROUND_VOID');
    await table.close(plan, 3, [...answers, given]);
  });

  test('that is longer than updates within their clip add up to is not taken', async () => {
    for (const id of table.ids) table.updates.get(id)!.fill(1);
    const { plan, answers, given } = await opened();
    expect(await codeOf(table.close(plan, 3, [...answers, given]))).toBe('SUM_TOO_LARGE');
  });
});
