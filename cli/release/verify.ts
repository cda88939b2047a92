/** `veilgan release verify`: a release as whoever got it sees it, with nothing but the folder and, better, a key. */
import { existsSync, lstatSync, readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { canonicalJson, sha256Hex } from '../../shared/audit/canonical.ts';
import { FedError } from '../../shared/errors.ts';
import { GeneratorCard } from '../../shared/gan/export.ts';
import { type CheckedPolicy, loadPolicyText, policySha256 } from '../../shared/policy/load.ts';
import { SCHEMES } from '../../shared/policy/schema.ts';
import { secureBytes } from '../../shared/random.ts';
import type { RandomBytes } from '../../shared/random.ts';
import { contradictions, MANIFEST_FILE, SIGNATURE_FILE, SignedManifest, verifyRelease } from '../../shared/release/manifest.ts'; // prettier-ignore
import { readKeys } from '../audit/read-folder.ts';
import { EXIT } from '../exit-codes.ts';
import { parseJson, readText } from '../options.ts';
import { gateProblems } from './gate-problems.ts';
import { type Drawing, type Redrawn, redraw, shortened } from './redraw.ts';
import { placesOf } from './render.ts';
import { labelsCsv } from './write-images.ts';

export interface VerifyOptions {
  /** The coordinator's key, its thumbprint, or a file of keys: from another source than the folder. */
  readonly coordinator?: string;
  /** Batches to draw again. */
  readonly sample: number;
  /** Which batches; by default the system's generator chooses, so that nobody knows beforehand. */
  readonly random?: RandomBytes;
  /** What draws; by default the model of the folder on this machine. */
  readonly drawing?: Drawing;
}

export interface ReleaseReport {
  readonly verdict: 'holds' | 'incomplete' | 'failed';
  readonly release: string;
  readonly runId: string;
  readonly policySha256: string;
  readonly images: number;
  readonly signer: string;
  readonly gate: boolean;
  readonly files: number;
  readonly redrawn: Redrawn | null;
  readonly problems: readonly string[];
  /** What could not be checked. */
  readonly gaps: readonly string[];
}

/** @throws {FedError} PARAMETER_INVALID when it is no release; LOG_INVALID for a manifest that cannot be read. */
export async function verifyReleaseFolder(folder: string, o: VerifyOptions): Promise<ReleaseReport> {
  const path = join(folder, MANIFEST_FILE);
  if (!existsSync(path))
    throw new FedError('PARAMETER_INVALID', `${folder} is no release: ${MANIFEST_FILE} is not there`);
  const text = readFileSync(path, 'utf8');
  const manifest = parseJson(text, SignedManifest, MANIFEST_FILE, 'LOG_INVALID');
  const problems: string[] = [];
  const gaps: string[] = [];
  if (canonicalJson(manifest) !== text) problems.push(`${MANIFEST_FILE} is not in its one canonical form`);
  problems.push(...contradictions(manifest));
  const signed = await checkSignature(folder, text, manifest, o.coordinator, { problems, gaps });
  const sound = checkFiles(folder, manifest, problems);
  const policy = checkPolicy(folder, manifest, sound, { problems, gaps });
  if (policy !== null) problems.push(...(await gateProblems(manifest, policy)));
  const card = cardOf(folder, manifest, sound, problems);
  let redrawn: Redrawn | null = null;
  // A network of somebody else's making is not run to find out what it draws.
  if (!signed) gaps.push('no image was drawn again: the generator is not signed by the key that was asked for');
  else if (card === null) gaps.push('no image was drawn again: the generator in the folder is not the signed one');
  else {
    checkLabels(folder, manifest, sound, problems);
    redrawn = await redraw({ folder, manifest, card, sound, sample: o.sample, random: o.random ?? secureBytes, ...(o.drawing && { drawing: o.drawing }) }); // prettier-ignore
    problems.push(...redrawn.problems);
    if (redrawn.images === 0) gaps.push('no image was drawn again');
  }
  return {
    verdict: problems.length > 0 ? 'failed' : gaps.length > 0 ? 'incomplete' : 'holds',
    release: manifest.recipeSha256,
    ...{ runId: manifest.runId, policySha256: manifest.policySha256, images: manifest.images },
    signer: manifest.signer.kid,
    gate: manifest.gate !== null,
    files: manifest.files.length,
    ...{ redrawn, problems, gaps },
  };
}

interface Found {
  readonly problems: string[];
  readonly gaps: string[];
}

/** @returns whether the manifest is signed, and by the key that was given where one was. */
async function checkSignature(
  folder: string,
  text: string,
  { signer }: SignedManifest,
  given: string | undefined,
  { problems, gaps }: Found,
): Promise<boolean> {
  const before = problems.length;
  if (given === undefined)
    gaps.push(`the key is the folder’s own: compare ${signer.kid} with what the coordinator says, or name it with --coordinator`); // prettier-ignore
  else if (!keyFits(given, signer)) problems.push(`it is signed by ${signer.kid}, which is not the key that was given`);
  try {
    await verifyRelease(text, readText(join(folder, SIGNATURE_FILE), 'signature'), signer.key);
  } catch (error) {
    if (!(error instanceof FedError)) throw error;
    problems.push(error.message);
  }
  return problems.length === before;
}

function keyFits(given: string, { kid, key }: SignedManifest['signer']): boolean {
  if (!existsSync(given)) return given === kid || given === key.x;
  return readKeys(readFileSync(given, 'utf8'), given).coordinator.kid === kid;
}

/** @returns names of the files that are there, listed, and unchanged. */
function checkFiles(folder: string, manifest: SignedManifest, problems: string[]): Set<string> {
  const sound = new Set<string>();
  const wrong: string[] = [];
  for (const { name, sha256, bytes } of manifest.files) {
    const path = join(folder, name);
    if (!existsSync(path)) wrong.push(`${name} is missing`);
    else if (!lstatSync(path).isFile()) wrong.push(`${name} is no plain file`);
    else if (lstatSync(path).size !== bytes || sha256Hex(readFileSync(path)) !== sha256)
      wrong.push(`${name} was changed`);
    else sound.add(name);
  }
  const listed = new Set([...manifest.files.map((f) => f.name), MANIFEST_FILE, SIGNATURE_FILE]);
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const name = relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/');
    if (!entry.isDirectory() && !listed.has(name)) wrong.push(`${name} is not in the manifest`);
  }
  problems.push(...shortened(wrong));
  return sound;
}

/** @returns the policy, where it is the one that the manifest names. */
function checkPolicy(
  folder: string,
  m: SignedManifest,
  sound: Set<string>,
  { problems, gaps }: Found,
): CheckedPolicy | null {
  if (!sound.has('policy.json')) {
    gaps.push('the policy is not in the folder');
    return null;
  }
  try {
    const policy = loadPolicyText(readFileSync(join(folder, 'policy.json'), 'utf8'), { availableSchemes: SCHEMES });
    if (policySha256(policy) !== m.policySha256) {
      problems.push('policy.json is not the policy that the manifest names');
      return null;
    }
    problems.push(...otherTerms(m, policy));
    if (m.images > policy.release.maxImages) problems.push(`the policy lets at most ${policy.release.maxImages} images leave`); // prettier-ignore
    return policy;
  } catch (error) {
    if (!(error instanceof FedError)) throw error;
    gaps.push(`this version cannot read the policy: ${error.message}`);
    return null;
  }
}

/** Where the manifest says of the policy's numbers what the policy does not. */
function otherTerms({ epsilon, recipe }: SignedManifest, { privacy, model }: CheckedPolicy): string[] {
  const { bound, delta } = privacy.mechanism === 'dp-sgd' ? { bound: privacy.epsilon, delta: privacy.delta } : { bound: null, delta: null }; // prettier-ignore
  const wrong = epsilon.bound === bound && epsilon.delta === delta ? [] : ['the manifest names another epsilon or delta than the policy']; // prettier-ignore
  const above = epsilon.sites.filter((s) => bound !== null && !((s.epsilon ?? Infinity) <= bound * (1 + 1e-9)));
  const classes = recipe.classes.map((c) => c.name).join('\0') === model.classes.join('\0');
  return [
    ...wrong,
    ...above.map((s) => `${s.siteId} has stated more epsilon than the policy allows`),
    ...(classes ? [] : ['the recipe’s classes are not the policy’s']),
  ];
}

function cardOf(folder: string, m: SignedManifest, sound: Set<string>, problems: string[]): GeneratorCard | null {
  if (!sound.has('generator.json') || !sound.has('generator.onnx')) return null;
  const text = readFileSync(join(folder, 'generator.json'), 'utf8');
  const card = parseJson(text, GeneratorCard, 'generator.json', 'LOG_INVALID');
  const fits =
    card.sha256 === m.recipe.modelSha256 &&
    card.runId === m.runId &&
    card.classes.join('\0') === m.recipe.classes.map((c) => c.name).join('\0');
  if (!fits) problems.push('generator.json describes another generator');
  return fits ? card : null;
}

/** The labels are those that the recipe asks for, file by file. */
function checkLabels(folder: string, m: SignedManifest, sound: Set<string>, problems: string[]): void {
  const { places } = placesOf(m.recipe);
  const digests = new Map(m.files.map((f) => [f.name, f]));
  const files = places.map(({ path }) => digests.get(path));
  const missing = files.filter((f) => f === undefined).length;
  const images = m.files.filter((f) => f.name.startsWith('images/')).length;
  if (missing > 0 || images !== places.length)
    return void problems.push(`the manifest lists ${images} images, and ${missing} of the recipe’s ${places.length} are not among them`); // prettier-ignore
  const classes = m.recipe.classes.map((c) => c.name);
  const expected = labelsCsv({ places, files: files.filter((f) => f !== undefined) }, classes);
  if (sound.has('labels.csv') && readFileSync(join(folder, 'labels.csv'), 'utf8') !== expected)
    problems.push('labels.csv does not say what the recipe asked for');
}

export const exitOfVerdict = ({ verdict }: ReleaseReport): number =>
  verdict === 'holds' ? EXIT.ok : verdict === 'incomplete' ? EXIT.incomplete : EXIT.invalid;

const HEADLINE = {
  holds: 'holds: signature and digests verify, and what was drawn again is the same',
  incomplete: 'nothing is wrong, and not everything could be checked',
  failed: 'DOES NOT HOLD',
};

export function verdictText(r: ReleaseReport): string {
  const drawn = r.redrawn === null || r.redrawn.images === 0 ? [] : [`${r.redrawn.images} images drawn again: ${r.redrawn.say}`]; // prettier-ignore
  return [
    HEADLINE[r.verdict],
    `release ${r.release}: ${r.images} images of run ${r.runId}, ${r.files} files, signed by ${r.signer}`,
    r.gate ? `the manifest has the verdict of a release gate${r.verdict === 'failed' ? '' : ': all bounds hold'}` : 'no release gate judged it', // prettier-ignore
    ...drawn,
    ...r.problems.map((p) => `wrong: ${p}`),
    ...r.gaps.map((g) => `not checked: ${g}`),
  ].join('\n');
}
