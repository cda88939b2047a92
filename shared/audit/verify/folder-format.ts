/** What an exported audit folder holds, by name. docs/audit.md describes every file. */
import { z } from 'zod';
import { PublicSigningKey, thumbprint } from '../../identity/jwk.ts';
import { SiteId } from '../../protocol/plan.ts';

export const FILES = {
  about: 'audit.json',
  log: 'log.jsonl',
  leaves: 'leaves.bin',
  checkpoints: 'checkpoints.jsonl',
  proofs: 'proofs.jsonl',
  /** The last checkpoint alone, as other tools read it. */
  checkpoint: 'checkpoint',
  keys: 'keys.json',
  roster: 'roster.jws',
  policies: 'policies',
  releases: 'releases',
  sums: 'sums',
} as const;

export const About = z.looseObject({
  format: z.literal('veilgan-audit/1'),
  runId: z.uuid(),
  entries: z.int().min(0),
  software: z.string(),
});
export type About = z.infer<typeof About>;

export const CheckpointLine = z.strictObject({ size: z.int().min(0), note: z.string() });
export type CheckpointLine = z.infer<typeof CheckpointLine>;
export const ProofLine = z.strictObject({
  from: z.int().min(0),
  to: z.int().min(0),
  proof: z.array(z.base64().length(44)),
});
export type ProofLine = z.infer<typeof ProofLine>;

/** Public keys of a consortium, as they are handed over: `kid` is the RFC 7638 thumbprint that people compare. */
export const KeysFile = z.looseObject({
  coordinator: z.looseObject({ kid: z.string(), key: PublicSigningKey }),
  sites: z
    .array(z.looseObject({ siteId: SiteId, kid: z.string(), key: PublicSigningKey }))
    .optional()
    .describe('Absent: the keys that the log enrols are believed.'),
});
export type KeysFile = z.infer<typeof KeysFile>;

/** Why a keys file cannot be used; null when it can. */
export function wrongInKeys({ coordinator, sites = [] }: KeysFile): string | null {
  const wrong = [coordinator, ...sites].find(({ kid, key }) => kid !== thumbprint(key));
  return wrong === undefined ? null : `kid ${wrong.kid} is not the thumbprint of its key, ${thumbprint(wrong.key)}`;
}
