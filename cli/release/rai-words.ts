/** What Croissant's vocabulary of responsible use asks for, from the same facts as the datasheet. */
import type { RaiWords } from '../../shared/release/croissant.ts';
import { claimOf, type Facts, gateSentence, isOversampled, LIMITS, MUST_NOT } from './facts.ts';

export function raiWords(facts: Facts): RaiWords {
  const { policy, epsilon, log, recipe } = facts;
  return {
    collection: `Drawn from a generator that ${epsilon.sites.length} sites trained together over ${log.rounds} rounds; their images never left them.`,
    rawData: 'None: the images are drawn again from the generator and a public seed.',
    preprocessing: [
      `Images at the sites were brought to ${policy.model.imageSize} pixels a side${policy.imaging ? ` by the recipe "${policy.imaging.recipe}"` : ''}; synthetic values were rounded to ${recipe.bits} bits.`,
    ],
    annotation: 'A label is the class that the generator was asked for. Nobody looked at the image.',
    personal: [`None in the images. ${claimOf(facts)}`, gateSentence(facts)],
    biases: [
      'Whatever the sites’ images were biased by; no attribute of patients was known in training.',
      isOversampled(facts)
        ? 'The class balance was chosen by the publisher: some classes are drawn more often than the policy’s shares.'
        : 'The class balance is a choice and was not observed in patients.',
    ],
    limitations: [...LIMITS, ...MUST_NOT.map((use) => `Must not be used for: ${use}`)],
    useCases: ['Training, pre-training and augmentation, tested on real images', 'Teaching', 'Trying out software'],
    socialImpact:
      'Lets people work with images like those of hospitals that may not share them; harms if taken for evidence about patients.',
    maintenance: ['This release never changes. An erratum would be another release.'],
  };
}
