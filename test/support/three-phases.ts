/**
 * A scheme of three phases that masks nothing: hello, update, consent. It has the shape of a masking scheme and none of
 * its secrecy, to test how rounds carry phases.
 */
import type { CoordinatorScheme, SiteScheme } from '../../shared/aggregation/aggregation.ts';
import { clearCoordinator, packUpdate } from '../../shared/aggregation/clear.ts';
import { inOrder } from '../../shared/aggregation/phase-order.ts';
import { FedError } from '../../shared/errors.ts';

export const threePhasesSite: SiteScheme = {
  scheme: 'clear',
  phasesBefore: inOrder,
  updateStep: () => null,
  async answer({ phase, siteId, downlink, secret, update }) {
    if (phase === 0) return { uplink: { body: { hello: siteId }, tensor: null }, secret: Uint8Array.of(1) };
    // What a site kept from the phase before comes back to it, through any restart.
    if (secret === null || secret[0] !== phase) throw new FedError('STORE_CORRUPT', 'the secret is gone');
    const tensor = phase === 1 && update !== null ? packUpdate(update) : null;
    return { uplink: { body: { saw: downlink as string[] }, tensor }, secret: Uint8Array.of(phase + 1) };
  },
};

/** @param fails - called before a sum is given: may throw, as a scheme does whose shares are too few. */
export const threePhasesCoordinator = (fails: (attempt: number) => void = () => undefined): CoordinatorScheme => ({
  scheme: 'clear',
  phasesBefore: inOrder,
  open: (plan) => new Map(plan.invited.map((siteId) => [siteId, 'hello?'])),
  async check(p) {
    if (p.phase === 1) await clearCoordinator.check({ ...p, body: null });
    else if (p.tensor !== null) throw new FedError('MESSAGE_INVALID', 'a tensor where none belongs');
  },
  async close(p) {
    const sites = [...p.answers.keys()].sort();
    if (p.phase < 2) return { next: { phase: p.phase + 1, downlinks: new Map(sites.map((s) => [s, sites])) } };
    fails(p.plan.attempt);
    // Whoever sent an update counts, even if it was gone when consent was asked for.
    return clearCoordinator.close({ ...p, phase: 0, answers: await p.earlier(1) });
  },
});
