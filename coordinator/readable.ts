import type { Readable } from '../shared/protocol/tensor-receiver.ts';
import { discriminatorBlob } from './discriminators.ts';
import { candidateBlob, generatorBlob } from './generators.ts';
import { phaseBlob } from './phase-blobs.ts';
import { rosterBlob } from './roster-blob.ts';
import type { RoundParts } from './round.ts';

/**
 * What a site may download: the weights of the generator and of the pooled discriminator of now, the critic of the next
 * moment round and the roster of the latest plan are for every site; what the open phase shows for its participants; the
 * release gate's candidate for those it asks; and nothing else. Null: not here, or not for this site.
 */
export async function readableBy(
  { runId, store }: Pick<RoundParts, 'runId' | 'store'>,
  siteId: string,
  sha256: string,
): Promise<Readable | null> {
  const { now, latest, discriminator, gate } = await store.transaction(async (tx) => {
    const run = await tx.run(runId);
    return {
      now: run === null ? null : await tx.generator(runId, run.round),
      latest: await tx.latestRound(runId),
      discriminator: run?.discriminator,
      gate: run?.gate,
    };
  });
  if (latest?.plan.roster.sha256 === sha256) return rosterBlob(sha256);
  if (discriminator?.weights.sha256 === sha256)
    return { name: discriminatorBlob(runId, discriminator.total), bytes: discriminator.weights.bytes };
  // What a phase shows is for those who take part in it.
  if (latest?.status === 'collecting' && latest.blob?.sha256 === sha256 && latest.participants.includes(siteId))
    return phaseBlob(sha256);
  if (gate?.candidate.releasedSha256 === sha256 && gate.asked.includes(siteId)) return candidateBlob(runId);
  if (now?.critic?.sha256 === sha256) return generatorBlob(runId, now.round, 'critic');
  return now?.weights.sha256 === sha256 ? generatorBlob(runId, now.round, 'weights') : null;
}
