/** What a policy's `aggregation` must fulfil for its scheme: a setting that nothing reads is refused as well. */
import { problemsOf } from '../aggregation/bfv/parameters.ts';
import { checkedGraph } from '../aggregation/secagg/graph.ts';
import { leastSurvivors, thresholdOf } from '../aggregation/secagg/threshold.ts';
import { WORD_BITS } from '../aggregation/quantise.ts';
import { FedError } from '../errors.ts';
import type { Finding } from './check.ts';
import type { Policy } from './schema.ts';

type Aggregation = Policy['aggregation'];
const WANTED = {
  clear: [],
  secagg: ['bits', 'maxSites', 'maxColluders', 'maxDropouts', 'graphAboveSites'],
  bfv: ['bits', 'maxSites'],
} as const satisfies Record<Aggregation['scheme'], readonly (keyof Aggregation)[]>;

export function aggregationFindings({ aggregation, placement }: Policy): Finding[] {
  const { scheme, minSites, minSurvivors, maxSites, bits } = aggregation;
  const found: Finding[] = [];
  const say = (key: keyof Aggregation, message: string) => found.push({ path: ['aggregation', key], message });
  const wanted: readonly (keyof Aggregation)[] = WANTED[scheme];
  for (const key of WANTED.secagg) {
    if (aggregation[key] === undefined && wanted.includes(key)) say(key, `is missing: "${scheme}" needs it`);
    if (aggregation[key] !== undefined && !wanted.includes(key)) say(key, `has no meaning for "${scheme}"`);
  }
  if (minSurvivors > minSites) say('minSurvivors', 'is more than minSites');
  if (scheme !== 'clear' && minSurvivors < 3)
    say('minSurvivors', 'below 3, each of two sites learns the other’s update');
  if (maxSites !== undefined && maxSites < minSites) say('maxSites', 'is less than minSites');
  if (maxSites !== undefined && bits !== undefined && bits + Math.ceil(Math.log2(maxSites)) > WORD_BITS)
    say('bits', `${bits} bits for ${maxSites} sites do not fit a word of ${WORD_BITS}`);
  if (scheme !== 'bfv' && aggregation.steward !== undefined) say('steward', `has no meaning for "${scheme}"`);
  if (scheme === 'bfv' && placement === 'pooled')
    say('scheme', '"bfv" is not for pooled steps: each update there carries only a share of the noise');
  if (scheme === 'bfv' && bits !== undefined && maxSites !== undefined)
    for (const problem of problemsOf({ bits, maxSites })) say('maxSites', problem);
  return scheme === 'secagg' && found.length === 0 ? collusionFindings(aggregation) : found;
}

/** Whether what the policy says of colluders and drop-outs can be kept, for every number of sites a round may have. */
function collusionFindings(aggregation: Aggregation): Finding[] {
  const { minSites, minSurvivors, maxSites = 0, maxColluders = 0, maxDropouts = 0, graphAboveSites = 0 } = aggregation;
  if (minSurvivors < leastSurvivors(maxColluders)) {
    const message = `below ${leastSurvivors(maxColluders)}, ${maxColluders} colluding sites learn another’s update`;
    return [{ path: ['aggregation', 'minSurvivors'], message }];
  }
  for (let n = minSites; n <= maxSites; n++) {
    const needed = Math.max(minSurvivors, thresholdOf(n, maxColluders));
    if (n - maxDropouts >= needed) continue;
    const message = `${n} sites less ${maxDropouts} are fewer than the ${needed} that open a sum`;
    return [{ path: ['aggregation', 'maxDropouts'], message }];
  }
  // In steps: the bounds change slowly with n, and a round checks its own n again.
  const first = Math.max(minSites, graphAboveSites + 1);
  for (let n = first; n <= maxSites; n += Math.max(1, Math.floor(n / 16))) {
    try {
      checkedGraph({ sites: n, colluders: maxColluders, dropouts: maxDropouts });
    } catch (error) {
      if (!(error instanceof FedError)) throw error;
      return [{ path: ['aggregation', 'graphAboveSites'], message: error.message }];
    }
  }
  return [];
}
