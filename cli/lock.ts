import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { FedError } from '../shared/errors.ts';

/**
 * Keeps a second process out of a folder. An exclusive transaction on a file nobody reads: the operating system ends it
 * with the process, however that dies, so that no lock is ever left behind.
 * @throws {FedError} PARAMETER_INVALID when another process has the folder.
 */
export function lockFolder(folder: string): Disposable {
  if (!existsSync(folder)) throw new FedError('PARAMETER_INVALID', `there is no folder ${folder}`);
  const db = new DatabaseSync(join(folder, 'lock'));
  try {
    db.exec('PRAGMA busy_timeout=0; BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    throw new FedError('PARAMETER_INVALID', `another process is at work in ${folder}`, { cause: error });
  }
  return { [Symbol.dispose]: () => db.close() };
}
