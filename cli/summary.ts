/** The summary of a run, for a person: what was shared, what it cost, what the images are worth, what is not promised. */
import { epsilonOfPolicy } from '../shared/policy/cost.ts';
import { showEpsilon } from '../shared/dp/show-epsilon.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { type Block, type Document, html, markdown, type Said, sectionOf, text } from './document.ts';
import { percent } from './evaluation-report.ts';
import type { RunSummary } from './run-folder.ts';

const whole = (x: number): string => String(Math.round(x));

const documentOf = (s: RunSummary, policy: CheckedPolicy, ...picture: Block[]): Document => ({
  title: `Run ${s.runId}`,
  lead: [text(`Policy ${policy.id}, version ${policy.version}.`), ...picture],
  sections: [shared(s, policy), cost(s, policy), worth(s, policy), claim(policy), files(s)].map(sectionOf),
});

function shared(s: RunSummary, policy: CheckedPolicy): Said {
  const scheme = policy.aggregation.scheme;
  return {
    title: 'What was shared',
    paragraphs: [
      `${s.epsilon.length} sites trained for ${s.rounds} rounds in ${whole(s.seconds)} seconds. No image left a site.`,
      policy.placement === 'pooled'
        ? `Every step of the one discriminator carried one vector a site: the summed gradients of its patients, each clipped, on a lattice of whole numbers, with the site’s share of the noise. The generator’s steps were taken at the coordinator, against a discriminator made of opened sums${policy.warmStart.kind === 'moments' ? '; the first rounds carried sums of features of the images instead, with shares of the noise as well' : ''}.`
        : `A round carried one vector a site: the clipped change of a generator of ${s.generatorParameters} parameters, computed from a noised discriminator and generated images alone${policy.warmStart.kind === 'moments' ? '; the first round carried noised sums of fixed features instead' : ''}.`,
      scheme === 'clear'
        ? `Aggregation was "clear": the coordinator could read every site’s update.${policy.placement === 'pooled' ? '' : ' Each was noised before it was sent.'}`
        : `Aggregation was "${scheme}": the coordinator could read the sum alone.`,
    ],
  };
}

function cost(s: RunSummary, policy: CheckedPolicy): Said {
  const { privacy } = policy;
  if (privacy.mechanism === 'none-insecure')
    return {
      title: 'What it cost',
      paragraphs: ['This run had NO privacy mechanism. Epsilon is infinite at every site.'],
    };
  return {
    title: 'What it cost',
    paragraphs: [
      `Epsilon at delta ${privacy.delta}, for one patient with ${privacy.imagesPerPatient === 1 ? 'one image' : `up to ${privacy.imagesPerPatient} images`} (one image, where the data name no patients) added or removed, by Rényi accounting of everything in each site’s ledger. The policy allows ${privacy.epsilon}; its own steps in full would spend ${showEpsilon(epsilonOfPolicy(policy).epsilon, 3)}.`,
    ],
    table: {
      head: ['site', 'epsilon spent'],
      rows: s.epsilon.map(({ siteId, epsilon }) => [siteId, showEpsilon(epsilon, 3)]),
    },
  };
}

function worth(s: RunSummary, policy: CheckedPolicy): Said {
  if (!s.synthetic)
    return {
      title: 'What the images are worth',
      paragraphs: ['Not measured: the policy declares no test set public.'],
    };
  const rows = policy.model.classes.map((name, k) => [
    name,
    percent(s.synthetic!.perClass[k]),
    s.real ? percent(s.real.perClass[k]) : 'not measured',
  ]);
  const total = ['all', percent(s.synthetic.accuracy), s.real ? percent(s.real.accuracy) : 'not measured'];
  return {
    title: 'What the images are worth',
    paragraphs: [
      `A small classifier was trained on ${s.images} synthetic images, and another on real images declared public for this comparison, where there are any; both were tested on other images declared public (${s.referenceName}). The order of the images and the first weights are fixed; nothing was chosen by the test.`,
    ],
    table: { head: ['class', 'trained on synthetic', 'trained on real'], rows: [...rows, total] },
  };
}

function claim(policy: CheckedPolicy): Said {
  const { privacy } = policy;
  const promised =
    privacy.mechanism === 'none-insecure'
      ? 'Nothing is promised: this policy has no mechanism.'
      : `Promised: whoever sees everything that left ${policy.placement === 'pooled' ? 'the sites but single updates, which nobody could open' : 'a site'}, the generator and these images can tell whether one patient of ${policy.placement === 'pooled' ? 'any' : 'that'} site (one image, where the data name no patients) took part only within (${privacy.epsilon}, ${privacy.delta})-differential privacy. That includes the coordinator and ${policy.pooled ? `up to ${policy.pooled.maxColluders} of the other sites working together` : 'the other sites'}.`;
  return {
    title: 'What the privacy claim is, and is not',
    paragraphs: [
      promised,
      `Not promised: that a site’s data are true; that timing and message sizes say nothing; that settings chosen by looking at earlier private results are covered; that ${policy.placement === 'pooled' ? 'a patient known at two sites has the epsilon of one (there is one sum for all, in which that patient counts as two)' : 'a patient known at two sites has one epsilon (theirs add up)'}. Tuning is not part of the stated epsilon.`,
      policy.id === 'demo-insecure' || policy.id.startsWith('demo')
        ? 'This is a demonstration policy. It is not for real patients.'
        : 'See SECURITY.md for the whole list.',
    ],
  };
}

function files(s: RunSummary): Said {
  return {
    title: 'Files',
    paragraphs: [
      `synthetic.png, ${s.files === 'all' ? 'images/ (PNG by class, labels.csv, synthetic.npz), generator.onnx with generator.json, ' : ''}policy.json (SHA-256 ${s.policySha256}), log.jsonl (${s.logEntries} entries, root ${s.logHead}).`,
    ],
  };
}

/** The summary as Markdown. */
export const summaryMarkdown = (s: RunSummary, policy: CheckedPolicy): string => markdown(documentOf(s, policy));

/** The same as one self-contained page, with the picture inside. */
export function summaryHtml(s: RunSummary, policy: CheckedPolicy, png: Uint8Array): string {
  const alt = `Synthetic images by class, beside ${s.referenceName}`;
  return html(documentOf(s, policy, { kind: 'picture', file: 'synthetic.png', alt, png }));
}
