/** Script: writes `policies/policy.schema.json`. Run `node shared/policy/write-schema.ts` after changing the schema. */
import { writeFileSync } from 'node:fs';
import { policyJsonSchemaText } from './json-schema.ts';

writeFileSync(new URL('../../policies/policy.schema.json', import.meta.url), policyJsonSchemaText());
