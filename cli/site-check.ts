/** `site check`: what a site's images are, what would be left out and why, and whether a policy can make anything of them. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isIdxName } from '../shared/imaging/idx-source.ts';
import { countByClass } from '../shared/imaging/images.ts';
import type { BadFile } from '../shared/imaging/source.ts';
import { samplingOf } from '../shared/policy/cost.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { declaredClasses } from '../shared/policy/views.ts';
import { type SiteSize, siteSize } from '../site-agent/core/site-size.ts';
import type { FileFacts } from '../site-agent/imaging/frame.ts';
import { type PrivateImages, withoutPatients } from '../site-agent/imaging/private-images.ts';
import { type DatasetOptions, readPrivateImages } from '../site-agent/imaging/read-dataset.ts';
import { Withdrawals, withdrawalsPath } from '../site-agent/shell/withdrawals.ts';
import { progress } from './progress.ts';
import { type DataOptions, datasetOptions, decodedCache, folderReading } from './site-data.ts';

/** What a check is held against: a policy, and the site's name and folder where it has joined. */
export interface CheckAgainst {
  readonly policy?: CheckedPolicy;
  readonly siteId?: string;
  readonly dir?: string;
  /** Of a site that has joined: who is withdrawn is listed beside it. */
  readonly ledger?: string;
}

/** Private: true counts, for the site's own operator. */
export interface DataReport {
  readonly images: number;
  readonly patients: number;
  readonly patientsKnown: boolean;
  /** Of folders: files by what their apparatus was, and how they are packed. */
  readonly modalities: readonly { readonly name: string; readonly files: number; readonly images: number }[];
  readonly packings: readonly { readonly name: string; readonly files: number }[];
  readonly classes: readonly { readonly name: string; readonly images: number; readonly patients: number }[];
  readonly bad: readonly BadFile[];
  /** The same by reason, the most frequent first. */
  readonly refused: readonly { readonly reason: string; readonly files: number }[];
  /** Pictures whose text was painted over. */
  readonly masked: number;
  /** What would keep the site from taking part, one sentence each. */
  readonly findings: readonly string[];
  /** Null without a policy. */
  readonly size: SiteSize | null;
}

/**
 * Reads everything, with bad files reported and not refused. Nothing is sent.
 * @throws {FedError} DATASET_INVALID when there is nothing to count, or labels that no class has.
 */
export async function checkData(o: DataOptions, against: CheckAgainst): Promise<DataReport> {
  const { policy, siteId, dir } = against;
  const seen = new Survey();
  const unlabelled = policy === undefined && (await hasNoLabels(o));
  const bar = progress('reading images');
  let read: Awaited<ReturnType<typeof readPrivateImages>>;
  try {
    read = await readPrivateImages(o.data, {
      ...(policy === undefined ? { ...SHAPE, ...folderReading(o) } : datasetOptions(policy, o)),
      ...(unlabelled ? { labelTags: ['Modality'] as const } : {}),
      ...(dir === undefined ? {} : decodedCache(dir, o)),
      onBadFile: 'skip',
      onFile: (_file, facts, pictures, masked) => seen.add(facts, pictures, masked),
      onProgress: (done, of) => bar.update(done / of, `${done} of ${of}`),
    });
  } finally {
    bar.stop();
  }
  const { bad } = read;
  const withdrawn = withdrawnFrom(read.images, o, against);
  const images = withdrawn.images;
  const perClass = countByClass(images);
  const holders = images.classNames.map(
    (_, k) => images.patientGroups.filter((p) => p.images.some((i) => images.labels[i] === k)).length,
  );
  const patients = images.patientGroups.length;
  return {
    images: images.n,
    patients,
    patientsKnown: images.patientsKnown,
    modalities: seen.modalities(),
    packings: seen.packings(),
    classes: images.classNames.map((name, k) => ({ name, images: perClass[k], patients: holders[k] })),
    bad,
    refused: byReason(bad),
    masked: seen.masked,
    findings: [
      ...(withdrawn.count > 0 ? [`Withdrawn, and left out of what is counted here: ${withdrawn.count}.`] : []),
      ...((await mayBePatients(o, images)) ? [FOLDERS_IN_CLASSES] : []),
      ...(unlabelled ? ['No labels are given, so modalities are counted as classes.'] : []),
      ...findingsOf(policy, siteId, { perClass, patients, bad }),
    ],
    size: policy === undefined ? null : siteSize(policy, siteId, patients, holders),
  };
}

/** The patients that a run would draw from, and how many are left out of it. */
function withdrawnFrom(images: PrivateImages, o: DataOptions, { dir, ledger }: CheckAgainst) {
  if (dir === undefined || ledger === undefined) return { images, count: 0 };
  const { patientKey } = decodedCache(dir, o);
  const kept = withoutPatients(images, new Withdrawals(withdrawalsPath(ledger), patientKey));
  return { images: kept, count: images.patientGroups.length - kept.patientGroups.length };
}

const FOLDERS_IN_CLASSES =
  'Class folders hold folders, and no patient is named. If those folders are patients, say --patient-folders, here and in a run: else single images are protected, and not patients.'; // prettier-ignore

/** Whether folders inside the classes may be the patients that nothing else names. */
async function mayBePatients({ data, patientFolders }: DataOptions, images: PrivateImages): Promise<boolean> {
  if (images.patientsKnown || images.patientGroups.length < images.n || patientFolders === true) return false;
  const foldersOf = async (folder: string) =>
    (await readdir(folder, { withFileTypes: true }).catch(() => [])).filter((item) => item.isDirectory());
  const inClasses = await Promise.all((await foldersOf(data)).map(({ name }) => foldersOf(join(data, name))));
  return inClasses.some((folders) => folders.length > 0);
}

/** Without a policy, any shape serves for counting. */
const SHAPE = { size: 28, channels: 1 } as const satisfies Partial<DatasetOptions>;

/** A folder without class folders and CSV, and no attribute named: an archive as it was exported. */
async function hasNoLabels({ data, labels, labelTag }: DataOptions): Promise<boolean> {
  if (labels !== undefined || labelTag !== undefined) return false;
  const items = await readdir(data, { withFileTypes: true }).catch(() => []);
  const named = items.some((item) => item.isDirectory() || item.name === 'labels.csv' || isIdxName(item.name));
  return items.length > 0 && !named;
}

class Survey {
  readonly #modalities = new Map<string, { files: number; images: number }>();
  readonly #packings = new Map<string, number>();
  masked = 0;

  add({ modality = 'not stated', packing }: FileFacts, images: number, masked: number): void {
    const entry = this.#modalities.get(modality) ?? { files: 0, images: 0 };
    this.#modalities.set(modality, { files: entry.files + 1, images: entry.images + images });
    this.#packings.set(packing, (this.#packings.get(packing) ?? 0) + 1);
    this.masked += masked;
  }

  modalities = () => [...this.#modalities].map(([name, counts]) => ({ name, ...counts })).toSorted((a, b) => b.files - a.files); // prettier-ignore
  packings = () => [...this.#packings].map(([name, files]) => ({ name, files })).toSorted((a, b) => b.files - a.files);
}

/** Files by reason, with the numbers in it left out. */
export function byReason(bad: readonly BadFile[]): { reason: string; files: number }[] {
  const counts = new Map<string, number>();
  for (const { reason } of bad) {
    const alike = reason.replaceAll(/\d+/g, 'N');
    counts.set(alike, (counts.get(alike) ?? 0) + 1);
  }
  return [...counts].map(([reason, files]) => ({ reason, files })).toSorted((a, b) => b.files - a.files);
}

/** How `burned-in.ts` says that it refuses. */
const WRITTEN = /text is burned into its pixels/;

function findingsOf(
  policy: CheckedPolicy | undefined,
  siteId: string | undefined,
  { perClass, patients, bad }: { perClass: Int32Array; patients: number; bad: readonly BadFile[] },
): string[] {
  const found: string[] = [];
  if (policy !== undefined) {
    const declared = new Set(declaredClasses(policy, siteId ?? ''));
    policy.model.classes.forEach((name, k) => {
      if (perClass[k] > 0 && !declared.has(k)) found.push(`The policy does not list class ${name} for this site.`);
      if (perClass[k] === 0 && declared.has(k))
        found.push(`The policy lists class ${name}, of which there is no image.`);
    });
    const { patientsAtMost } = samplingOf(policy, siteId);
    if (patients > patientsAtMost)
      found.push(`There are ${patients} patients; the policy’s numbers hold for at most ${patientsAtMost}.`);
  }
  if (bad.length > 0)
    found.push(`${counted(bad.length, 'file')} cannot be used; --on-bad-file skip leaves out what cannot.`);
  const written = bad.filter(({ reason }) => WRITTEN.test(reason)).length;
  if (written > 0)
    found.push(`${counted(written, 'file')} of these for text in the picture: --burned-in mask paints over it, where the policy allows that. Look at what passes.`); // prettier-ignore
  return found;
}

const counted = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

/** Bad files a person is shown one by one. */
const SHOWN = 20;

export function dataText(r: DataReport): string {
  const unit = r.patientsKnown
    ? counted(r.patients, 'patient')
    : r.patients < r.images
      ? `at most ${counted(r.patients, 'patient')}: some images name none, and each of those counts as a patient of its own`
      : 'no patient is named, so that every image counts as a patient of its own and the claim protects single images';
  return [
    `${counted(r.images, 'image')}, ${unit}`,
    ...r.modalities.map((m) => `  modality ${m.name}: ${counted(m.files, 'file')}, ${counted(m.images, 'image')}`),
    ...r.packings.map((p) => `  packed as ${p.name}: ${counted(p.files, 'file')}`),
    ...r.classes.map((c) => `  class ${c.name}: ${counted(c.images, 'image')}, ${counted(c.patients, 'patient')}`),
    ...(r.masked > 0 ? [`  text was painted over in ${counted(r.masked, 'image')}`] : []),
    ...r.refused.map((x) => `  refused, ${counted(x.files, 'file')}: ${x.reason}`),
    ...r.bad.slice(0, SHOWN).map((b) => `    ${b.file}: ${b.reason}`),
    ...(r.bad.length > SHOWN ? [`    and ${r.bad.length - SHOWN} more; --json lists them all`] : []),
    ...r.findings,
    ...(r.size?.sentences ?? []),
    'These counts are private. Nothing was sent.',
  ].join('\n');
}
