/** People who sign a release: a key each, one statement over one candidate, and where statements are kept. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { publishCheckpoint } from '../../coordinator/witnesses.ts';
import { bodyOf } from '../../shared/audit/jws-body.ts';
import { systemClock } from '../../shared/clock.ts';
import { FedError } from '../../shared/errors.ts';
import { SIGN_OFF_TYP, SignOffStatement } from '../../shared/gate/answers.ts';
import { candidateSha256 } from '../../shared/gate/candidate.ts';
import type { PublicSigningKey } from '../../shared/identity/jwk.ts';
import { loadOrCreateSigningKeys, type SigningKeys } from '../../shared/identity/keys.ts';
import { CONSORTIUM, signJson, verifyJson } from '../../shared/identity/signed.ts';
import { type CheckedPolicy, policySha256 } from '../../shared/policy/load.ts';
import type { Problem } from '../../shared/audit/verify/findings.ts';
import type { KeysFile } from '../../shared/audit/verify/folder-format.ts';
import { AuditFolder } from '../audit/read-folder.ts';
import { verifyFolder } from '../audit/verify-folder.ts';
import { type CoordinatorFolder, existingSigningKeys, openCoordinator, storePath } from '../coordinator-folder.ts';
import { judgedRelease } from './judged.ts';

/** A fresh key file, mode 0600. @returns what the policy names: the public key. @throws {FedError} PARAMETER_INVALID */
export function createPersonKey(path: string): { key: string; kid: string } {
  if (existsSync(path)) throw new FedError('PARAMETER_INVALID', `${path} is there already; a key is not replaced`);
  const { signing, kid } = loadOrCreateSigningKeys(path);
  return { key: signing.x, kid };
}

/** @throws {FedError} PARAMETER_INVALID when there is no such file, KEYS_EXPOSED */
export function readPersonKey(path: string): SigningKeys {
  if (!existsSync(path))
    throw new FedError('PARAMETER_INVALID', `${path} is not there: veilgan sign-off keygen makes one`);
  return loadOrCreateSigningKeys(path);
}

/** What a person may sign, and where a signature can go. */
export interface Signable {
  readonly policy: CheckedPolicy;
  readonly runId: string;
  readonly candidateSha256: string;
  /** Null: it was read from an audit folder, and the statement has to be carried to the coordinator. */
  readonly coordinator: CoordinatorFolder | null;
}

/**
 * The candidate that was judged: in the coordinator's folder, or in an audit folder of the run, which is verified first.
 * @param keys - the consortium's, for an audit folder. Null: the folder's own.
 * @throws {FedError} PARAMETER_INVALID before the verdict; LOG_INVALID for an audit folder that does not verify.
 */
export async function signableIn(dir: string, keys: KeysFile | null): Promise<Signable> {
  if (existsSync(join(dir, 'coordinator.json'))) {
    const coordinator = openCoordinator(dir);
    const { judged, candidate } = await judgedRelease(coordinator);
    if (!judged || candidate === null) throw new FedError('PARAMETER_INVALID', UNJUDGED);
    const { policy, file } = coordinator;
    return { policy, runId: file.runId, candidateSha256: candidate.sha256, coordinator };
  }
  const report = await verifyFolder(dir, { keys });
  const { gate, runId, problems } = report;
  if (problems.length > 0)
    throw new FedError('LOG_INVALID', `${dir} does not verify: ${of(problems[0])}; veilgan audit verify says more`);
  if (gate?.verdict == null || runId === null) throw new FedError('PARAMETER_INVALID', UNJUDGED);
  const policy = report.policy.sha256 === null ? null : new AuditFolder(dir).policy(report.policy.sha256);
  if (policy === null)
    throw new FedError('PARAMETER_INVALID', `the policy is not in ${dir}, or this version cannot read it`);
  return { policy, runId, candidateSha256: gate.candidateSha256, coordinator: null };
}
const of = ({ entry, detail }: Problem): string => (entry === null ? detail : `entry ${entry}: ${detail}`);
const UNJUDGED = 'the release gate has not judged this run yet';

/**
 * One person's word for one candidate.
 * @throws {FedError} PARAMETER_INVALID when the policy does not let this name sign with this key.
 */
export async function signCandidate(
  policy: CheckedPolicy,
  keys: SigningKeys,
  of: { runId: string; candidateSha256: string; name: string },
): Promise<string> {
  const key = keyOf(policy, of.name);
  if (key.x !== keys.signing.x)
    throw new FedError('PARAMETER_INVALID', `the policy gives ${of.name} another key than this file holds`);
  const body: SignOffStatement = { ...of, policySha256: policySha256(policy) };
  return signJson(keys, body, { typ: SIGN_OFF_TYP, audience: CONSORTIUM, nowMs: systemClock.now() });
}

/**
 * Puts a statement into the run's log, once: the same person again changes nothing.
 * @throws {FedError} SIGNATURE_INVALID; PARAMETER_INVALID when it is about another candidate, or there is none yet.
 */
export async function addSignOff({ dir, file, policy }: CoordinatorFolder, statement: string): Promise<string> {
  const { data: claimed } = SignOffStatement.safeParse(bodyOf(statement));
  if (claimed === undefined) throw new FedError('SIGNATURE_INVALID', 'this is no signature under a release');
  const key = keyOf(policy, claimed.name);
  const o = { typ: SIGN_OFF_TYP, audience: CONSORTIUM, schema: SignOffStatement };
  const { body } = await verifyJson(statement, key, o);
  const { runId } = file;
  const store = new SqliteStore(storePath(dir));
  try {
    await store.transaction(async (tx) => {
      const run = await tx.run(runId);
      const gate = run?.gate;
      if (run === null || gate === undefined || !gate.judged) throw new FedError('PARAMETER_INVALID', UNJUDGED);
      const sha256 = candidateSha256(gate.candidate);
      const fits = body.runId === runId && body.policySha256 === policySha256(policy);
      if (!fits || body.candidateSha256 !== sha256)
        throw new FedError('PARAMETER_INVALID', `this signs another candidate than the run’s, ${sha256}`);
      const { name } = body;
      if (gate.signOffs.some((s) => s.name === name)) return;
      await tx.putRun({ ...run, gate: { ...gate, signOffs: [...gate.signOffs, { name, key: key.x, statement }] } });
      const entry = { candidateSha256: sha256, name, statement };
      await tx.appendLog(runId, { kind: 'release-signed-off', body: entry }, systemClock.now());
      await publishCheckpoint(tx, runId, await tx.logHead(runId), existingSigningKeys(dir));
    });
  } finally {
    await store.close();
  }
  return body.name;
}

function keyOf({ release }: CheckedPolicy, name: string): PublicSigningKey {
  const person = release.gate?.signOff.people.find((p) => p.name === name);
  if (person === undefined)
    throw new FedError('PARAMETER_INVALID', `the policy names no ${name} who may sign a release`);
  return { kty: 'OKP', crv: 'Ed25519', x: person.key };
}
