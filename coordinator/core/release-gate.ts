/**
 * May these images leave? Pure: the evidence and the policy in, a verdict out. A bound without evidence does not hold,
 * and one bound that does not hold refuses the release.
 */
import { type Measured, finding, measuredFindings } from '../../shared/gate/findings.ts';
import type { GateFinding } from '../../shared/gate/outcome.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';

export interface Evidence extends Measured {
  /** What an audit of the run's own log came to. Null: it was not audited. */
  readonly log: { readonly problems: number; readonly first: string | null; readonly entries: number } | null;
  /** Names and keys under which this very candidate was signed; signatures are verified already. */
  readonly signOffs: readonly { readonly name: string; readonly key: string }[];
}

export interface Verdict {
  readonly passed: boolean;
  /** In the order of `BOUNDS`; all of them, those that hold too. */
  readonly findings: readonly GateFinding[];
}

export function judge(evidence: Evidence, policy: CheckedPolicy): Verdict {
  const measured = judgeMeasured(evidence, policy);
  const findings = policy.release.gate === null ? measured : [...measured, signOffFinding(evidence, policy)];
  return { passed: findings.every((f) => f.holds), findings };
}

/** Everything but the signatures: what people look at before they sign, and what the log keeps. */
export function judgeMeasured(evidence: Omit<Evidence, 'signOffs'>, policy: CheckedPolicy): GateFinding[] {
  const { privacy, release, model } = policy;
  const { gate } = release;
  if (gate === null)
    return [finding('gate', 1, 0, 'gates', false, 'The policy has no release gate: nothing has judged these images.')];
  const epsilon = privacy.mechanism === 'dp-sgd' ? privacy.epsilon : Infinity;
  return [logFinding(evidence.log), ...measuredFindings(gate, epsilon, model.classes, evidence)];
}

function logFinding(log: Evidence['log']): GateFinding {
  if (log === null) return finding('log', 0, null, 'problems', false, 'The log was not verified.');
  const { problems, first, entries } = log;
  const holds = problems === 0 && entries > 0;
  const say = holds
    ? `The log of ${entries} entries verifies.`
    : `The log has ${problems} problems${first === null ? '' : `; the first: ${first}`}.`;
  return finding('log', 0, problems, 'problems', holds, say);
}

/** A person counts once, by name and by key, and only with the key the policy gives to that name. */
function signOffFinding({ signOffs }: Evidence, { release }: CheckedPolicy): GateFinding {
  const { needed = 0, people = [] } = release.gate?.signOff ?? {};
  const signed = people.filter((p) => signOffs.some((s) => s.name === p.name && s.key === p.key)).map((p) => p.name);
  const say =
    `${signed.length} of the ${needed} people needed have signed this candidate` +
    `${signed.length > 0 ? `: ${signed.join(', ')}` : ''}.`;
  return finding('sign-off', needed, signed.length, 'signatures', signed.length >= needed, say);
}
