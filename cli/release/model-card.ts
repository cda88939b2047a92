/** The generator's card, after Mitchell et al. 2019, "Model Cards for Model Reporting", https://arxiv.org/abs/1810.03993. */
import { showEpsilon } from '../../shared/dp/show-epsilon.ts';
import type { GeneratorCard } from '../../shared/gan/export.ts';
import { type Document, list, table, text } from '../document.ts';
import { claimOf, type Facts, gateSentence, LIMITS, MUST_NOT, number } from './facts.ts';

export function modelCard(f: Facts, card: GeneratorCard): Document {
  const { policy, recipe, epsilon } = f;
  const { privacy } = policy;
  const shape = `[n, ${card.channels}, ${card.imageSize}, ${card.imageSize}]`;
  return {
    title: `Model card: generator of ${f.title}`,
    lead: [text(`A generator of synthetic images, as generator.onnx (SHA-256 ${card.sha256}). ${claimOf(f)}`)],
    sections: [
      {
        title: 'Model details',
        blocks: [
          list(
            `Architecture ${policy.model.architecture}, width ${policy.model.generatorWidth}, conditional on ${card.classes.length} classes: ${card.classes.join(', ')}.`,
            `Inputs: "latents" [n, ${card.latent}], independent standard normal; "labels" [n, ${card.classes.length}], one-hot, in the order above. Output: "images" ${shape}, from -1 (black) to 1 (white). Any n.`,
            `The weights are the exponential average over training; batch normalisations have fixed statistics, taken from fakes.`,
            `Run ${f.runId}, policy ${f.policySha256}, weights ${f.generatorSha256}.`,
            `Licence: ${recipe.licence}.`,
          ),
        ],
      },
      {
        title: 'Intended use',
        blocks: [
          text('Drawing synthetic images for teaching, for trying out software, and for pre-training and augmentation whose result is then tested on real images. It must not be used for:'), // prettier-ignore
          list(...MUST_NOT),
        ],
      },
      {
        title: 'Factors and evaluation data',
        blocks: [
          text('No attribute of patients was known in training, so that no factor but the class can be reported. Everything below was measured on images that the policy calls public; nothing private was looked at.'), // prettier-ignore
        ],
      },
      {
        title: 'Metrics',
        blocks:
          f.metrics.length === 0
            ? [text('None: no public images were given to measure on.')]
            : [
                table(
                  ['measure', 'value', 'on', 'what it says'],
                  f.metrics.map((m) => [m.name, m.value === null ? 'none' : number(m.value, 4), m.on, m.say]),
                ),
              ],
      },
      {
        title: 'Training data',
        blocks: [
          text(
            `Images of patients at ${epsilon.sites.length} sites; they never left them and are described by the sites alone. Every patient counts once, with at most ${privacy.imagesPerPatient} images.`,
          ),
        ],
      },
      {
        title: 'Privacy',
        blocks: [
          text(claimOf(f)),
          text('Whoever has the generator draws as many images as they like: all of them are covered by the same claim, and none costs more.'), // prettier-ignore
          text(gateSentence(f)),
          table(
            ['site', `epsilon it stated last${epsilon.delta === null ? '' : ` (delta ${epsilon.delta})`}`],
            epsilon.sites.map((s) => [s.siteId, showEpsilon(s.epsilon, 3)]),
          ),
        ],
      },
      { title: 'Ethical considerations, caveats and recommendations', blocks: [list(...LIMITS)] },
    ],
  };
}
