/** The two things of a header that may go on: whose images are one person's, and the class. */
import { createHmac } from 'node:crypto';
import { classKey } from '../../../shared/imaging/source.ts';
import { LABEL_TAGS, type LabelTag } from '../reading-words.ts';
import { type DataSet, text, valueBytes } from './data-set.ts';

const PATIENT_ID = 'x00100020';
const ISSUER = 'x00100021';

/**
 * The patient, as a keyed hash of PatientID and its issuer; undefined when the file states no id.
 *
 * Guarantee: without the key, which stays at the site, a hash says nothing of the id; nothing else of the file is in it.
 */
export function patientHash(dataSet: DataSet, key: Uint8Array): string | undefined {
  const id = valueBytes(dataSet, PATIENT_ID);
  const trimmed = id && Buffer.from(id).toString('latin1').replaceAll('\0', '').trim();
  return trimmed ? patientIdHash(trimmed, valueBytes(dataSet, ISSUER) ?? new Uint8Array(), key) : undefined;
}

/** The same from an id as people write it. @param issuer - bytes as in the header; empty where it names none. */
export function patientIdHash(id: string, issuer: Uint8Array, key: Uint8Array): string {
  const hash = createHmac('sha256', key).update(`${id.length}\n${id}\n`);
  return hash.update(issuer).digest('hex').slice(0, 32);
}

/** A code string (PS3.5, 6.2): what else stands in such a field is somebody's free text, and no label. */
const CODE = /^[A-Z0-9_ ]{1,16}$/;

/** The values of the tags, joined by hyphens, in `classKey` form; undefined when one is absent or no code. */
export function labelOf(dataSet: DataSet, tags: readonly LabelTag[]): string | undefined {
  const values = tags.map((tag) => text(dataSet, LABEL_TAGS[tag]));
  if (values.length === 0 || !values.every((value) => value !== undefined && CODE.test(value.toUpperCase())))
    return undefined;
  return values.map((value) => classKey(value!)).join('-');
}
