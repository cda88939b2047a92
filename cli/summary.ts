/** The summary of a run, for a person: what was shared, what it cost, what the images are worth, what is not promised. */
import { epsilonOfPolicy } from '../shared/policy/cost.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import type { RunSummary } from './run-folder.ts';

interface Section {
  readonly title: string;
  readonly paragraphs: readonly string[];
  readonly table?: { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] };
}

const number = (x: number, digits = 3): string => (Number.isFinite(x) ? String(Number(x.toFixed(digits))) : 'infinite');
const percent = (x: number): string => (Number.isNaN(x) ? 'none in the test set' : `${(100 * x).toFixed(1)} %`);

function sections(s: RunSummary, policy: CheckedPolicy): Section[] {
  return [shared(s, policy), cost(s, policy), worth(s, policy), claim(policy), files(s)];
}

function shared(s: RunSummary, policy: CheckedPolicy): Section {
  const scheme = policy.aggregation.scheme;
  return {
    title: 'What was shared',
    paragraphs: [
      `${s.epsilon.length} sites trained for ${s.rounds} rounds in ${number(s.seconds, 0)} seconds. No image left a site.`,
      policy.placement === 'pooled'
        ? `Every step of the one discriminator carried one vector a site: the summed gradients of its patients, each clipped, on a lattice of whole numbers, with the site’s share of the noise. The generator’s steps were taken at the coordinator, against a discriminator made of opened sums${policy.warmStart.kind === 'moments' ? '; the first rounds carried sums of features of the images instead, with shares of the noise as well' : ''}.`
        : `A round carried one vector a site: the clipped change of a generator of ${s.generatorParameters} parameters, computed from a noised discriminator and generated images alone${policy.warmStart.kind === 'moments' ? '; the first round carried noised sums of fixed features instead' : ''}.`,
      scheme === 'clear'
        ? `Aggregation was "clear": the coordinator could read every site’s update.${policy.placement === 'pooled' ? '' : ' Each was noised before it was sent.'}`
        : `Aggregation was "${scheme}": the coordinator could read the sum alone.`,
    ],
  };
}

function cost(s: RunSummary, policy: CheckedPolicy): Section {
  const { privacy } = policy;
  if (privacy.mechanism === 'none-insecure')
    return {
      title: 'What it cost',
      paragraphs: ['This run had NO privacy mechanism. Epsilon is infinite at every site.'],
    };
  return {
    title: 'What it cost',
    paragraphs: [
      `Epsilon at delta ${privacy.delta}, for one patient with ${privacy.imagesPerPatient === 1 ? 'one image' : `up to ${privacy.imagesPerPatient} images`} (one image, where the data name no patients) added or removed, by Rényi accounting of everything in each site’s ledger. The policy allows ${privacy.epsilon}; its own steps in full would spend ${number(epsilonOfPolicy(policy).epsilon)}.`,
    ],
    table: { head: ['site', 'epsilon spent'], rows: s.epsilon.map(({ siteId, epsilon }) => [siteId, number(epsilon)]) },
  };
}

function worth(s: RunSummary, policy: CheckedPolicy): Section {
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

function claim(policy: CheckedPolicy): Section {
  const { privacy } = policy;
  const promised =
    privacy.mechanism === 'none-insecure'
      ? 'Nothing is promised: this policy has no mechanism.'
      : `Promised: whoever sees everything that left ${policy.placement === 'pooled' ? 'the sites but single updates, which nobody could open' : 'a site'}, the generator and these images can tell whether one patient of ${policy.placement === 'pooled' ? 'any' : 'that'} site (one image, where the data name no patients) took part only within (${privacy.epsilon}, ${privacy.delta})-differential privacy. That includes the coordinator and ${policy.pooled ? `up to ${policy.pooled.maxColluders} of the other sites working together` : 'the other sites'}.`;
  return {
    title: 'What the privacy claim is, and is not',
    paragraphs: [
      promised,
      `Not promised: that a site’s data are true; that timing and message sizes say nothing; that settings chosen by looking at earlier private results are covered; that a patient known at two sites has one epsilon (theirs add up). Tuning is not part of the stated epsilon.`,
      policy.id === 'demo-insecure' || policy.id.startsWith('demo')
        ? 'This is a demonstration policy. It is not for real patients.'
        : 'See SECURITY.md for the whole list.',
    ],
  };
}

function files(s: RunSummary): Section {
  return {
    title: 'Files',
    paragraphs: [
      `synthetic.png, images/ (PNG by class, labels.csv, synthetic.npz), generator.onnx with generator.json, policy.json (SHA-256 ${s.policySha256}), log.jsonl (${s.logEntries} entries, root ${s.logHead}).`,
    ],
  };
}

/** The summary as Markdown. */
export function summaryMarkdown(s: RunSummary, policy: CheckedPolicy): string {
  const blocks = sections(s, policy).map(({ title, paragraphs, table }) => {
    const lines = [`## ${title}`, ...paragraphs];
    if (table) {
      // A bar or a line break in a name would end its cell.
      const cell = (text: string) => text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|');
      const row = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
      lines.push([row(table.head), row(table.head.map(() => '---')), ...table.rows.map(row)].join('\n'));
    }
    return lines.join('\n\n');
  });
  return `# Run ${s.runId}\n\nPolicy ${policy.id}, version ${policy.version}.\n\n${blocks.join('\n\n')}\n`;
}

const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** The same as one self-contained page, with the picture inside. */
export function summaryHtml(s: RunSummary, policy: CheckedPolicy, picture: Uint8Array): string {
  const cells = (tag: 'th' | 'td', row: readonly string[]) => row.map((c) => `<${tag}>${escape(c)}</${tag}>`).join('');
  const body = sections(s, policy).map(({ title, paragraphs, table }) => {
    const rows = table?.rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('') ?? '';
    const grid = table ? `<table><tr>${cells('th', table.head)}</tr>${rows}</table>` : '';
    return `<h2>${escape(title)}</h2>${paragraphs.map((p) => `<p>${escape(p)}</p>`).join('')}${grid}`;
  });
  const image = `<img alt="Synthetic images by class, beside ${escape(s.referenceName)}" src="data:image/png;base64,${Buffer.from(picture).toString('base64')}">`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Run ${escape(s.runId)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.25rem .75rem;text-align:left}
img{max-width:100%}p{overflow-wrap:anywhere}</style></head>
<body><h1>Run ${escape(s.runId)}</h1><p>Policy ${escape(policy.id)}, version ${policy.version}.</p>${image}
${body.join('\n')}
</body></html>
`;
}
