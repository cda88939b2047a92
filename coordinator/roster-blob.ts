import { rosterSeen, rosterText } from '../shared/identity/roster.ts';
import type { Roster, RosterSeen } from '../shared/identity/roster.ts';
import type { BlobStore } from '../shared/protocol/blob-store.ts';

/** A blob's name: the roster under this hash. */
export const rosterBlob = (sha256: string): string => `roster.${sha256}`;

/**
 * Puts a roster where sites can fetch it by its hash. Called while no attempt is open, so an older one is wanted by nobody.
 */
export async function publishRoster(blobs: BlobStore, roster: Roster): Promise<RosterSeen> {
  const seen = rosterSeen(roster);
  const name = rosterBlob(seen.sha256);
  if ((await blobs.size(name)) === null) await blobs.put(name, Buffer.from(rosterText(roster)));
  for (const old of await blobs.list(rosterBlob(''))) if (old.name !== name) await blobs.delete(old.name);
  return seen;
}
