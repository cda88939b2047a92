/** `release.gate` of a policy: what has to hold before images leave, and what asking the sites about them may cost. */
import { z } from 'zod';
import { Bytes32 } from '../identity/jwk.ts';

const Count = z.int().min(1);
const Share = z.number().gt(0).lt(1);

/** Who may sign a release. Names are shown, keys decide: Ed25519, as `veilgan sign-off keygen` prints them. */
export const SignOff = z.strictObject({
  needed: z.int().min(0).describe('So many of them must have signed the candidate; 0 asks nobody.'),
  people: z.array(z.strictObject({ name: z.string().min(1).max(64), key: Bytes32 })).max(64),
});

export const ReleaseGate = z.strictObject({
  minSites: Count.describe('So many sites must have judged the images; besides them every site that took part.'),
  images: z
    .int()
    .min(100)
    .max(10_000)
    .describe('Synthetic images that are judged, by the public shares of the classes.'),
  holdOut: z
    .number()
    .gt(0)
    .max(0.3)
    .describe(
      'Share of a site’s patients, by a keyed hash, whom no training ever sees: what members are compared with.',
    ),
  leastPatients: Count.describe('A site with fewer, as far as noise lets it say so, answers that it cannot tell.'),
  noiseMultiplier: z.number().gt(0).describe('σ of the one noised vector that a site’s answers are made from.'),
  maxAnswers: Count.max(16).describe('Entries charged for it, restarts included. One candidate of a run is answered.'),
  memorisation: z.strictObject({
    distance: Share.describe(
      'What counts as a copy: so much of the usual distance of two synthetic images of a class.',
    ),
    shareAtMost: Share.describe(
      'Share of a site’s training patients with a copy of an image among the synthetic ones.',
    ),
  }),
  membership: z.strictObject({
    advantageAtMost: z
      .number()
      .gt(0)
      .lt(0.5)
      .describe(
        'How much nearer the synthetic images are to training patients than to those held out: mean advantage of whoever calls the near ones members.',
      ),
  }),
  diversity: z.strictObject({
    similarityAtMost: Share.describe('Mean MS-SSIM of two synthetic images of one class; no class may have more.'),
  }),
  cannotTell: z.enum(['refuse', 'pass']).describe('What a site’s "cannot tell" does to the release.'),
  signOff: SignOff,
});
export type ReleaseGate = z.infer<typeof ReleaseGate>;
