/** What a policy's `release.gate` must fulfil: a question whose answer means nothing is refused before anybody is asked. */
import { errorRates } from '../gate/error-rates.ts';
import type { Finding } from './check.ts';
import { samplingOf } from './sampling.ts';
import type { Policy } from './schema.ts';

/** More often a site of `leastPatients` may not be wrong. */
export const MOST_WRONG = 0.05;
/** Synthetic images of a class, at least: fewer have no usual distance. */
const LEAST_OF_A_CLASS = 10;

export function gateFindings(policy: Policy): Finding[] {
  const { release, why, labels, aggregation } = policy;
  const { gate } = release;
  const found: Finding[] = [];
  const say = (path: string, message: string) => found.push({ path: ['release', 'gate', ...path.split('.')], message });
  if (!('release.gate' in why)) found.push({ path: ['why'], message: 'no reason is given for release.gate' });
  if (gate === null) return found;
  const rates = errorRates(gate, gate.leastPatients);
  for (const [name, rate] of Object.entries(rates) as [keyof typeof rates, number][])
    if (!(rate <= MOST_WRONG))
      say('leastPatients', `a site of ${gate.leastPatients} would be wrong about ${name} in ${percent(rate)}`);
  for (const id of [undefined, ...Object.keys(policy.sites ?? {})]) {
    const { patientsAtMost } = samplingOf(policy, id);
    if (patientsAtMost < gate.leastPatients)
      say('leastPatients', `${id ?? 'a site'} declares ${patientsAtMost}: it could never tell`);
  }
  for (const [name, share] of Object.entries(labels.distribution))
    if (share > 0 && share * gate.images < LEAST_OF_A_CLASS)
      say('images', `shows fewer than ${LEAST_OF_A_CLASS} of class "${name}"`);
  if (aggregation.maxSites !== undefined && gate.minSites > aggregation.maxSites)
    say('minSites', 'is more than aggregation.maxSites');
  const { needed, people } = gate.signOff;
  if (needed > people.length) say('signOff.needed', `is ${needed}, and ${people.length} people are named`);
  if (new Set(people.map((p) => p.name)).size < people.length) say('signOff.people', 'names somebody twice');
  if (new Set(people.map((p) => p.key)).size < people.length) say('signOff.people', 'gives two people one key');
  return found;
}

const percent = (x: number): string => `${Number((100 * x).toPrecision(2))} % of all cases`;
