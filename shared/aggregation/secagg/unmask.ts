/** Taking the masks off a sum: those of the sites in it, and those that sites which vanished have left in it. */
import { createHash } from 'node:crypto';
import { FedError } from '../../errors.ts';
import { turn } from '../../turn.ts';
import { addPacked } from '../bit-pack.ts';
import type { PhaseAnswer } from '../aggregation.ts';
import { holdersOf, neighboursOf } from './group.ts';
import type { Group } from './group.ts';
import { addMasks } from './mask.ts';
import type { Mask } from './mask.ts';
import { bytesOf } from './messages.ts';
import type { KeysBody, RevealBody, SharesBody } from './messages.ts';
import { pairSeed } from './seeds.ts';
import { combine } from './shamir.ts';
import type { Share } from './shamir.ts';
import { agree, publicOf } from './x25519.ts';

export interface Masked {
  readonly group: Group;
  readonly step: number;
  readonly length: number;
  readonly width: number;
  /** Who masked with whom in this step. */
  readonly sites: readonly string[];
  readonly keys: ReadonlyMap<string, KeysBody>;
  readonly shares: ReadonlyMap<string, SharesBody>;
  /** Masked updates that are in. */
  readonly uploads: ReadonlyMap<string, PhaseAnswer>;
  readonly reveals: ReadonlyMap<string, RevealBody>;
  /** What `maskedSum` made of the uploads, where it was called before; changed here. */
  readonly summed: Uint32Array | null;
}

/**
 * The sum of the uploads as they came, modulo 2^32: [length]. It hides what is in it like each of them.
 * @throws {FedError} STORE_CORRUPT, UPDATE_SHAPE
 */
export async function maskedSum({ uploads, length, width }: Pick<Masked, 'uploads' | 'length' | 'width'>) {
  const sum = new Uint32Array(length);
  for (const siteId of [...uploads.keys()].sort()) {
    const tensor = uploads.get(siteId)?.tensor;
    if (!tensor) throw new FedError('STORE_CORRUPT', `site=${siteId}: no upload`);
    await addPacked(sum, tensor, width);
  }
  return sum;
}

/**
 * The sum of the uploads without masks, modulo 2^width. Memory is one vector of words and a block, whatever the number of
 * sites: uploads are read and masks expanded one after the other, and other requests are answered in between.
 * @throws {FedError} ROUND_VOID when too few shares are there; SHARE_INVALID when they do not fit together.
 */
export async function unmaskedSum(m: Masked): Promise<Uint32Array> {
  const sum = m.summed ?? (await maskedSum(m));
  const left: Mask[] = [...m.uploads.keys()].map((siteId) => ({ seed: seedOf(m, siteId), sign: -1 }));
  left.push(...masksOfGone(m));
  // A few at a time: other requests are answered in between.
  for (let start = 0; start < left.length; start += AT_ONCE) {
    addMasks(sum, left.slice(start, start + AT_ONCE));
    await turn();
  }
  const mask = m.width === 32 ? 0xffffffff : 2 ** m.width - 1;
  for (let i = 0; i < sum.length; i++) sum[i] &= mask;
  return sum;
}

const AT_ONCE = 8;

/** What sites in the sum had added, or taken off, for those that are not in it. */
function masksOfGone(m: Masked): Mask[] {
  const neighbours = neighboursOf(m.group, new Map(m.sites.map((id) => [id, m.keys.get(id)?.neighbours ?? null])));
  return m.sites.flatMap((gone) => {
    const left = m.uploads.has(gone) ? [] : [...(neighbours.get(gone) ?? [])].filter((id) => m.uploads.has(id));
    if (left.length === 0) return [];
    const secret = maskingKeyOf(m, gone);
    return left.map((siteId): Mask => {
      const [a, b] = [siteId, gone].map((id) => ({ siteId: id, key: m.keys.get(id)!.masking[m.step] }));
      const seed = pairSeed(agree(secret, a.key), m.group.context, m.step, a, b);
      return { seed, sign: siteId < gone ? -1 : 1 };
    });
  });
}

function seedOf(m: Masked, siteId: string): Uint8Array {
  const committed = m.shares.get(siteId)?.commitments[m.step];
  const hash = (seed: Uint8Array) => createHash('sha256').update(seed).digest('hex');
  return recover(m, siteId, 'seeds', (seed) => hash(seed) === committed);
}

function maskingKeyOf(m: Masked, siteId: string): Uint8Array {
  const advertised = m.keys.get(siteId)?.masking[m.step];
  return recover(m, siteId, 'keys', (secret) => publicOf(secret) === advertised);
}

/**
 * A site's secret from the shares revealed of it. With more shares than the threshold, runs of them are tried until the
 * result is what the site committed itself to: so one holder that reveals nonsense stops nothing.
 */
function recover(m: Masked, siteId: string, kind: keyof RevealBody, fits: (secret: Uint8Array) => boolean): Uint8Array {
  const { threshold } = m.group;
  const holders = holdersOf(m.group, m.keys.get(siteId)?.neighbours ?? null);
  const shares: Share[] = holders.flatMap((holder, i) => {
    const text = m.reveals.get(holder)?.[kind][siteId];
    return text === undefined ? [] : [{ x: i + 1, bytes: bytesOf(text) }];
  });
  if (shares.length < threshold)
    throw new FedError('ROUND_VOID', `${shares.length} of ${threshold} shares of ${kind} of ${siteId}`);
  const starts = shares.length === threshold ? 1 : shares.length;
  for (let start = 0; start < starts; start++) {
    const chosen = Array.from({ length: threshold }, (_, i) => shares[(start + i) % shares.length]);
    const secret = combine(chosen);
    if (fits(secret)) return secret;
  }
  throw new FedError('SHARE_INVALID', `the shares of ${kind} of ${siteId} do not fit together`);
}
