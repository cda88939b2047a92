/**
 * The consortium policy: one file that fixes everything a privacy claim depends on. It is exact and hash-identical at
 * every site and at the coordinator; nothing is merged and nothing has a default. Engines, threads and other settings
 * of speed are not here, so none of them can change a claim.
 */
import { z } from 'zod';
import { GanConfig } from '../gan/config.ts';
import { BURNED_IN, RECIPE_NAMES } from '../imaging/recipe-names.ts';
import { Sha256Hex, SiteId } from '../protocol/plan.ts';
import { ReleaseGate } from './gate-schema.ts';

const Name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/);
const Count = z.int().min(1);
const Positive = z.number().gt(0);
const Probability = z.number().gt(0).max(1);

/** The networks, as `GanConfig` has them, with the names of the classes in place of their number. */
export const Model = GanConfig.extend({
  architecture: z.enum(['dcgan', 'smooth-dcgan', 'mlp']),
  classes: z.array(z.string().min(1).max(64)).min(1).max(256).describe('Names, in the order of the label numbers.'),
});

/** Discriminator steps that follow what the discriminators say about fakes: post-processing, it costs no epsilon. */
export const AdaptiveSteps = z.strictObject({
  ladder: z.array(Count).min(2).describe('Steps a round, ascending; the first equals discriminatorSteps.'),
  accuracyAtMost: z.number().gt(0).lt(1).describe('Climb when the average accuracy on fakes falls to this.'),
  emaBeta: z.number().min(0).lt(1),
  graceRounds: Count.describe('Rounds between two climbs, at least.'),
});

export const Training = z.strictObject({
  rounds: z.int().min(0).describe('Generator rounds after the warm start; 0 releases what the moments taught.'),
  discriminatorSteps: Count.describe('Private steps of every site in a round.'),
  warmupDiscriminatorSteps: z.int().min(0).describe('Further private steps in the first round, before G moves.'),
  generatorBatch: Count.describe('Fakes per site in one generator gradient.'),
  fakesPerStep: Count.describe('Fakes in one discriminator step; fixed, with labels from the public distribution.'),
  lrG: Positive,
  lrD: Positive,
  rateDecay: z
    .strictObject({
      from: z.number().min(0).lt(1).describe('Share of the rounds after which both rates begin to fall.'),
      to: z.number().gt(0).lt(1).describe('Share of themselves that they have come down to in the last round.'),
    })
    .optional()
    .describe('Both rates are full at first and then fall in a straight line; absent, they stay.'),
  beta1: z.number().min(0).lt(1),
  beta2: z.number().min(0).lt(1),
  weightDecayD: z.number().min(0).lt(1),
  emaDecay: z.number().min(0).lt(1).describe('Average of the generator that is released; 0 releases the last one.'),
  momentWeight: z.number().min(0).describe('Weight of the moment term in the objective of G; 0 leaves it out.'),
  momentBatch: Count.optional().describe('Fakes in the moment term of a round; as many as in the fit where absent.'),
  averageDecayD: z
    .number()
    .min(0)
    .lt(1)
    .describe('Average over its own noised steps that a discriminator judges fakes with; 0 judges with the last one.'),
  adaptiveSteps: AdaptiveSteps.optional(),
});

/** What holds with and without a mechanism. */
const privacyBase = {
  unit: z.literal('patient'),
  neighbours: z.literal('add-or-remove-one'),
  clipNorm: Positive.describe('C: L2 norm of one patient’s gradient.'),
  clipRule: z
    .enum(['clip', 'normalise'])
    .describe('"clip" shortens what is longer than C; "normalise" brings every gradient to C.'),
  sampleRate: Probability.describe('q: chance of a patient to join a step.'),
  expectedBatch: Positive.describe('What sums are divided by: sampleRate times the declared number of patients.'),
  maxBatch: Count.describe('Places in a step. The chance of more is added to delta.'),
  imagesPerPatient: Count.describe('At most so many; their losses are averaged.'),
  maxSteps: z
    .int()
    .min(0)
    .describe('Private steps in the ledger of one run, restarts included. The claim is made for all.'),
  generatorClipNorm: Positive.describe('L2 norm of one site’s generator gradient.'),
};

export const Privacy = z.discriminatedUnion('mechanism', [
  z.strictObject({
    mechanism: z.literal('dp-sgd'),
    ...privacyBase,
    epsilon: Positive,
    delta: z.number().gt(0).lt(1),
    noiseMultiplier: Positive.describe('σ: standard deviation of the noise on the sum over clipNorm.'),
  }),
  z.strictObject({ mechanism: z.literal('none-insecure'), ...privacyBase }),
]);

/** What `placement: pooled` needs: one discriminator of all sites, each of whose steps is a secure sum. */
export const Pooled = z.strictObject({
  stepsPerClip: z
    .int()
    .min(16)
    .max(2 ** 24)
    .describe('Steps of the whole-number lattice in clipNorm, and in the norm 1 of a moment vector.'),
  coordinates: Count.max(2 ** 26).describe(
    'No vector that is sent has more values: what rounding adds to the sensitivity is worked out for so many.',
  ),
  maxDropouts: z.int().min(0).describe('A sum may lack so many of the invited sites.'),
  maxColluders: Count.describe('So many sites may subtract their own share of the noise; each site can.'),
  generatorSteps: Count.describe('Generator steps at the coordinator after the discriminator steps of a round.'),
});
export type Pooled = z.infer<typeof Pooled>;

/** Features whose noised sums open a run. A later kind is one more member. */
export const MomentFeatures = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('fourier'),
    seed: z.string().min(1).max(128).describe('Public.'),
    blocks: z
      .array(
        z.strictObject({
          on: z
            .enum(['pixels', 'wavelets', 'edges'])
            .describe('Pixels in [0, 1]; wavelet vector of norm 1, with the blurred image or (edges) without.'),
          bandwidth: Positive.describe('Width of the Gaussian kernel, in the unit of what it looks at.'),
          frequencies: Count.max(16_384).describe('Random frequencies; each gives a cosine and a sine.'),
          weight: Positive.describe('Share of the squared norm of 1, relative to the other blocks.'),
        }),
      )
      .min(1)
      .max(16),
  }),
]);

/** Moment rounds after the first, in features of a network that is trained on fakes between them. */
export const CriticRounds = z.strictObject({
  rounds: Count.max(32).describe('Moment rounds after the first; each is one more release of the same noise.'),
  width: Count.max(128).describe('Channels of the first convolution; the others are multiples of it.'),
  seed: z.string().min(1).max(128).describe('Public, of the directions.'),
  blocks: z
    .array(
      z.strictObject({
        on: z
          .enum(['maps', 'dense'])
          .describe('The last convolution’s maps, or the layer under the logits; each vector brought to norm 1.'),
        normalise: z
          .enum(['centred', 'standardised'])
          .optional()
          .describe('What is done to the layer before that, by its units’ means (and deviations) over fakes.'),
        bandwidth: z.number().min(1e-6).describe('Width of the Gaussian kernel.'),
        frequencies: Count.max(16_384),
        weight: Positive.describe('Share of the squared norm of 1, relative to the other blocks.'),
      }),
    )
    .min(1)
    .max(16),
  steps: Count.describe('Steps that train the network to tell the classes of fakes apart; it sees nothing else.'),
  batch: Count,
  lr: Positive,
  augment: z
    .strictObject({
      rotate: z.number().min(0).max(180).describe('Degrees, either way.'),
      scale: z.number().min(0).max(1).describe('s: width and height by a factor from exp(-s) to exp(s) each.'),
      shear: z.number().min(0).max(1).describe('Pixels sideways for each pixel up, either way.'),
      shift: z.number().min(0).max(0.5).describe('Share of the edge, either way, across and down.'),
    })
    .optional()
    .describe('How far its fakes are moved about at random while it learns: an affine map for each, drawn evenly.'),
  fitSteps: Count.describe('Steps of the generator after each of these rounds, on all moments so far.'),
  lastFitSteps: Count.optional().describe('The same after the last of them; as many as after the others where absent.'),
});

export const WarmStart = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('none') }),
  z.strictObject({
    kind: z.literal('moments'),
    features: MomentFeatures,
    noiseMultiplier: z.number().min(0).describe('σ of every noised sum; one patient adds a vector of norm ≤ 1.'),
    maxReleases: Count.optional().describe(
      'Entries charged over all moment rounds, restarts included; where absent, the number of those rounds.',
    ),
    fitSteps: Count.describe(
      'Steps of the generator on the first sum; rounds in a critic’s features go on from there.',
    ),
    fitBatch: Count.describe('Fakes in a step.'),
    lr: Positive.describe('Learning rate of all these steps; full at first, then it falls to a hundredth at the last.'),
    critic: CriticRounds.optional(),
  }),
]);

/** What is public about one site. Anything absent is as in `privacy`. */
export const PolicySite = z.strictObject({
  classes: z.array(z.string()).min(1).describe('Classes this site declares to hold.'),
  sampleRate: Probability.optional(),
  expectedBatch: Positive.optional(),
  maxBatch: Count.optional(),
});

export const SCHEMES = ['clear', 'secagg', 'bfv'] as const;

export const Policy = z.strictObject({
  $schema: z.string().optional(),
  id: Name,
  version: Count,
  placement: z
    .enum(['local', 'pooled'])
    .describe('Where the discriminator sits: one at every site, or one of all sites, stepped on secure sums.'),
  pooled: Pooled.optional().describe('With placement "pooled", and only then.'),
  model: Model,
  training: Training,
  privacy: Privacy,
  warmStart: WarmStart,
  labels: z.strictObject({
    distribution: z
      .record(z.string(), z.number().min(0).max(1))
      .describe('Public shares of the classes, for fakes and for released images. Not counted from data.'),
  }),
  sites: z.record(SiteId, PolicySite).optional(),
  aggregation: z.strictObject({
    scheme: z.enum(SCHEMES),
    minSites: Count.describe('A round does not open with fewer.'),
    minSurvivors: Count.describe('A round with fewer updates is void.'),
    deadlineSeconds: Positive.describe('After which a round closes with those that are in, if they are enough.'),
    bits: z
      .int()
      .min(9)
      .max(29)
      .optional()
      .describe('Masked and encrypted values: bits of one value. More cost bytes, fewer cost accuracy.'),
    maxSites: Count.max(1000).optional().describe('The most sites of a round: sums of so many never wrap around.'),
    steward: SiteId.optional().describe(
      'bfv: which site makes the key; absent, or when it is not there: the first by name.',
    ),
    maxColluders: z
      .int()
      .min(0)
      .optional()
      .describe('secagg: sites that may work together with the coordinator and still learn no other site’s update.'),
    maxDropouts: z
      .int()
      .min(0)
      .optional()
      .describe('secagg: invited sites that may vanish at any point of a round that still closes.'),
    graphAboveSites: Count.max(200)
      .optional()
      .describe(
        'secagg: in rounds of more sites, each masks with a random few only, and the guarantee is statistical.',
      ),
  }),
  log: z.strictObject({ witnessQuorum: z.int().min(0).describe('Cosignatures a checkpoint needs.') }).optional(),
  imaging: z
    .strictObject({
      recipe: z.enum(RECIPE_NAMES).describe('How stored intensities become black and white, at every site alike.'),
      burnedIn: z.enum(BURNED_IN).describe('What a picture with text in its pixels does; a site may be stricter.'),
    })
    .optional(),
  release: z.strictObject({
    maxImages: z.int().min(0),
    gate: ReleaseGate.nullable().describe('What must hold before images leave. Null: nothing judges them.'),
  }),
  evaluation: z.strictObject({
    publicTestSet: z
      .strictObject({ source: z.string().min(1), sha256: Sha256Hex.optional() })
      .nullable()
      .describe('Real images the consortium declares public. Null: nothing is measured on real images.'),
  }),
  why: z
    .record(z.string(), z.string().min(8))
    .describe('Reasons; keys are paths into this file. Every entry of privacy needs one.'),
});
export type Policy = z.infer<typeof Policy>;
export type AggregationScheme = (typeof SCHEMES)[number];
export type AdaptiveSteps = z.infer<typeof AdaptiveSteps>;
export type MomentFeatures = z.infer<typeof MomentFeatures>;
export type CriticRounds = z.infer<typeof CriticRounds>;
export type WarmStart = z.infer<typeof WarmStart>;
