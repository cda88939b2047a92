/** Which images a site command reads, and what `site check` says of them. */
import { countByClass } from '../shared/imaging/images.ts';
import type { BadFile } from '../shared/imaging/source.ts';
import { samplingOf } from '../shared/policy/cost.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { declaredClasses } from '../shared/policy/views.ts';
import { type DatasetOptions, readPrivateImages } from '../site-agent/imaging/read-dataset.ts';
import type { SiteFolder } from './site-folder.ts';

export interface DataOptions {
  readonly data: string;
  readonly labels?: string;
  readonly split?: 'train' | 'val' | 'test';
  readonly onBadFile: 'refuse' | 'skip';
}

/** Size, channels and classes come from the policy; where the images lie, from the site's operator. */
export function datasetOptions(policy: CheckedPolicy, o: Omit<DataOptions, 'data'>): DatasetOptions {
  const { imageSize: size, channels, classes } = policy.model;
  return {
    size,
    channels,
    classes,
    onBadFile: o.onBadFile,
    ...(o.labels === undefined ? {} : { labels: o.labels }),
    ...(o.split === undefined ? {} : { split: o.split }),
  };
}

/** Private: true counts, for the site's own operator. */
export interface DataReport {
  readonly images: number;
  readonly patients: number;
  readonly patientsKnown: boolean;
  readonly classes: readonly { readonly name: string; readonly images: number; readonly patients: number }[];
  readonly bad: readonly BadFile[];
  /** What would keep the site from taking part, one sentence each. */
  readonly findings: readonly string[];
}

/** Reads everything, with bad files reported and not refused. Nothing is sent. */
export async function checkData(folder: SiteFolder, o: DataOptions): Promise<DataReport> {
  const { policy, enrolment } = folder;
  const { images, bad } = await readPrivateImages(o.data, datasetOptions(policy, { ...o, onBadFile: 'skip' }));
  const perClass = countByClass(images);
  const holders = policy.model.classes.map(
    (_, k) => images.patientGroups.filter((p) => p.images.some((i) => images.labels[i] === k)).length,
  );
  const findings: string[] = [];
  const declared = new Set(declaredClasses(policy, enrolment.siteId));
  policy.model.classes.forEach((name, k) => {
    if (perClass[k] > 0 && !declared.has(k)) findings.push(`The policy does not list class ${name} for this site.`);
    if (perClass[k] === 0 && declared.has(k))
      findings.push(`The policy lists class ${name}, of which there is no image.`);
  });
  const { patientsAtMost } = samplingOf(policy, enrolment.siteId);
  const patients = images.patientGroups.length;
  if (patients > patientsAtMost)
    findings.push(`There are ${patients} patients; the policy’s numbers hold for at most ${patientsAtMost}.`);
  if (bad.length > 0) findings.push(`${bad.length} files cannot be read; --on-bad-file skip leaves them out.`);
  return {
    images: images.n,
    patients,
    patientsKnown: images.patientsKnown,
    classes: policy.model.classes.map((name, k) => ({ name, images: perClass[k], patients: holders[k] })),
    bad,
    findings,
  };
}

export function dataText(r: DataReport): string {
  const unit = r.patientsKnown
    ? `${r.patients} patients`
    : 'no patient is named, so that every image counts as a patient of its own and the claim protects single images';
  return [
    `${r.images} images, ${unit}`,
    ...r.classes.map((c) => `  ${c.name}: ${c.images} images, ${c.patients} patients`),
    ...r.bad.map((b) => `  cannot be read: ${b.file}: ${b.reason}`),
    ...r.findings,
    'These counts are private. Nothing was sent.',
  ].join('\n');
}
