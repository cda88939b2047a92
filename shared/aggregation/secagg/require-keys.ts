import { FedError } from '../../errors.ts';
import type { Roster } from '../../identity/roster.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import type { Group } from './group.ts';
import { verifyKeys } from './messages.ts';
import type { KeysBody } from './messages.ts';
import { stepsOf } from './phases.ts';

/** What a key must be before anything is sealed to it. @throws {FedError} SIGNATURE_INVALID, KEY_UNKNOWN, MESSAGE_INVALID */
export async function requireKeys(
  group: Group,
  roster: Roster,
  siteId: string,
  plan: RoundPlan,
  body: KeysBody,
): Promise<void> {
  if (!group.sites.includes(siteId)) throw new FedError('KEY_UNKNOWN', `site=${siteId} is not invited`);
  if (body.masking.length !== stepsOf(plan))
    throw new FedError('MESSAGE_INVALID', `site=${siteId}: keys of other steps`);
  if (!drawsAreValid(group, siteId, body.neighbours))
    throw new FedError('MESSAGE_INVALID', `site=${siteId}: not the neighbours this round asks for`);
  await verifyKeys(roster, siteId, plan, group.context, body);
}

function drawsAreValid({ graph, sites }: Group, siteId: string, drawn: readonly number[] | null): boolean {
  if (graph === null || drawn === null) return graph === null && drawn === null;
  return (
    drawn.length === graph.degree &&
    drawn.every((index, i) => index < sites.length && sites[index] !== siteId && (i === 0 || drawn[i - 1] < index))
  );
}
