/** What the policy's gate says of the generator that would leave, in the form that a manifest keeps. */
import { FedError } from '../../shared/errors.ts';
import type { SignedManifest } from '../../shared/release/manifest.ts';
import type { StoredRun } from '../coordinator-status.ts';
import { judgedGenerator, requireReleasable } from './judged.ts';
import type { ReleaseSource } from './source.ts';

export interface Passed {
  /** Null: the policy has no gate. */
  readonly record: SignedManifest['gate'];
  /** What was judged: weights with the fixed statistics behind them. Null where nothing was. */
  readonly judged: Float32Array | null;
}

/**
 * Guarantee: where the policy has a gate, what comes back is the very generator that it let leave.
 * @throws {FedError} RELEASE_REFUSED in the verdict's words; STORE_CORRUPT.
 */
export async function passGate(source: ReleaseSource, run: StoredRun): Promise<Passed> {
  if (source.policy.release.gate === null) return { record: null, judged: null };
  if (source.coordinator === null)
    throw new FedError(
      'RELEASE_REFUSED',
      'the policy has a release gate, which a simulation cannot pass: its sites are one process, and nobody answers for them',
    );
  const verdict = await requireReleasable(source.coordinator);
  const candidate = verdict?.candidate ?? null;
  if (verdict === null || candidate === null || run.gate === null)
    throw new FedError('RELEASE_REFUSED', 'the sites were not asked about any images');
  if (candidate.generatorSha256 !== run.generator.weights.sha256)
    throw new FedError('RELEASE_REFUSED', 'another generator was judged than the one that the run has now');
  const { sha256: candidateSha256 } = candidate;
  const findings = verdict.findings.map((finding) => ({ ...finding }));
  const record = { passed: true as const, candidateSha256, findings, signOffs: run.gate.signOffs };
  return { record, judged: await judgedGenerator(source.coordinator, candidate) };
}
