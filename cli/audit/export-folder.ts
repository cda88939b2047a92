/** Everything an auditor needs of one run, in one folder: see docs/audit.md. */
import { mkdir, open, readdir, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { keptSums } from '../../coordinator/kept-sums.ts';
import { checkpointReply, cosignedNote, publishCheckpoint } from '../../coordinator/witnesses.ts';
import type { Store } from '../../coordinator/store/store.ts';
import { canonicalJson } from '../../shared/audit/canonical.ts';
import { originOf, witnessName } from '../../shared/audit/checkpoint.ts';
import { draftOf, entryLeaf } from '../../shared/audit/log.ts';
import { NOTE_COSIGNATURE, NOTE_ED25519, verifierKey } from '../../shared/audit/note.ts';
import { FILES } from '../../shared/audit/verify/folder-format.ts';
import type { About, KeysFile } from '../../shared/audit/verify/folder-format.ts';
import { FedError } from '../../shared/errors.ts';
import { type PublicSigningKey, publicPart, thumbprint } from '../../shared/identity/jwk.ts';
import type { SigningKeys } from '../../shared/identity/keys.ts';
import type { BlobStore } from '../../shared/protocol/blob-store.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { policySha256 } from '../../shared/policy/load.ts';
import { SOFTWARE } from '../../shared/software.ts';
import { stateBytes } from '../../shared/gan/state-bytes.ts';

export interface AuditExport {
  readonly out: string;
  readonly runId: string;
  readonly store: Store;
  readonly keys: SigningKeys;
  readonly policy: CheckedPolicy;
  readonly policyText: string;
  /** The roster as it was last signed; null where there is none yet. */
  readonly roster: string | null;
  /** Where sums were kept; null exports none. */
  readonly blobs: BlobStore | null;
  /** Manifests of releases, by their SHA-256. */
  readonly manifests: ReadonlyMap<string, string>;
}

export interface ExportedAudit {
  readonly entries: number;
  readonly checkpoints: number;
  readonly sums: number;
  readonly coordinatorKid: string;
}

/** Entries of one transaction: a coordinator that runs beside is not held up for longer. */
const PAGE = 1000;

/**
 * Writes the folder. The coordinator signs a checkpoint of the log as it is now, so that no entry is under none; the
 * sites may cosign it when they next ask.
 * @throws {FedError} PARAMETER_INVALID when the folder is not empty.
 */
export async function exportAudit(o: AuditExport): Promise<ExportedAudit> {
  const { out, runId, store } = o;
  if (existsSync(out) && (await readdir(out)).length > 0)
    throw new FedError('PARAMETER_INVALID', `${out} is not empty; an audit is exported into a folder of its own`);
  await mkdir(join(out, FILES.policies), { recursive: true });
  const write = (name: string, body: string | Uint8Array) => writeFile(join(out, name), body);
  const head = await store.transaction(async (tx) => {
    const now = await tx.logHead(runId);
    if (now.size > 0) await publishCheckpoint(tx, runId, now, o.keys);
    return now;
  });
  if (head.size === 0) throw new FedError('PARAMETER_INVALID', `run ${runId} has no log yet`);

  const sites = await writeLog(o, head.size);
  const checkpoints = await store.transaction(async (tx) => {
    const all = (await tx.checkpoints(runId, 0)).filter((c) => c.size <= head.size);
    const proofs = [];
    for (const [i, { size: to }] of all.entries()) {
      const from = i === 0 ? 0 : all[i - 1].size;
      proofs.push({ from, to, proof: (await checkpointReply(tx, { runId, size: to, from })).proof });
    }
    return { notes: all.map((c) => ({ size: c.size, note: cosignedNote(c) })), proofs };
  });
  await write(FILES.checkpoints, jsonLines(checkpoints.notes));
  await write(FILES.proofs, jsonLines(checkpoints.proofs));
  await write(FILES.checkpoint, checkpoints.notes.at(-1)?.note ?? '');
  await write(FILES.keys, `${JSON.stringify(keysFile(runId, publicPart(o.keys.signing), sites), null, 2)}\n`);
  await write(join(FILES.policies, `${policySha256(o.policy)}.json`), o.policyText);
  if (o.roster !== null) await write(FILES.roster, `${o.roster}\n`);
  if (o.manifests.size > 0) await mkdir(join(out, FILES.releases), { recursive: true });
  for (const [sha256, text] of o.manifests) await write(join(FILES.releases, `${sha256}.json`), text);
  const sums = o.blobs === null ? 0 : await writeSums(o, o.blobs, write);
  const about: About = { format: 'veilgan-audit/1', runId, entries: head.size, software: SOFTWARE };
  await write(FILES.about, `${JSON.stringify(about, null, 2)}\n`);
  return { entries: head.size, checkpoints: checkpoints.notes.length, sums, coordinatorKid: o.keys.kid };
}

/** Log and leaf hashes, page by page. @returns the keys that the log enrols. */
async function writeLog({ out, runId, store }: AuditExport, size: number): Promise<Map<string, PublicSigningKey>> {
  const sites = new Map<string, PublicSigningKey>();
  await using log = await open(join(out, FILES.log), 'w');
  await using leaves = await open(join(out, FILES.leaves), 'w');
  for (let from = 0; from < size; from += PAGE) {
    const entries = await store.transaction((tx) => tx.log(runId, from, Math.min(PAGE, size - from)));
    for (const entry of entries) {
      const { kind, body } = draftOf(entry);
      if (kind === 'site-enrolled' || kind === 'site-keys-changed') sites.set(body.siteId, body.signing);
    }
    await log.write(entries.map((entry) => `${canonicalJson(entry)}\n`).join(''));
    await leaves.write(Buffer.concat(entries.map(entryLeaf)));
  }
  return sites;
}

function keysFile(
  runId: string,
  coordinator: PublicSigningKey,
  sites: ReadonlyMap<string, PublicSigningKey>,
): KeysFile {
  return {
    coordinator: {
      kid: thumbprint(coordinator),
      key: coordinator,
      /** As C2SP's tools take them. */
      verifier: verifierKey(originOf(runId), NOTE_ED25519, coordinator),
    },
    sites: [...sites]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([siteId, key]) => ({
        siteId,
        kid: thumbprint(key),
        key,
        witness: verifierKey(witnessName(siteId), NOTE_COSIGNATURE, key),
      })),
  };
}

async function writeSums(
  { out, runId }: AuditExport,
  blobs: BlobStore,
  write: (name: string, body: Uint8Array) => Promise<void>,
): Promise<number> {
  const kept = await keptSums(blobs, runId);
  if (kept === null) return 0;
  await mkdir(join(out, FILES.sums), { recursive: true });
  // Weights, average and Adam's moments; what follows in a state is public too, and not needed.
  const { round, bytes } = kept.anchor;
  const d = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(12, true);
  await write(join(FILES.sums, `anchor-${round}.bin`), bytes.subarray(0, stateBytes(4, d)));
  for (const each of kept.rounds) await write(join(FILES.sums, `${each}.f64`), await kept.sum(each));
  return kept.rounds.length;
}

const jsonLines = (values: readonly unknown[]): string => values.map((value) => `${canonicalJson(value)}\n`).join('');
