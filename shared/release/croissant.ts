/**
 * A release as MLCommons Croissant describes data sets: JSON-LD that search engines and loaders read.
 * @see Croissant 1.1 (2026-01-29), https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html ; the words for
 *   responsible use: Croissant RAI 1.0 (2024-03-06)
 */
import type { ReleasedFile } from './manifest.ts';

export const CROISSANT = 'http://mlcommons.org/croissant/1.1';
export const CROISSANT_RAI = 'http://mlcommons.org/croissant/RAI/1.0';

/** What only words can say, each a sentence or more. */
export interface RaiWords {
  readonly collection: string;
  readonly rawData: string;
  readonly preprocessing: readonly string[];
  readonly annotation: string;
  readonly personal: readonly string[];
  readonly biases: readonly string[];
  readonly limitations: readonly string[];
  readonly useCases: readonly string[];
  readonly socialImpact: string;
  readonly maintenance: readonly string[];
}

export interface CroissantOf {
  readonly name: string;
  readonly description: string;
  readonly url: string;
  readonly licence: string;
  readonly creator: string;
  readonly date: string;
  /** The release's digest: what a citation has to name. */
  readonly release: string;
  readonly classes: readonly string[];
  readonly files: 'png' | 'dicom';
  /** Single files besides the images, with their digests. */
  readonly listed: readonly ReleasedFile[];
  readonly words: RaiWords;
}

/** Appendix 1 of the specification, as far as we use it. */
const CONTEXT = {
  '@language': 'en',
  '@vocab': 'http://schema.org/',
  sc: 'http://schema.org/',
  cr: 'http://mlcommons.org/croissant/',
  rai: 'http://mlcommons.org/croissant/RAI/',
  dct: 'http://purl.org/dc/terms/',
  citeAs: 'cr:citeAs',
  column: 'cr:column',
  conformsTo: 'dct:conformsTo',
  containedIn: 'cr:containedIn',
  data: { '@id': 'cr:data', '@type': '@json' },
  dataType: { '@id': 'cr:dataType', '@type': '@vocab' },
  examples: { '@id': 'cr:examples', '@type': '@json' },
  excludes: 'cr:excludes',
  extract: 'cr:extract',
  field: 'cr:field',
  fileProperty: 'cr:fileProperty',
  fileObject: 'cr:fileObject',
  fileSet: 'cr:fileSet',
  format: 'cr:format',
  includes: 'cr:includes',
  isLiveDataset: 'cr:isLiveDataset',
  jsonPath: 'cr:jsonPath',
  key: 'cr:key',
  md5: 'cr:md5',
  parentField: 'cr:parentField',
  recordSet: 'cr:recordSet',
  references: 'cr:references',
  regex: 'cr:regex',
  sdVersion: 'cr:sdVersion',
  separator: 'cr:separator',
  source: 'cr:source',
  subField: 'cr:subField',
  transform: 'cr:transform',
  value: 'cr:value',
} as const;

/** A licence as Croissant wants it: an address, of SPDX's list where a short name was given. */
export const licenceUrl = (licence: string): string =>
  /^[A-Za-z0-9.+-]+$/.test(licence) ? `https://spdx.org/licenses/${licence}.html` : licence;

const TYPES: Readonly<Record<string, string>> = {
  csv: 'text/csv',
  npz: 'application/x-npz',
  onnx: 'application/octet-stream',
  json: 'application/json',
  md: 'text/markdown',
  html: 'text/html',
  png: 'image/png',
};

/** @returns a JSON-LD document, to be written as it is. */
export function croissant(o: CroissantOf): Record<string, unknown> {
  const isPng = o.files === 'png';
  return {
    '@context': CONTEXT,
    '@type': 'sc:Dataset',
    conformsTo: [CROISSANT, CROISSANT_RAI],
    name: o.name,
    description: o.description,
    url: o.url,
    license: licenceUrl(o.licence),
    creator: { '@type': 'sc:Organization', name: o.creator },
    datePublished: o.date,
    version: '1.0.0',
    inLanguage: 'en',
    keywords: ['synthetic data', 'medical imaging', 'differential privacy', 'federated learning', 'VeilGAN'],
    isLiveDataset: false,
    citeAs: `@misc{veilgan-${o.release.slice(0, 12)}, title = {${o.name.replaceAll(/[{}\\]/g, '')}}, author = {{${o.creator.replaceAll(/[{}\\]/g, '')}}}, year = {${o.date.slice(0, 4)}}, note = {Synthetic images, release ${o.release}}}`,
    distribution: [
      ...o.listed.map((file) => ({
        '@type': 'cr:FileObject',
        '@id': file.name,
        name: file.name,
        contentUrl: file.name,
        contentSize: `${file.bytes} B`,
        encodingFormat: TYPES[file.name.split('.').at(-1) ?? ''] ?? 'application/octet-stream',
        sha256: file.sha256,
      })),
      {
        '@type': 'cr:FileSet',
        '@id': 'image-files',
        name: 'image-files',
        description: 'One file an image, in a folder a class; release.json and labels.csv have the digest of each.',
        encodingFormat: isPng ? 'image/png' : 'application/dicom',
        includes: isPng ? 'images/*/*.png' : 'images/*/*.dcm',
      },
    ],
    recordSet: [classSet(o.classes), labelSet(), imageSet(isPng)],
    'rai:dataCollection': o.words.collection,
    'rai:dataCollectionType': ['Others'],
    'rai:dataCollectionRawData': o.words.rawData,
    'rai:dataPreprocessingProtocol': o.words.preprocessing,
    'rai:dataAnnotationProtocol': o.words.annotation,
    'rai:personalSensitiveInformation': o.words.personal,
    'rai:dataBiases': o.words.biases,
    'rai:dataLimitations': o.words.limitations,
    'rai:dataUseCases': o.words.useCases,
    'rai:dataSocialImpact': o.words.socialImpact,
    'rai:dataReleaseMaintenancePlan': o.words.maintenance,
  };
}

const id = (name: string) => ({ '@id': name });

const classSet = (classes: readonly string[]) => ({
  '@type': 'cr:RecordSet',
  ...id('classes'),
  name: 'classes',
  description: 'The classes that images were asked for by, with their label numbers.',
  dataType: 'sc:Enumeration',
  key: id('classes/name'),
  field: [
    { '@type': 'cr:Field', ...id('classes/name'), name: 'name', dataType: 'sc:Text' },
    { '@type': 'cr:Field', ...id('classes/index'), name: 'index', dataType: 'sc:Integer' },
  ],
  data: classes.map((name, index) => ({ 'classes/name': name, 'classes/index': index })),
});

const column = (set: string, name: string, dataType: string | string[], more: object = {}) => ({
  '@type': 'cr:Field',
  ...id(`${set}/${name}`),
  name,
  dataType,
  source: { fileObject: id('labels.csv'), extract: { column: name } },
  ...more,
});

const labelSet = () => ({
  '@type': 'cr:RecordSet',
  ...id('labels'),
  name: 'labels',
  description: 'One row an image: its file, its class, its label number, and the SHA-256 of the file.',
  key: id('labels/file'),
  field: [
    column('labels', 'file', 'sc:Text'),
    column('labels', 'label', ['sc:Text', 'cr:Label'], { references: { field: id('classes/name') } }),
    column('labels', 'index', 'sc:Integer'),
    column('labels', 'sha256', 'sc:Text'),
  ],
});

const ofFile = (name: string, dataType: string, fileProperty: string, more: object = {}) => ({
  '@type': 'cr:Field',
  ...id(`images/${name}`),
  name,
  dataType,
  source: { fileSet: id('image-files'), extract: { fileProperty } },
  ...more,
});

const imageSet = (isPng: boolean) => ({
  '@type': 'cr:RecordSet',
  ...id('images'),
  name: 'images',
  description: 'One record an image file; its class is in the record of labels with the same file.',
  key: id('images/file'),
  field: [
    ofFile('file', 'sc:Text', 'fullpath', { references: { field: id('labels/file') } }),
    ...(isPng ? [ofFile('image', 'sc:ImageObject', 'content')] : []),
  ],
});
