/** Whether the verdict in a manifest can be that of the policy's gate: its bounds, and who signed. */
import { FedError } from '../../shared/errors.ts';
import { SIGN_OFF_TYP, SignOffStatement } from '../../shared/gate/answers.ts';
import { CONSORTIUM, verifyJson } from '../../shared/identity/signed.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import type { SignedManifest } from '../../shared/release/manifest.ts';

/** What is wrong; empty where nothing is. The answers of the sites are in the log, for `audit verify`. */
export async function gateProblems(m: SignedManifest, policy: CheckedPolicy): Promise<string[]> {
  const { gate } = policy.release;
  if (gate === null)
    return m.gate === null ? [] : ['the manifest has the verdict of a gate that the policy does not have'];
  if (m.gate === null) return ['the policy has a release gate, and the manifest no verdict'];
  const problems = m.gate.findings.filter((f) => !f.holds).map((f) => `the bound "${f.bound}" does not hold: ${f.say}`);
  const signed = new Set<string>();
  for (const { name, key, statement } of m.gate.signOffs) {
    if (!gate.signOff.people.some((p) => p.name === name && p.key === key))
      problems.push(`${name} is not one of the people whom the policy names, or signed with another key`);
    else if (await signedThis(statement, key, name, m)) signed.add(name);
    else problems.push(`the signature of ${name} is not for this candidate`);
  }
  const { needed } = gate.signOff;
  if (signed.size < needed) problems.push(`${signed.size} of the ${needed} people needed have signed`);
  return problems;
}

async function signedThis(statement: string, key: string, name: string, m: SignedManifest): Promise<boolean> {
  try {
    const o = { typ: SIGN_OFF_TYP, audience: CONSORTIUM, schema: SignOffStatement };
    const { body } = await verifyJson(statement, { kty: 'OKP', crv: 'Ed25519', x: key }, o);
    const same = body.runId === m.runId && body.policySha256 === m.policySha256 && body.name === name;
    return same && body.candidateSha256 === m.gate?.candidateSha256;
  } catch (error) {
    if (error instanceof FedError) return false;
    throw error;
  }
}
