import { z } from 'zod';

/** What fixes the two networks of a run; part of the policy, so part of its hash. */
export const GanConfig = z.strictObject({
  /** A name in the registry. */
  architecture: z.string(),
  /** Pixels on a side. */
  imageSize: z.union([z.literal(28), z.literal(32), z.literal(64)]),
  channels: z.union([z.literal(1), z.literal(3)]),
  classes: z.int().min(1).max(1000),
  /** Length of the latent vector. */
  latent: z.int().min(1).max(1024),
  /** Channels of the generator's last hidden layer; the others are multiples of it. */
  generatorWidth: z.int().min(1).max(512),
  /** Channels of the discriminator's first layer; the others are multiples of it. */
  discriminatorWidth: z.int().min(1).max(512),
  /**
   * How the discriminator learns of the label: `projection` adds ⟨embedding of the class, features⟩ to the logit,
   * `planes` lays a learnt plane a class beside the image, `classifier` has it name the class itself (it learns to on
   * real images alone, and the generator to be understood), `none` tells it nothing.
   * @see Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637, equation 3;
   *   Odena et al. 2017, https://arxiv.org/abs/1610.09585, section 4 (AC-GAN)
   */
  conditioning: z.enum(['none', 'projection', 'planes', 'classifier']),
  /** Groups of the discriminator's GroupNorm; 0 for none. Divides `discriminatorWidth`. */
  groupNorm: z.int().min(0),
  loss: z.enum(['bce', 'hinge']),
});
export type GanConfig = z.infer<typeof GanConfig>;
