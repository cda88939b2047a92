/** The JSON schema of policy files, for editors. Made from the zod schema; the checks of `check.ts` are not in it. */
import { z } from 'zod';
import { Policy } from './schema.ts';

/** The text of `policies/policy.schema.json`; a test holds the file to it. */
export function policyJsonSchemaText(): string {
  return JSON.stringify({ title: 'VeilGAN consortium policy', ...z.toJSONSchema(Policy) }, null, 2) + '\n';
}
