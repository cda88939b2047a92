/** What the sites of one round send, under any scheme: the real protocol, in one process, with keys of its own. */
import { randomUUID } from 'node:crypto';
import { makePlan } from '../../coordinator/core/make-plan.ts';
import type { PhaseAnswer, SpooledTensor } from '../../shared/aggregation/aggregation.ts';
import { coordinatorScheme, siteScheme } from '../../shared/aggregation/registry.ts';
import { EMPTY_LOG } from '../../shared/audit/log.ts';
import { FedError } from '../../shared/errors.ts';
import { createSiteKeys, publicKeys } from '../../shared/identity/keys.ts';
import { EMPTY_ROSTER, rosterSeen, withSite } from '../../shared/identity/roster.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import { firstGeneratorRound } from '../../shared/protocol/terms.ts';

export interface Wire {
  /**
   * One round over these updates, one a site. [sites][d]
   * @returns for every site its uploads, one after the other, and the sum that came out.
   */
  send(updates: readonly Float32Array[]): Promise<{ sent: Uint8Array[]; sum: Float64Array }>;
  dispose(): Promise<void>;
}

/** @param policy - of the scheme that is wanted. @param sites - how many take part. */
export function openWire(policy: CheckedPolicy, sites: number): Wire {
  const terms = roundTermsOf(policy);
  const ids = Array.from({ length: sites }, (_, i) => `site-${String.fromCharCode(97 + i)}`);
  const keys = new Map(ids.map((id) => [id, createSiteKeys()]));
  const roster = [...keys].reduce((r, [id, k]) => withSite(r, id, publicKeys(k)), EMPTY_ROSTER);
  const coordinator = coordinatorScheme(terms.scheme, { policy, terms, roster: () => roster });
  const halves = ids.map((siteId) =>
    siteScheme(terms.scheme, {
      ...{ siteId, keys: keys.get(siteId)!, policy, terms },
      roster: () => Promise.resolve(roster),
      nowMs: () => 0,
    }),
  );

  return {
    async send(updates) {
      const plan = makePlan({
        ...{ terms, runId: randomUUID(), round: firstGeneratorRound(terms), invited: ids, before: null },
        ...{ generatorSha256: '0'.repeat(64), checkpoint: EMPTY_LOG, witnessed: null, roster: rosterSeen(roster) },
      });
      const length = updates[0].length;
      const sent = ids.map((): Uint8Array[] => []);
      const secrets = new Map<string, Uint8Array | null>();
      const answered = new Map<number, Map<string, PhaseAnswer>>();
      const earlier = (phase: number) => Promise.resolve(answered.get(phase) ?? new Map<string, PhaseAnswer>());
      let [phase, downlinks, blob]: [number, ReadonlyMap<string, unknown>, Uint8Array | undefined] = [
        0,
        coordinator.open(plan),
        undefined,
      ];
      for (;;) {
        const answers = new Map<string, PhaseAnswer>();
        for (const [siteId, downlink] of downlinks) {
          const i = ids.indexOf(siteId);
          const { uplink, secret } = await halves[i].answer({
            ...{ phase, siteId, plan, downlink, blob, update: updates[i], secret: secrets.get(siteId) ?? null },
          });
          secrets.set(siteId, secret);
          if (uplink.tensor !== null) sent[i].push(uplink.tensor);
          // As the network carries it.
          const body: unknown = JSON.parse(JSON.stringify(uplink.body ?? null));
          answers.set(siteId, { body, tensor: uplink.tensor && inMemory(uplink.tensor) });
        }
        answered.set(phase, answers);
        const result = await coordinator.close({ plan, phase, length, integers: false, answers, earlier });
        if ('sum' in result) return { sent: sent.map((parts) => Buffer.concat(parts)), sum: result.sum };
        if (!('next' in result) || result.next === null) throw new FedError('INTERNAL', 'a round of generator steps');
        ({ phase, downlinks } = result.next);
        blob = result.next.blob;
      }
    },
    async dispose() {
      await Promise.all([coordinator.dispose?.(), ...halves.map((half) => half.dispose?.())]);
    },
  };
}

const inMemory = (bytes: Uint8Array): SpooledTensor => ({
  bytes: bytes.length,
  async *chunks() {
    yield bytes;
  },
});
