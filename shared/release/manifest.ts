/**
 * What a release says of itself, and how it is signed. The *recipe* is all that the images follow from: who has it and the
 * generator draws them again. The *manifest* adds what was measured and decided, and a digest a file. Its canonical JSON
 * is `release.json`; the coordinator's detached signature over its SHA-256 is `release.jws`. Not audited by anyone.
 */
import { z } from 'zod';
import { canonicalJson, hashJson, sha256Hex } from '../audit/canonical.ts';
import { FedError } from '../errors.ts';
import { Kid, PublicSigningKey, thumbprint } from '../identity/jwk.ts';
import type { SigningKeys } from '../identity/keys.ts';
import { signDetached, verifyDetached } from '../identity/signed.ts';
import { Sha256Hex, SiteId } from '../protocol/plan.ts';

export const MANIFEST_FILE = 'release.json';
export const SIGNATURE_FILE = 'release.jws';

/** A path within the folder: forward slashes, no way out of it. */
const Path = z
  .string()
  .max(512)
  .regex(/^[^/\\\0]+(\/[^/\\\0]+)*$/)
  .refine((path) => !path.split('/').some((part) => part === '.' || part === '..'), 'leaves the folder');

export const ReleasedFile = z.strictObject({ name: Path, sha256: Sha256Hex, bytes: z.int().min(0) });
export type ReleasedFile = z.infer<typeof ReleasedFile>;

/** Everything that the pixels and their marks follow from. */
export const ReleaseRecipe = z.strictObject({
  format: z.literal('veilgan-recipe/1'),
  runId: z.uuid(),
  policySha256: Sha256Hex,
  /** Of the weights, as the log has it. */
  generatorSha256: Sha256Hex,
  /** Of `generator.onnx`. */
  modelSha256: Sha256Hex,
  /** Public; latent vectors are drawn from it, a batch at a time. */
  seed: z.string().min(1).max(200),
  /** Images of one call of the model: with other neighbours an engine may round otherwise. */
  batch: z.int().min(1).max(4096),
  /** In the order of the label numbers; labels go by turns, see `labelsInTurn`. */
  classes: z.array(z.strictObject({ name: z.string(), images: z.int().min(0) })).min(1),
  files: z.enum(['png', 'dicom']),
  bits: z.union([z.literal(8), z.literal(16)]),
  /** Whether SYN is drawn into a corner of every image. */
  mark: z.enum(['none', 'corner']),
  licence: z.string().min(1).max(300),
  /** The program, as marks name it: "VeilGAN 0.1.0". */
  tool: z.string().min(1).max(64),
});
export type ReleaseRecipe = z.infer<typeof ReleaseRecipe>;

/** What a bound of the gate said, as it was decided by. */
const GateFinding = z.strictObject({
  bound: z.string(),
  limit: z.number().nullable(),
  measured: z.number().nullable(),
  unit: z.string(),
  holds: z.boolean(),
  say: z.string(),
});

/** One measured number, in the field's word for it. */
export const Metric = z.strictObject({
  name: z.string(),
  value: z.number().nullable(),
  /** On which images it was measured; none of them private. */
  on: z.string(),
  say: z.string(),
});
export type Metric = z.infer<typeof Metric>;

const parts = {
  runId: z.uuid(),
  policySha256: Sha256Hex,
  generatorSha256: Sha256Hex,
  images: z.int().min(0),
};

/** As `coordinator export` wrote it before releases were signed; logs that name one are still verified. */
const ReleaseManifest1 = z.strictObject({
  format: z.literal('veilgan-release/1'),
  ...parts,
  files: z.array(z.strictObject({ name: z.string(), sha256: Sha256Hex, bytes: z.int().min(0) })),
});

export const SignedManifest = z.strictObject({
  format: z.literal('veilgan-release/2'),
  // The same as in the recipe: what the log's entry is held to.
  ...parts,
  recipe: ReleaseRecipe,
  recipeSha256: Sha256Hex,
  /** What drew the images and wrote the files: identical bytes are promised there, and near-identical pixels elsewhere. */
  made: z.strictObject({
    software: z.string(),
    engine: z.string(),
    processor: z.string(),
    encoder: z.string(),
    /** By the coordinator's clock, which proves nothing. */
    date: z.iso.date(),
  }),
  log: z.strictObject({
    entries: z.int().min(1),
    root: Sha256Hex,
    /** The signed note of that tree head; null where nobody was there to sign one. */
    checkpoint: z.string().nullable(),
    outcome: z.enum(['completed', 'stopped', 'unfinished']),
    rounds: z.int().min(0),
  }),
  epsilon: z.strictObject({
    /** The policy's; null without a mechanism. */
    bound: z.number().nullable(),
    delta: z.number().nullable(),
    /** As each site stated it last, signed, in the log; null is infinite. */
    sites: z.array(z.strictObject({ siteId: SiteId, epsilon: z.number().nullable() })),
  }),
  metrics: z.array(Metric),
  /** Null: no gate judged this release, and nothing may claim that one did. */
  gate: z
    .strictObject({
      passed: z.literal(true),
      /** What was judged, by its digest. */
      candidateSha256: Sha256Hex,
      findings: z.array(GateFinding),
      /** Who signed the candidate: names and keys as the policy has them, and what they signed. */
      signOffs: z.array(z.strictObject({ name: z.string(), key: z.string(), statement: z.string() })),
    })
    .nullable(),
  signer: z.strictObject({ kid: Kid, key: PublicSigningKey }),
  files: z.array(ReleasedFile),
});
export type SignedManifest = z.infer<typeof SignedManifest>;

/** A manifest of either version, as the log's audit reads it. */
export const ReleaseManifest = z.discriminatedUnion('format', [ReleaseManifest1, SignedManifest]);
export type ReleaseManifest = z.infer<typeof ReleaseManifest>;

/** The name of a release: what every file of it carries. */
export const recipeId = (recipe: ReleaseRecipe): string => hashJson(recipe);

export const imagesOf = (recipe: ReleaseRecipe): number => recipe.classes.reduce((sum, c) => sum + c.images, 0);

/** What contradicts itself in a manifest; empty when nothing does. Signatures and files are checked elsewhere. */
export function contradictions(m: SignedManifest): string[] {
  const { recipe } = m;
  const found: string[] = [];
  const same = m.runId === recipe.runId && m.policySha256 === recipe.policySha256;
  if (!same || m.generatorSha256 !== recipe.generatorSha256 || m.images !== imagesOf(recipe))
    found.push('manifest and recipe name different things');
  if (m.recipeSha256 !== recipeId(recipe)) found.push('the recipe is not the one that the files carry the digest of');
  if (m.signer.kid !== thumbprint(m.signer.key)) found.push('the signer’s fingerprint is not that of its key');
  if (new Set(m.files.map((f) => f.name)).size !== m.files.length) found.push('a file is listed twice');
  const model = m.files.find((f) => f.name === 'generator.onnx');
  if (model?.sha256 !== recipe.modelSha256) found.push('generator.onnx is not the recipe’s');
  return found;
}

const TYP = 'veilgan-release+jws';
/** A release is for whoever reads it. */
const AUDIENCE = 'veilgan:public';

/** @returns the text of `release.json` and of `release.jws`. */
export async function signRelease(
  manifest: SignedManifest,
  keys: SigningKeys,
): Promise<{ text: string; sha256: string; jws: string }> {
  if (manifest.signer.kid !== keys.kid) throw new FedError('PARAMETER_INVALID', 'the manifest names another signer');
  const text = canonicalJson(SignedManifest.parse(manifest));
  const sha256 = sha256Hex(text);
  return { text, sha256, jws: await signDetached(keys, sha256, { typ: TYP, audience: AUDIENCE }) };
}

/**
 * Guarantee: `key` signed this very text as a release.
 * @throws {FedError} SIGNATURE_INVALID
 */
export const verifyRelease = (text: string, jws: string, key: PublicSigningKey): Promise<void> =>
  verifyDetached(jws.trim(), sha256Hex(text), key, { typ: TYP, audience: AUDIENCE });
