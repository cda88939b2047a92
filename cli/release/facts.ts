/** What the papers of a release are written from: numbers and names that are public, and nothing else. */
import { showEpsilon } from '../../shared/dp/show-epsilon.ts';
import { oversampling } from '../../shared/release/counts.ts';
import type { SignedManifest } from '../../shared/release/manifest.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { labelDistribution } from '../../shared/policy/views.ts';

/** A manifest but for the digests of its files, which the papers are among. */
export type ManifestFacts = Omit<SignedManifest, 'files' | 'format'>;

export interface Facts extends ManifestFacts {
  readonly policy: CheckedPolicy;
  /** As the caller names the data set. */
  readonly title: string;
  readonly creator: string;
  readonly url: string;
  /** Answers of the publisher to questions that software cannot answer, by the question's id. */
  readonly answers: Readonly<Record<string, string>>;
}

export const number = (x: number | null, digits = 3): string =>
  x === null || !Number.isFinite(x) ? 'infinite' : String(Number(x.toFixed(digits)));

/** The claim in one sentence, or that there is none. */
export function claimOf({ epsilon }: Pick<Facts, 'epsilon'>): string {
  if (epsilon.bound === null)
    return 'NO privacy mechanism was used in training: nothing is promised to anybody whose images were trained on.';
  return `Whoever sees everything in this folder can tell whether one patient of a site took part in the training only within (${showEpsilon(epsilon.bound, 3)}, ${epsilon.delta})-differential privacy, with respect to adding or removing that patient.`;
}

/** What has to be said before anything else of a run that was only shown. */
export const demonstration = ({ policy }: Pick<Facts, 'policy'>): string[] =>
  policy.id.startsWith('demo') ? ['Made under a demonstration policy, which is not for real patients.'] : [];

/** What became of the gate, in one sentence that claims no more than happened. */
export function gateSentence({ gate }: Pick<Facts, 'gate'>): string {
  if (gate === null)
    return 'No release gate judged these images: the policy names none. Whether they resemble single training images too closely was not measured.';
  const people = gate.signOffs.length;
  const signed =
    people === 0 ? 'nobody’s signature was asked for' : `${people} ${people === 1 ? 'person' : 'people'} signed`;
  return `The policy’s release gate let this generator leave: all of its ${gate.findings.length} bounds hold; ${signed}.`;
}

/** Rows of the table of classes: name, images, the policy's share, how often over it. */
export function classRows({ recipe, policy }: Pick<Facts, 'recipe' | 'policy'>): string[][] {
  const shares = labelDistribution(policy);
  const over = oversampling(
    recipe.classes.map((c) => c.images),
    shares,
  );
  return recipe.classes.map(({ name, images }, k) => [
    name,
    String(images),
    number(shares[k]),
    over[k] === null ? 'not in the policy’s shares' : `${number(over[k], 2)} ×`,
  ]);
}

export const BALANCE_HEAD = ['class', 'images', 'share in the policy', 'drawn, over that share'];

/** Whether any class was drawn clearly more often than the policy's shares would. */
export const isOversampled = (facts: Pick<Facts, 'recipe' | 'policy'>): boolean =>
  classRows(facts).some(([, , , over]) => Number.parseFloat(over) > 1.05);

/** What nobody may do with the images; said in every paper. */
export const MUST_NOT = [
  'Diagnosis, treatment, triage, or any decision about a person.',
  'Evidence of how often a finding, a class or a trait occurs in patients: the class balance was chosen, not observed.',
  'The only data that a medical device is validated on, or a test set in place of real images.',
  'Attempts to recognise, or to find out anything about, people whose images were trained on.',
  'Presenting an image as that of a patient, or removing its marks to that end.',
];

export const LIMITS = [
  'The images look like what a small generator learnt under noise. Fine texture, small findings and rare appearances are the first things that are lost.',
  'A label is the class that was asked for. Nobody has looked at the image and agreed.',
  'Whatever the sites’ images were biased by, these are biased by, and by the generator besides. No attribute of patients was known in training, so that nothing can be said about fairness between groups.',
  'More images of a class are not more information about it: all of them come from one generator.',
];
