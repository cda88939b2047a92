/** People who sign a release: a key each, one statement over one candidate, and where statements are kept. */
import { existsSync } from 'node:fs';
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
import { type CoordinatorFolder, keysPath, storePath } from '../coordinator-folder.ts';

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
      if (run === null || gate === undefined || !gate.judged)
        throw new FedError('PARAMETER_INVALID', 'the release gate has not judged this run yet');
      const sha256 = candidateSha256(gate.candidate);
      const fits = body.runId === runId && body.policySha256 === policySha256(policy);
      if (!fits || body.candidateSha256 !== sha256)
        throw new FedError('PARAMETER_INVALID', `this signs another candidate than the run’s, ${sha256}`);
      const { name } = body;
      if (gate.signOffs.some((s) => s.name === name)) return;
      await tx.putRun({ ...run, gate: { ...gate, signOffs: [...gate.signOffs, { name, key: key.x, statement }] } });
      const entry = { candidateSha256: sha256, name, statement };
      await tx.appendLog(runId, { kind: 'release-signed-off', body: entry }, systemClock.now());
      await publishCheckpoint(tx, runId, await tx.logHead(runId), loadOrCreateSigningKeys(keysPath(dir)));
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
