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
  const { findings } = m.gate;
  const problems = findings.filter((f) => !f.holds).map((f) => `the bound "${f.bound}" does not hold: ${f.say}`);
  problems.push(...crookedFindings(findings, policy));
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

type Finding = NonNullable<SignedManifest['gate']>['findings'][number];

/** Every bound of the policy's is there, with the policy's limit, and its own numbers bear it out. */
function crookedFindings(findings: readonly Finding[], { privacy, release }: CheckedPolicy): string[] {
  const gate = release.gate!;
  const epsilon = privacy.mechanism === 'dp-sgd' ? privacy.epsilon : null;
  const most = { log: 0, epsilon, memorisation: 0, membership: 0, diversity: gate.diversity.similarityAtMost };
  const least = { sites: gate.minSites, 'sign-off': gate.signOff.needed };
  return Object.entries({ ...most, ...least }).flatMap(([bound, limit]) => {
    const [own, ...more] = findings.filter((f) => f.bound === bound);
    if (own === undefined || more.length > 0) return [`the verdict says of "${bound}" nothing, or twice`];
    if (own.limit !== limit) return [`the verdict holds "${bound}" to ${own.limit}; the policy has ${limit}`];
    const { measured, holds } = own;
    // As the gate itself allows for rounding in the last digits of epsilon.
    const within =
      measured !== null && limit !== null && (bound in least ? measured >= limit : measured <= limit * (1 + 1e-9));
    return holds && !within ? [`the verdict lets "${bound}" hold with ${measured}, where the policy has ${limit}`] : [];
  });
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
