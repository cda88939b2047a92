/**
 * Our description against the published specification, Croissant 1.1 (2026-01-29) and RAI 1.0 (2024-03-06): what each
 * section requires, and how many of it. The reference implementation cannot be installed beside this project.
 */
import { expect, test } from 'vitest';
import { croissant, CROISSANT, CROISSANT_RAI, type CroissantOf, licenceUrl } from '../../shared/release/croissant.ts';

type Node = Record<string, unknown>;
const words = { collection: 'c', rawData: 'r', preprocessing: ['p'], annotation: 'a', personal: ['n'], biases: ['b'], limitations: ['l'], useCases: ['u'], socialImpact: 's', maintenance: ['m'] }; // prettier-ignore
const of: CroissantOf = {
  ...{
    name: 'n',
    description: 'd',
    url: 'https://example.org/x',
    licence: 'CC-BY-4.0',
    creator: 'c',
    date: '2026-11-28',
  },
  ...{ release: 'ab'.repeat(32), classes: ['a', 'b'], files: 'png', words },
  listed: ['labels.csv', 'synthetic.npz', 'generator.onnx'].map((name) => ({
    name,
    sha256: 'cd'.repeat(32),
    bytes: 3,
  })),
};

const nodes = (value: unknown): Node[] =>
  value === null || typeof value !== 'object' ? [] : [...(Array.isArray(value) ? [] : [value as Node]), ...Object.values(value).flatMap(nodes)]; // prettier-ignore
const typed = (root: Node, type: string) => nodes(root).filter((n) => n['@type'] === type);
const isText = (value: unknown): boolean => typeof value === 'string' && value.length > 0;
const many = (value: unknown): unknown[] => (Array.isArray(value) ? (value as unknown[]) : [value]);

/** What is wrong with a description, by section of the specification. */
function wrong(root: Node): string[] {
  const found: string[] = [];
  const want = (holds: boolean, what: string) => void (holds || found.push(what));
  // "Dataset-level information", required.
  want(typeof root['@context'] === 'object', '@context');
  want(root['@type'] === 'sc:Dataset', '@type');
  want(many(root['conformsTo']).includes(CROISSANT), 'conformsTo');
  for (const key of ['name', 'description', 'url', 'license']) want(isText(root[key]), key);
  want(
    many(root['creator']).every((c) => isText((c as Node)?.['name'])),
    'creator',
  );
  want(/^\d{4}-\d\d-\d\d/.test(String(root['datePublished'])), 'datePublished');
  want(/^\d+\.\d+\.\d+$/.test(String(root['version'])), 'version');
  // "Resources".
  const distribution = many(root['distribution']) as Node[];
  want(distribution.length > 0 && distribution.every((d) => /^cr:File(Object|Set)$/.test(String(d?.['@type']))), 'distribution'); // prettier-ignore
  for (const file of typed(root, 'cr:FileObject')) {
    for (const key of ['@id', 'name', 'contentUrl', 'encodingFormat', 'contentSize']) want(isText(file[key]), `FileObject ${key}`); // prettier-ignore
    want(/^[0-9a-f]{64}$/.test(String(file['sha256'])), 'FileObject sha256');
  }
  for (const set of typed(root, 'cr:FileSet'))
    for (const key of ['@id', 'name', 'encodingFormat', 'includes']) want(isText(set[key]), `FileSet ${key}`);
  // "RecordSets": fields with a type and a source, unless the records are in the description.
  const sets = typed(root, 'cr:RecordSet');
  want(sets.length > 0, 'recordSet');
  for (const set of sets) {
    const fields = many(set['field']) as Node[];
    want(
      fields.every((f) => isText(f['@id']) && String(f['@id']).startsWith(`${String(set['@id'])}/`)),
      'Field @id',
    );
    for (const field of fields) {
      want(
        many(field['dataType']).every((t) => /^(sc|cr):[A-Z]/.test(String(t))),
        'Field dataType',
      );
      const source = field['source'] as Node | undefined;
      const [inline] = many(set['data'] ?? null) as (Node | null)[];
      if (source === undefined) want(inline !== null && String(field['@id']) in inline, 'Field source or data');
      else want(('fileObject' in source || 'fileSet' in source) && typeof source['extract'] === 'object', 'DataSource');
    }
  }
  // "ID and reference mechanism": an @id is defined once, and a reference names one that is.
  const defined = nodes(root).filter((n) => '@id' in n && '@type' in n && isText(n['@id'])).map((n) => n['@id']); // prettier-ignore
  want(new Set(defined).size === defined.length, 'an @id twice');
  const references = nodes({ ...root, '@context': null }).filter((n) => '@id' in n && Object.keys(n).length === 1);
  want(references.length > 0 && references.every((n) => defined.includes(n['@id'])), 'a reference to nothing');
  // Every alias that is used stands in the context, or is schema.org's.
  const context = root['@context'] as Node;
  for (const key of ['conformsTo', 'recordSet', 'field', 'source', 'extract', 'fileObject', 'fileSet', 'column', 'fileProperty', 'includes', 'references', 'dataType', 'data', 'key', 'citeAs', 'isLiveDataset']) want(key in context, `@context ${key}`); // prettier-ignore
  // RAI 1.0.
  want(many(root['conformsTo']).includes(CROISSANT_RAI), 'conformsTo RAI');
  want('rai' in context, '@context rai');
  for (const key of ['dataCollection', 'dataBiases', 'dataLimitations', 'dataUseCases', 'personalSensitiveInformation', 'dataReleaseMaintenancePlan', 'dataSocialImpact']) want(many(root[`rai:${key}`]).every(isText), `rai:${key}`); // prettier-ignore
  return found;
}

test.each(['png', 'dicom'] as const)('%s: every section has what it requires', (files) => {
  expect(wrong(croissant({ ...of, files }))).toEqual([]);
});

test('positive controls: what is left out is found', () => {
  const without = (key: string) => Object.fromEntries(Object.entries(croissant(of)).filter(([k]) => k !== key));
  for (const key of [
    '@context',
    'license',
    'url',
    'creator',
    'datePublished',
    'distribution',
    'recordSet',
    'conformsTo',
    'rai:dataBiases',
  ])
    // prettier-ignore
    expect([key, wrong({ '@context': {}, ...without(key) }).length > 0]).toEqual([key, true]);
  const broken = JSON.parse(JSON.stringify(croissant(of)).replace('"labels/file"}', '"labels/none"}')) as Node;
  expect(wrong(broken)).toContain('a reference to nothing');
});

test('licences become addresses, as Croissant asks for', () => {
  expect(licenceUrl('CC-BY-4.0')).toBe('https://spdx.org/licenses/CC-BY-4.0.html');
  expect(licenceUrl('https://example.org/terms')).toBe('https://example.org/terms');
});
