/** DICOMDIR: the list of files on a medium (PS3.3, annex F). Only the paths of its image records are read. */
import { items, readDataSet, text } from './data-set.ts';
import { unreadable } from './refuse.ts';

const MAX_RECORDS = 1_000_000;

/**
 * Paths of the images a DICOMDIR lists, with forward slashes, as it writes them.
 * @throws {FedError} IMAGE_UNREADABLE when it is damaged or no directory.
 */
export function listedFiles(bytes: Uint8Array): string[] {
  const { dataSet } = readDataSet(bytes);
  const records = items(dataSet, 'x00041220');
  if (records.length === 0 || records.length > MAX_RECORDS) return unreadable('it is no directory of files');
  return records.flatMap((record) => {
    if (text(record, 'x00041430') === 'IMAGE') {
      const id = record.elements['x00041500'];
      if (id === undefined || id.length === 0 || id.length > 512) return [];
      const raw = Buffer.from(record.byteArray.subarray(id.dataOffset, id.dataOffset + id.length)).toString('latin1');
      return raw
        .replaceAll('\0', '')
        .split('\\')
        .map((part) => part.trim())
        .join('/');
    }
    return [];
  });
}
