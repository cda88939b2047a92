/** `succession.json` of a coordinator's folder: every change of its signing key. Public. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { PublicSigningKey } from '../shared/identity/jwk.ts';
import { MAX_SUCCESSIONS } from '../shared/identity/succession.ts';
import { parseJson } from './options.ts';

/** How this coordinator's key changed, oldest first. `statement` is null where the old key was lost. */
export const SuccessionFile = z.strictObject({
  version: z.literal(1),
  changes: z
    .array(
      z.strictObject({ from: PublicSigningKey.nullable(), to: PublicSigningKey, statement: z.string().nullable() }),
    )
    .max(MAX_SUCCESSIONS),
});
export type SuccessionFile = z.infer<typeof SuccessionFile>;

export const successionPath = (dir: string): string => join(dir, 'succession.json');

export function readSuccession(dir: string): SuccessionFile['changes'] {
  const path = successionPath(dir);
  if (!existsSync(path)) return [];
  return parseJson(readFileSync(path, 'utf8'), SuccessionFile, path, 'STORE_CORRUPT').changes;
}
