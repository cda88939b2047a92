/** `audit verify`: the log's own audit, and what lies beside it in the folder. */
import { openCheckpointOfAny } from '../../shared/audit/checkpoint.ts';
import { hashOfBase64, hashOfHex } from '../../shared/audit/log.ts';
import { verifyConsistency } from '../../shared/audit/merkle.ts';
import {
  type CoordinatorKeys,
  coordinatorKeysOf,
  type KeyChangeEntry,
} from '../../shared/audit/verify/coordinator-keys.ts';
import type { Findings } from '../../shared/audit/verify/findings.ts';
import type { CheckpointLine, KeysFile } from '../../shared/audit/verify/folder-format.ts';
import { wrongInManifest } from '../../shared/audit/verify/manifest-audit.ts';
import { type AuditReport, reportOf } from '../../shared/audit/verify/report.ts';
import type { ReplayResult } from '../../shared/audit/verify/replay.ts';
import type { AuditTrust } from '../../shared/audit/verify/run-audit.ts';
import { type LogAudit, auditLog } from '../../shared/audit/verify/verify-log.ts';
import { FedError } from '../../shared/errors.ts';
import { thumbprint } from '../../shared/identity/jwk.ts';
import { verifyRoster } from '../../shared/identity/roster.ts';
import { claimedKid } from '../../shared/identity/signed.ts';
import { collectGarbage } from './collect-garbage.ts';
import { AuditFolder } from './read-folder.ts';

export interface VerifyOptions {
  /** The consortium's keys, from another source than the folder; null: the folder's own are taken, and the report says so. */
  readonly keys: KeysFile | null;
  /** A checkpoint somebody kept: the log has to contain it. */
  readonly known?: string | null;
}

/** @throws {FedError} PARAMETER_INVALID when it is no audit folder; LOG_INVALID when there are no keys to begin with. */
export async function verifyFolder(dir: string, o: VerifyOptions): Promise<AuditReport> {
  const folder = new AuditFolder(dir);
  const keys = o.keys ?? folder.keys();
  const trust: AuditTrust = { coordinator: keys.coordinator.key, sites: o.keys === null ? null : kidsOf(o.keys) };
  const wrong: string[] = [];
  const read = <T>(what: () => T[]): T[] => {
    try {
      return what();
    } catch (error) {
      if (!(error instanceof FedError)) throw error;
      wrong.push(error.message);
      return [];
    }
  };
  const coordinators = await coordinatorKeysOf(await keyChanges(folder), trust.coordinator);
  const checkpoints = read(() => folder.checkpoints());
  const proofs = read(() => folder.proofs());
  const audit = await auditLog({
    lines: folder.log(),
    leaves: folder.leaves(),
    checkpoints,
    policyOf: (sha256) => folder.policy(sha256),
    trust,
    coordinators,
    onProgress: collectGarbage,
  });
  const { findings, run } = audit;
  for (const detail of wrong) findings.problem('FOLDER', null, detail);
  const about = read(() => [folder.about()])[0];
  if (about && about.runId !== run.runId)
    findings.problem('FOLDER', null, `the folder says it is of run ${about.runId}`);
  checkProofs(checkpoints, proofs, findings);
  if (o.known != null) checkKnown(o.known, audit, checkpoints, folder);
  await checkRoster(folder.roster(), audit, coordinators);
  const manifests = checkReleases(folder, audit);
  const replay = await replayed(folder, audit);
  return reportOf(audit, { keysFrom: o.keys === null ? 'folder' : 'given', replay, manifests });
}

/** Changes of the coordinator's key, looked for before the log is read: a later one says whose the first plans are. */
async function keyChanges(folder: AuditFolder): Promise<KeyChangeEntry[]> {
  const changes: KeyChangeEntry[] = [];
  try {
    for await (const { index, body } of folder.entriesOf('coordinator-key-changed')) changes.push({ index, body });
  } catch (error) {
    // What cannot be read is said when the log is.
    if (!(error instanceof FedError)) throw error;
  }
  return changes;
}

/** Fingerprints per site, of keys that were handed over; null when none were. */
const kidsOf = (keys: KeysFile): AuditTrust['sites'] =>
  keys.sites === undefined
    ? null
    : keys.sites.reduce(
        (all, { siteId, kid }) => all.set(siteId, [...(all.get(siteId) ?? []), kid]),
        new Map<string, string[]>(),
      );

const rootOfNote = (note: string): Uint8Array => Buffer.from(note.split('\n')[2] ?? '', 'base64');

/** The folder's consistency proofs, each from one checkpoint to the next. */
function checkProofs(
  checkpoints: readonly CheckpointLine[],
  proofs: ReturnType<AuditFolder['proofs']>,
  findings: Findings,
): void {
  const roots = new Map(checkpoints.map(({ size, note }) => [size, rootOfNote(note)]));
  for (const { from, to, proof } of proofs) {
    const [fromRoot, toRoot] = [from === 0 ? hashOfHex(EMPTY) : roots.get(from), roots.get(to)];
    const holds =
      fromRoot !== undefined &&
      toRoot !== undefined &&
      verifyConsistency({ from, to, fromRoot, toRoot, proof: proof.map(hashOfBase64) });
    if (!holds)
      findings.problem('CHECKPOINT', null, `the consistency proof from ${from} entries to ${to} does not hold`);
  }
}
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** A checkpoint from elsewhere: the folder's log must have had this very root at that size. */
function checkKnown(
  note: string,
  { run, head, findings }: LogAudit,
  checkpoints: readonly CheckpointLine[],
  folder: AuditFolder,
) {
  try {
    const known = openCheckpointOfAny(note, run.runId ?? '', run.coordinators.believed).head;
    const root = rootAt(known.size, checkpoints, folder);
    if (known.size > head.size)
      findings.problem(
        'CHECKPOINT',
        head.size,
        `the log has ${head.size} entries; a checkpoint of ${known.size} is known`,
      );
    else if (root === null) findings.gap(`a checkpoint of ${known.size} entries is known, and cannot be compared`);
    else if (root !== known.root)
      findings.problem(
        'CHECKPOINT',
        null,
        `another log of ${known.size} entries is known: ${known.root}, here ${root}`,
      );
  } catch (error) {
    if (!(error instanceof FedError)) throw error;
    findings.problem('CHECKPOINT', null, `the known checkpoint: ${error.message}`);
  }
}

function rootAt(size: number, checkpoints: readonly CheckpointLine[], folder: AuditFolder): string | null {
  const own = checkpoints.find((c) => c.size === size);
  if (own !== undefined) return Buffer.from(rootOfNote(own.note)).toString('hex');
  return folder.rootAt(size);
}

/** The signed roster and the log give every site the same key. */
async function checkRoster(jws: string | null, { run, findings }: LogAudit, keys: CoordinatorKeys): Promise<void> {
  if (jws === null) return findings.gap('the signed roster is not in the folder');
  try {
    const kid = claimedKid(jws);
    const signer = keys.believed.find((key) => thumbprint(key) === kid) ?? keys.believed[0];
    const roster = await verifyRoster(jws, signer, null);
    for (const { siteId, signing, status } of roster.sites) {
      const site = run.sites.get(siteId);
      if (site === undefined) continue;
      if (!site.keys.some((k) => k.x === signing.x))
        findings.note(`${siteId} has a key in the roster that the log has not seen yet`);
      if (status === 'active' && site.revoked)
        findings.problem('ROSTER', null, `${siteId} is active in the roster and revoked in the log`);
    }
  } catch (error) {
    if (!(error instanceof FedError)) throw error;
    findings.problem('ROSTER', null, error.message);
  }
}

/** Manifests of what left, each held to its log entry and to the gate's candidate. */
function checkReleases(folder: AuditFolder, { run, findings }: LogAudit): Set<string> {
  const checked = new Set<string>();
  for (const entry of run.releases) {
    const { index } = entry;
    let manifest;
    try {
      manifest = folder.manifest(entry.manifestSha256);
    } catch (error) {
      if (!(error instanceof FedError)) throw error;
      findings.problem('RELEASE', index, error.message);
      continue;
    }
    if (manifest === null) {
      findings.gap(`the manifest of the release in entry ${index} is not in the folder`);
      continue;
    }
    const wrong = wrongInManifest(manifest, entry, run);
    if (wrong === null) checked.add(entry.manifestSha256);
    else findings.problem('RELEASE', index, wrong);
  }
  return checked;
}

/** Generator steps again, where there are sums. The engine's optimiser is loaded only then. */
async function replayed(folder: AuditFolder, { run, findings }: LogAudit): Promise<ReplayResult> {
  const anchor = folder.anchor();
  const closed = run.rounds.closed;
  if (run.policy === null) return { replayed: 0, chained: closed, why: 'the policy cannot be read' };
  if (anchor === null) return { replayed: 0, chained: closed, why: 'no sums were exported' };
  const { replaySteps } = await import('../../shared/audit/verify/replay.ts');
  const sumOf = (round: number) => folder.sum(round);
  return replaySteps({ policy: run.policy, attempts: run.rounds.attempts, anchor, sumOf, findings });
}
