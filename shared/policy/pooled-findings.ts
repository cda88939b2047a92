/** What a policy must fulfil where the discriminator is pooled. */
import { shareVariance } from '../dp/pooled-lattice.ts';
import { MAX_SHARE_VARIANCE } from '../dp/skellam-table.ts';
import type { Finding } from './check.ts';
import { bitsOfLimit, fewestSites, planLatticeOf, pooledKindsOf, sensitivityOf, shareTermsOf } from './pooled.ts';
import type { Policy } from './schema.ts';

/** Whole numbers of an update are int32. */
const LARGEST = 2 ** 31 - 1;

export function pooledFindings(policy: Policy): Finding[] {
  const { placement, pooled, privacy, aggregation } = policy;
  if (placement === 'local')
    return pooled === undefined ? [] : [{ path: ['pooled'], message: 'belongs to placement "pooled"' }];
  if (pooled === undefined) return [{ path: ['pooled'], message: 'is missing: placement "pooled" needs it' }];
  const found: Finding[] = [];
  if (privacy.mechanism === 'dp-sgd' && aggregation.scheme !== 'secagg')
    found.push({
      path: ['aggregation', 'scheme'],
      message: `is "${aggregation.scheme}": a pooled update has a share of the noise only, so no one may open it alone; take "secagg"`,
    });
  for (const key of ['maxColluders', 'maxDropouts'] as const) {
    const other = aggregation[key];
    if (other !== undefined && other !== pooled[key])
      found.push({ path: ['pooled', key], message: `is ${pooled[key]}, and aggregation has ${other}` });
  }
  const { minSites } = aggregation;
  if (minSites - pooled.maxDropouts - pooled.maxColluders < 1) {
    const message = `${minSites} sites less ${pooled.maxDropouts} and ${pooled.maxColluders} leave nobody to make noise`;
    return [...found, { path: ['pooled', 'maxColluders'], message }];
  }
  for (const kind of pooledKindsOf(policy)) {
    const plan = fewestSites(policy, kind);
    if (shareVariance(sensitivityOf(policy, kind).variance, shareTermsOf(policy, plan)) > MAX_SHARE_VARIANCE)
      found.push({ path: ['pooled', 'stepsPerClip'], message: `is too many for the noise of ${kind} steps` });
    else if (planLatticeOf(policy, plan).limit > LARGEST)
      found.push({ path: ['pooled', 'stepsPerClip'], message: `is too many: sums of ${kind} steps exceed 32 bits` });
    else bitsFinding(policy, planLatticeOf(policy, plan).limit, found);
  }
  return found;
}

/** A masking scheme's values have so many bits; a pooled update must fit as it is. */
function bitsFinding({ aggregation }: Policy, limit: number, found: Finding[]): void {
  const { bits } = aggregation;
  const needed = bitsOfLimit(limit);
  if (bits === undefined || needed <= bits) return;
  const message = `${bits} bits: a pooled update has values up to ${limit}, which take ${needed}`;
  if (!found.some((f) => f.message === message)) found.push({ path: ['aggregation', 'bits'], message });
}
