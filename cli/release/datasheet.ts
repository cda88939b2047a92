/**
 * The datasheet of a release, after Gebru et al. 2021, "Datasheets for Datasets", Communications of the ACM 64(12): its
 * seven sections and their questions. What policy, log and measurements know is answered from them. What they cannot
 * know stays a question, unless the publisher has answered it.
 */
import { showEpsilon } from '../../shared/dp/show-epsilon.ts';
import { z } from 'zod';
import { FedError } from '../../shared/errors.ts';
import { type Block, type Document, list, table, text } from '../document.ts';
import {
  BALANCE_HEAD,
  claimOf,
  classRows,
  demonstration,
  type Facts,
  gateSentence,
  isOversampled,
  LIMITS,
  MUST_NOT,
  number,
} from './facts.ts';

/** Answers of the publisher: a question's id, and a text. */
export const AnswersFile = z.record(z.string(), z.string().min(1));

interface Question {
  readonly id: string;
  readonly ask: string;
  /** Null: nothing here can know. */
  readonly answer: readonly Block[] | null;
}

const ask = (id: string, question: string, ...answer: readonly (string | Block)[]): Question => ({
  id,
  ask: question,
  answer: answer.length === 0 ? null : answer.map((a) => (typeof a === 'string' ? text(a) : a)),
});

export interface DatasheetOf {
  readonly facts: Facts;
  /** A contact sheet of the images; also in the folder as `samples.png`. */
  readonly samples: Uint8Array;
}

/** Questions by section, with what is known. */
function questions(f: Facts): [title: string, questions: Question[]][] {
  return [
    ['Motivation', motivation(f)],
    ['Composition', composition(f)],
    ['Collection process', collection(f)],
    ['Preprocessing, cleaning, labeling', preprocessing(f)],
    ['Uses', uses(f)],
    ['Distribution', distribution(f)],
    ['Maintenance', maintenance(f)],
  ];
}

/** @throws {FedError} PARAMETER_INVALID for an answer to no question. */
export function datasheet({ facts, samples }: DatasheetOf): Document {
  const sections = questions(facts);
  const ids = sections.flatMap(([, all]) => all.map((q) => q.id));
  const unknown = Object.keys(facts.answers).find((id) => !ids.includes(id));
  if (unknown !== undefined)
    throw new FedError('PARAMETER_INVALID', `no question "${unknown}" in the datasheet; there are ${ids.join(', ')}`);
  const { recipe, recipeSha256, made } = facts;
  return {
    title: `Datasheet: ${facts.title}`,
    lead: [
      text(
        `${facts.images} synthetic images of ${recipe.classes.length} classes, drawn from one generator on ${made.date}. Release ${recipeSha256}. No image shows a patient.`,
      ),
      ...demonstration(facts).map(text),
      text(claimOf(facts)),
      text(gateSentence(facts)),
      { kind: 'picture', file: 'samples.png', alt: 'The first images of every class', png: samples },
    ],
    sections: sections.map(([title, all]) => ({ title, blocks: all.flatMap((q) => blocksOf(q, facts.answers[q.id])) })),
  };
}

function blocksOf({ id, ask: question, answer }: Question, given: string | undefined): Block[] {
  const said = given === undefined ? (answer ?? [text(`OPEN: only the publisher can answer this (question "${id}").`)]) : [...(answer ?? []), text(`The publisher: ${given}`)]; // prettier-ignore
  return [{ kind: 'heading', text: question }, ...said];
}

const motivation = ({ policy, log, epsilon }: Facts): Question[] => [
  ask(
    'purpose',
    'For what purpose was the dataset created?',
    'To let people work with images like those of hospitals that may not share their patients’ images. For which task it is meant, the publisher has to say.',
  ),
  ask(
    'creators',
    'Who created the dataset, and on behalf of which entity?',
    `A consortium of ${epsilon.sites.length} sites (${epsilon.sites.map((s) => s.siteId).join(', ')}) and a coordinator, under policy "${policy.id}", version ${policy.version}, in ${log.rounds} rounds of training.`,
  ),
  ask('funding', 'Who funded the creation of the dataset?'),
];

function composition(f: Facts): Question[] {
  const { policy, recipe } = f;
  const { imageSize, channels } = policy.model;
  const pixels = `${imageSize} × ${imageSize} pixels, ${channels === 1 ? 'grey' : 'colour'}, ${recipe.bits} bits`;
  return [
    ask(
      'instances',
      'What do the instances represent?',
      `Single synthetic images: ${pixels}, as ${recipe.files === 'png' ? 'PNG' : 'DICOM Secondary Capture'}, each with the class it was asked for. None of them is of a person.`,
    ),
    ask(
      'count',
      'How many instances are there in total, of each type?',
      `${f.images} images.`,
      table(BALANCE_HEAD, classRows(f)),
      ...(isOversampled(f)
        ? [
            'Some classes were drawn more often than the policy’s public shares would: a classifier trained on these images learns another balance than any clinic has.',
          ]
        : []),
    ),
    ask(
      'sample',
      'Does the dataset contain all possible instances, or is it a sample of a larger set?',
      'A sample: the generator, which is in this folder, draws as many more as one likes, at no further cost in privacy.',
    ),
    ask('data', 'What data does each instance consist of?', 'The pixels, the class, and marks that say that it is synthetic and of which release. No attribute of a patient.'), // prettier-ignore
    ask(
      'labels',
      'Is there a label or target associated with each instance?',
      'Yes: the class that the generator was asked for, in labels.csv, in the names of folders, and in synthetic.npz. It was not checked by looking.',
    ),
    ask('missing', 'Is any information missing from individual instances?', 'No.'),
    ask('relationships', 'Are relationships between individual instances made explicit?', 'There are none: each image has a latent vector of its own. No two belong to one patient, since there is none.'), // prettier-ignore
    ask(
      'splits',
      'Are there recommended data splits?',
      'All images are for training. synthetic.npz has MedMNIST’s keys; its parts for validation and test are empty, because results have to be shown on real images.',
    ),
    ask('errors', 'Are there any errors, sources of noise, or redundancies?', list(...LIMITS)),
    ask(
      'selfContained',
      'Is the dataset self-contained?',
      'Yes. Nothing in the folder refers to anything outside it, but for addresses of vocabularies and of the licence.',
    ),
    ask(
      'confidential',
      'Does the dataset contain data that might be considered confidential?',
      claimOf(f),
      'Images were trained on that are confidential; none of them is in this folder.',
    ),
    ask('offensive', 'Might the data, if viewed directly, be offensive or cause anxiety?', 'They are images of the kind that the classes name; some people are distressed by those.'), // prettier-ignore
    ask('subpopulations', 'Does the dataset identify any subpopulations?', 'No. Nothing but the class is known of an image.'), // prettier-ignore
    ask(
      'identifiable',
      'Is it possible to identify individuals, directly or indirectly?',
      claimOf(f),
      gateSentence(f),
      ...gateTable(f),
      'Identifiers in the files (DICOM UIDs, file names, the patient called SYNTHETIC) are made up from digests.',
    ),
    ask('sensitive', 'Does the dataset contain data that might be considered sensitive?', 'The classes may be diagnoses, of nobody.'), // prettier-ignore
  ];
}

function gateTable({ gate }: Facts): Block[] {
  if (gate === null) return [];
  const rows = gate.findings.map((x) => [
    x.bound,
    x.limit === null ? '–' : number(x.limit),
    x.measured === null ? '–' : number(x.measured),
    x.unit,
    x.say,
  ]);
  return [table(['bound', 'limit', 'measured', 'unit', 'in words'], rows)];
}

function collection(f: Facts): Question[] {
  const { epsilon, policy, log, made } = f;
  const placement =
    policy.placement === 'pooled'
      ? 'one discriminator that all sites stepped together on secure sums'
      : 'a discriminator at every site';
  const mechanism =
    policy.privacy.mechanism === 'none-insecure'
      ? 'without any privacy mechanism'
      : `under differential privacy: patients’ gradients clipped to ${policy.privacy.clipNorm}, noise of ${policy.privacy.noiseMultiplier} times that on their sum`;
  return [
    ask(
      'acquired',
      'How was the data associated with each instance acquired?',
      `Drawn from a generator. It was trained over ${log.rounds} rounds with ${placement}, ${mechanism}; updates were added up by "${policy.aggregation.scheme}". The sites’ images never left them.`,
      table(
        ['site', `epsilon it stated last${epsilon.delta === null ? '' : ` (delta ${epsilon.delta})`}`],
        epsilon.sites.map((s) => [s.siteId, showEpsilon(s.epsilon, 3)]),
      ),
      `Epsilon is for one patient added or removed, by Rényi accounting of everything in the site’s ledger for this run. ${policy.placement === 'pooled' ? 'A patient who is known at two sites counts as two in the one sum of all, beyond that epsilon' : 'For a patient who is known at two sites, theirs add up'}. Settings that were chosen by trying are in no epsilon.`,
    ),
    ask(
      'mechanisms',
      'What mechanisms or procedures were used to collect the data, and how were they validated?',
      `${made.software}, ${made.engine}. The log of the run (${log.entries} entries, root ${log.root}) can be audited offline: veilgan audit verify.`,
    ),
    ask('sampling', 'If the dataset is a sample, what was the sampling strategy?', `Independent standard normal latent vectors from the public seed "${f.recipe.seed}"; class counts as in the table above. No image was left out or chosen by its looks.`), // prettier-ignore
    ask('workers', 'Who was involved in the data collection, and how were they compensated?'),
    ask('timeframe', 'Over what timeframe was the data collected?', `The images were drawn on ${made.date}. When the images at the sites were taken is not known here.`), // prettier-ignore
    ask('ethics', 'Were any ethical review processes conducted?'),
    ask('individuals', 'Did you collect the data from individuals directly, or via third parties?', 'Neither: the images are synthetic. Those that were trained on are the sites’ own.'), // prettier-ignore
    ask('notified', 'Were the individuals whose images were trained on notified?'),
    ask('consent', 'Did they consent to the collection and use of their images?'),
    ask('revoke', 'Can consent be revoked in the future?', 'Not from this generator: it cannot be made to forget. A site can withdraw from later rounds and runs.'), // prettier-ignore
    ask('impact', 'Has an analysis of the potential impact on data subjects been conducted?'),
  ];
}

const preprocessing = ({ policy, recipe }: Facts): Question[] => [
  ask(
    'preprocessed',
    'Was any preprocessing, cleaning or labeling of the data done?',
    `At the sites: images were brought to ${policy.model.imageSize} pixels a side${policy.imaging ? ` by the recipe "${policy.imaging.recipe}", and pictures with text burned into them were treated by "${policy.imaging.burnedIn}"` : ''}. Here: values were rounded to ${recipe.bits} bits${recipe.mark === 'corner' ? ', and SYN was drawn into the lower right corner of every image, over what was there' : ''}.`,
  ),
  ask('raw', 'Was the raw data saved in addition?', 'There is none: the same images can be drawn again from the generator and the seed.'), // prettier-ignore
  ask('software', 'Is the software used for it available?', `Yes: ${recipe.tool}, under Apache-2.0.`),
];

const uses = ({ metrics }: Facts): Question[] => [
  ask('used', 'Has the dataset been used for any tasks already?', ...metricBlocks(metrics)),
  ask('repository', 'Is there a repository that links to papers or systems that use the dataset?'),
  ask('tasks', 'What other tasks could the dataset be used for?', 'Teaching; trying out software that reads such images; pre-training and augmentation, where the result is then tested on real images.'), // prettier-ignore
  ask('composition', 'Is there anything about the composition or collection that might impact future uses?', list(...LIMITS)), // prettier-ignore
  ask('mustNot', 'Are there tasks for which the dataset must not be used?', list(...MUST_NOT)),
];

const metricBlocks = (metrics: Facts['metrics']): (string | Block)[] =>
  metrics.length === 0
    ? ['Not by us: no public images were given to measure anything on, so that nothing is known of what these are worth for a task.'] // prettier-ignore
    : [
        'For what was measured when they were drawn, on images that the policy calls public:',
        table(
          ['measure', 'value', 'on', 'what it says'],
          metrics.map((m) => [m.name, m.value === null ? 'none' : number(m.value, 4), m.on, m.say]),
        ),
      ];

const distribution = ({ recipe, signer, creator }: Facts): Question[] => [
  ask('thirdParties', 'Will the dataset be distributed to third parties?', `It was made to be, by ${creator}.`),
  ask('how', 'How will the dataset be distributed?', `As this folder. release.json lists a SHA-256 for every file, and release.jws is the coordinator’s signature over it (key ${signer.kid}). Compare that fingerprint with one that you got by another way.`), // prettier-ignore
  ask('when', 'When will the dataset be distributed?'),
  ask('licence', 'Will it be distributed under a copyright or other licence?', `Yes: ${recipe.licence}, as the publisher chose it.`), // prettier-ignore
  ask('thirdPartyRights', 'Have any third parties imposed restrictions on the data?'),
  ask('exportControls', 'Do any export controls or other regulatory restrictions apply?'),
];

const maintenance = ({ recipeSha256, url }: Facts): Question[] => [
  ask('maintainer', 'Who will be supporting, hosting and maintaining the dataset?'),
  ask('contact', 'How can the owner or manager of the dataset be contacted?'),
  ask(
    'erratum',
    'Is there an erratum?',
    'Not with this folder: it never changes. An erratum would be another release.',
  ),
  ask('updates', 'Will the dataset be updated?', `Not this release, which ${recipeSha256} names for good. Whether others follow is the publisher’s to say.`), // prettier-ignore
  ask('retention', 'Are there limits on the retention of the data?', 'None that the software knows of: nothing in it is of a person.'), // prettier-ignore
  ask('older', 'Will older versions continue to be available?'),
  ask('contribute', 'If others want to extend the dataset, can they?', `The generator is in the folder: veilgan generate draws more. ${url.startsWith('http') ? `The dataset’s page is ${url}.` : ''}`.trim()), // prettier-ignore
];
