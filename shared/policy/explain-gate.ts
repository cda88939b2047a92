/** The release gate of a policy in plain language: what has to hold, how it is asked, and how often an answer is wrong. */
import { errorRates, passRate } from '../gate/error-rates.ts';
import type { DeepReadonly } from './freeze.ts';
import { samplingOf } from './sampling.ts';
import type { Policy } from './schema.ts';

/** Sentences; for a policy without a gate, the one that says so. */
export function gateLines(policy: DeepReadonly<Policy>): string[] {
  const { gate } = policy.release;
  if (gate === null) return ['No gate judges the images before they leave.'];
  const { memorisation, membership, diversity, signOff } = gate;
  const ids = Object.keys(policy.sites ?? {});
  const sites = ids.length > 0 ? ids : Array.from({ length: policy.aggregation.minSites }, () => undefined);
  const patients = sites.map((id) => samplingOf(policy, id).patientsAtMost);
  const [fewest, least] = [Math.min(...patients), gate.leastPatients];
  const rates = errorRates(gate, fewest);
  const people =
    signOff.needed === 0
      ? 'Nobody has to sign.'
      : `${signOff.needed} of these people have to sign: ${signOff.people.map((p) => p.name).join(', ')}.`;
  return [
    `Images leave only when the log verifies, no site has spent more than the policy's epsilon, every site that took part ` +
      `and at least ${gate.minSites} have judged ${gate.images} images, and in no class are two images alike by more than ` +
      `${diversity.similarityAtMost} (MS-SSIM) in the mean. ${people}`,
    `Each site is asked two things once, and says yes or no: are there copies of more than ` +
      `${percent(memorisation.shareAtMost)} of its training patients (nearer than ${memorisation.distance} of the usual ` +
      `distance within a class); and are training patients told from those held out with an advantage above ` +
      `${membership.advantageAtMost}? One yes refuses the release. ` +
      (gate.cannotTell === 'refuse' ? 'So does "cannot tell".' : '"Cannot tell" does not.'),
    `For the comparison every site keeps ${percent(gate.holdOut)} of its patients out of all training, by a keyed hash. They ` +
      'are protected like the others.',
    `An answer costs one Gaussian release at noise ${gate.noiseMultiplier}, at most ${gate.maxAnswers} with interrupted ones; ` +
      'it is within the epsilon above.',
    `A site of ${fewest} patients answers wrongly about copies in ${percent(rates.memorisation)} of cases and about membership ` +
      `in at most ${percent(rates.membership)}: yes where there is nothing, or no where there is twice the bound. Below ` +
      `${least} patients it cannot tell. A generator that copies nobody is let through by ${sites.length} such sites in at ` +
      `least ${percent(passRate(gate, patients))} of cases.`,
  ];
}

const percent = (x: number): string => (x < 1e-6 ? 'less than 0.0001 %' : `${Number((100 * x).toPrecision(3))} %`);
