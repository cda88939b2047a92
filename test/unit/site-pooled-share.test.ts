/** One share of a pooled step: paid for once, used again where it could not be sealed, and never in another attempt. */
import { expect, test } from 'vitest';
import { FedError } from '../../shared/errors.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { FreshShare, type SiteTools, takePooledPhase, type ToSeal } from '../../site-agent/pooled-round.ts';
import type { SiteParts, Work } from '../../site-agent/round.ts';
import type { StoredAnswer } from '../../site-agent/shell/outbox.ts';
import { codeOf } from '../support/wire-rig.ts';

const planOf = (attempt: number) =>
  ({ kind: 'discriminator', runId: 'run', round: 3, attempt, discriminatorSteps: 2 }) as unknown as RoundPlan;

/** What goes wrong, and in what order things were done. */
interface Broken {
  readonly fetch?: () => Promise<Float32Array<ArrayBuffer>>;
  readonly charge?: () => void;
  readonly check?: () => void;
  readonly did?: string[];
}

/** A site whose scheme fails as often as it is told to. @param inTurn - whether its scheme lets the phase come now. */
function site(failures: number, inTurn = true, o: Broken = {}) {
  const charged: string[] = [];
  const sealed: Int32Array[] = [];
  let made = 0;
  const computation = {
    discriminatorEvent: () => ({ kind: 'none' }),
    pooled: {
      checkDiscriminator: () => o.check?.(),
      share: async () => {
        o.did?.push('share');
        return Int32Array.of((made += 1));
      },
    },
  };
  const parts = {
    computation,
    fresh: new FreshShare(),
    outbox: { standingOf: () => ({ answered: false, refused: false }) },
    scheme: { updateStep: (_: RoundPlan, phase: number) => phase },
    emit: () => undefined,
  } as unknown as SiteParts;
  const tools: SiteTools = {
    turnOf: () => {
      if (!inTurn) throw new FedError('PHASE_OUT_OF_TURN', 'a step that is not the next');
      return null;
    },
    charge: (_, { round, attempt }: RoundPlan, step) => {
      o.did?.push('charge');
      o.charge?.();
      charged.push(`${round}.${attempt} step ${step}`);
    },
    fetchTensor: async () => {
      o.did?.push('ask');
      const weights = (await o.fetch?.()) ?? new Float32Array(1);
      o.did?.push('have');
      return weights;
    },
    sealAnswer: async (_p, _plan, _work, { update }: ToSeal) => {
      if (failures-- > 0) throw new FedError('LINK_LOST', 'while it was sealed');
      sealed.push(update as Int32Array);
      return {} as StoredAnswer;
    },
    send: async () => true,
  };
  const take = (attempt: number, phase: number) =>
    takePooledPhase(parts, planOf(attempt), { phase, discriminator: {} } as unknown as Work, tools);
  return { charged, sealed, take };
}

test('a share that could not be sealed is sealed the next time, without another entry in the ledger', async () => {
  const { charged, sealed, take } = site(2);
  expect(await codeOf(take(0, 0))).toBe('LINK_LOST');
  expect(await codeOf(take(0, 0))).toBe('LINK_LOST');
  expect(await take(0, 0)).toBe(true);
  expect(charged).toEqual(['3.0 step 0']);
  expect(sealed).toEqual([Int32Array.of(1)]);
});

test('nothing is charged for a phase out of turn', async () => {
  const { charged, sealed, take } = site(0, false);
  expect(await codeOf(take(0, 0))).toBe('PHASE_OUT_OF_TURN');
  expect([charged, sealed]).toEqual([[], []]);
});

test('the next step and the next attempt have shares of their own, each paid for', async () => {
  const { charged, sealed, take } = site(0);
  await take(0, 0);
  await take(0, 1);
  await take(1, 0);
  await take(1, 1);
  expect(charged).toEqual(['3.0 step 0', '3.0 step 1', '3.1 step 0', '3.1 step 1']);
  expect(sealed.map(([value]) => value)).toEqual([1, 2, 3, 4]);
});

test('a step is paid for when its discriminator is there and checked, and before anything is computed', async () => {
  const did: string[] = [];
  const { take } = site(0, true, { did, check: () => void did.push('check') });
  await take(0, 0);
  expect(did).toEqual(['ask', 'have', 'check', 'charge', 'share']);
});

test('a discriminator that is lost on its way or refused costs nothing, however often it is tried', async () => {
  let lost = 2;
  const fetch = async () => {
    if (lost-- > 0) throw new FedError('LINK_LOST', 'on its way');
    return new Float32Array(1);
  };
  let sound = false;
  const check = () => {
    if (!sound) throw new FedError('PARAMETER_INVALID', 'not of this run');
  };
  const { charged, sealed, take } = site(0, true, { fetch, check });
  for (const code of ['LINK_LOST', 'LINK_LOST', 'PARAMETER_INVALID', 'PARAMETER_INVALID'])
    expect(await codeOf(take(0, 0))).toBe(code);
  expect([charged, sealed]).toEqual([[], []]);
  sound = true;
  await take(0, 0);
  expect(charged).toEqual(['3.0 step 0']);
  expect(sealed).toHaveLength(1);
});

test('an entry pays for one share: one that failed half-way is paid for again', async () => {
  let failing = true;
  const did = {
    push: (what: string) => {
      if (what === 'share' && failing) throw new Error('the engine failed');
      return 0;
    },
  } as unknown as string[];
  const { charged, take } = site(0, true, { did });
  await expect(take(0, 0)).rejects.toThrow('the engine failed');
  failing = false;
  await take(0, 0);
  expect(charged).toEqual(['3.0 step 0', '3.0 step 0']);
});

test('what cannot be paid for is not computed', async () => {
  const did: string[] = [];
  const charge = () => {
    throw new FedError('BUDGET_EXHAUSTED', 'nothing is left');
  };
  const { sealed, take } = site(0, true, { did, charge });
  expect(await codeOf(take(0, 0))).toBe('BUDGET_EXHAUSTED');
  expect(did).toEqual(['ask', 'have', 'charge']);
  expect(sealed).toEqual([]);
});
