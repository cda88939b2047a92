/** The manifest of a release, held to the log's entry about it and to what the release gate of that log has judged. */
import type { ReleaseManifest } from '../../release/manifest.ts';
import { hashJson } from '../canonical.ts';
import type { Released, RunAudit } from './run-audit.ts';

/** What is wrong with it; null where nothing is. Manifests of the first version say nothing of a gate. */
export function wrongInManifest(manifest: ReleaseManifest, entry: Released, run: RunAudit): string | null {
  const fits =
    hashJson(manifest) === entry.manifestSha256 &&
    manifest.runId === run.runId &&
    manifest.policySha256 === run.policySha256 &&
    manifest.generatorSha256 === entry.generatorSha256 &&
    manifest.images === entry.images;
  if (!fits) return 'the manifest is not the one in the log';
  if (manifest.format === 'veilgan-release/1' || run.policy === null) return null;
  if (run.policy.release.gate === null)
    return manifest.gate === null ? null : 'the manifest has the verdict of a gate that the policy does not have';
  if (manifest.gate === null) return 'the policy has a release gate, and the manifest no verdict';
  return manifest.gate.candidateSha256 === run.gate.candidateSha256
    ? null
    : `the manifest is about candidate ${manifest.gate.candidateSha256}; the gate has judged ${run.gate.candidateSha256}`;
}
