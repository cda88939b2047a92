/** Whole runs for the tests of log and audit: agents, a coordinator, and a clock that is turned whenever all is quiet. */
import { setImmediate as quiet } from 'node:timers/promises';
import type { Coordinator } from '../../coordinator/coordinator.ts';
import type { SiteEvent } from '../../site-agent/events.ts';
import type { SiteAgentOptions } from '../../site-agent/agent.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import type { ManualClock } from './manual-clock.ts';
import { agentOf } from './round-rig.ts';
import type { Cast } from './round-rig.ts';

/** Turns the clock while nothing moves, until `done`. */
export async function until(clock: ManualClock, done: () => boolean, most = 60_000): Promise<void> {
  for (let idle = 0; !done(); idle++) {
    await quiet();
    if (idle % 40 === 39) clock.advance(1000);
    if (idle > most) throw new Error('the play does not end');
  }
}

export interface Player {
  readonly siteId: string;
  readonly events: SiteEvent[];
  readonly running: Promise<unknown>;
  readonly stop: () => Promise<void>;
}

/** Starts a site's agent; what happens at it is kept. */
export function enter(
  cast: Cast,
  policy: CheckedPolicy,
  siteId: string,
  coordinator: Coordinator,
  o: Partial<SiteAgentOptions> = {},
): Player {
  const events: SiteEvent[] = [];
  const agent = agentOf(cast, policy, siteId, coordinator, { ...o, onEvent: (e) => events.push(e) });
  const running = agent.run();
  running.catch(() => undefined);
  return { siteId, events, running, stop: () => agent.stop() };
}

/** The codes with which a site said no. */
export const declinesOf = (p: Player): string[] => p.events.flatMap((e) => (e.kind === 'declined' ? [e.code] : []));
/** The same, outside of rounds. */
export const refusalsOf = (p: Player): string[] => p.events.flatMap((e) => (e.kind === 'refused' ? [e.code] : []));
