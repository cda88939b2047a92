/**
 * Whether a site is large enough for a policy's noise to leave anything of it: the length of the noise over the length of the
 * longest signal its patients could make. Pure; of true counts, so for the site's own operator alone.
 */
import { momentLength } from '../../shared/moments/embedding.ts';
import { featureSet } from '../../shared/moments/features.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { samplingOf, type SiteSampling } from '../../shared/policy/cost.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';

export type SizeVerdict = 'clear' | 'weak' | 'drowned' | 'no-mechanism';

export interface SiteSize {
  readonly patients: number;
  /** Noise over signal of one private step; null where the policy takes none, or there is no patient. */
  readonly step: number | null;
  /** The same after all steps, were the discriminator to stand still meanwhile. */
  readonly allSteps: number | null;
  /** Noise over signal of the moment round; null where there is none. */
  readonly moments: number | null;
  readonly verdict: SizeVerdict;
  readonly sentences: readonly string[];
}

/** Below the first the signal stands out, above the second nothing of it is seen. */
const CLEAR = 0.5;
const DROWNED = 2;

/** What stands beside a site's own patients in a sum of pooled steps, as declared, and by how much the noise is longer. */
function pooledWith(policy: CheckedPolicy, siteId: string | undefined) {
  const { pooled, sites, aggregation } = policy;
  if (policy.placement !== 'pooled' || pooled === undefined) return { patients: 0, joined: 0, longer: 1 };
  const all = Object.keys(sites ?? {});
  // Who asks before joining is one of those named, the largest for all that is known: the others then help least.
  const own =
    siteId ?? all.toSorted((a, b) => samplingOf(policy, b).patientsAtMost - samplingOf(policy, a).patientsAtMost)[0];
  const named = all.filter((id) => id !== own);
  const others = named.length > 0 ? named.map((id) => samplingOf(policy, id)) : Array.from({ length: aggregation.minSites - 1 }, () => samplingOf(policy)); // prettier-ignore
  const sum = (of: (s: SiteSampling) => number) => others.reduce((total, s) => total + of(s), 0);
  const invited = others.length + 1;
  // Shares of the noise are for the sites that are left when some are missing and some conspire: with all there is more.
  const longer = Math.sqrt(invited / Math.max(1, invited - pooled.maxDropouts - pooled.maxColluders));
  return { patients: sum((s) => s.patientsAtMost), joined: sum((s) => s.expectedBatch), longer };
}

/**
 * Where steps are pooled, one noise is in the sum of all sites: the others count as the policy declares them.
 *
 * @param patients - of this site, truly.
 * @param perClass - patients of each class, in the policy's order.
 * @returns ratios of norms: σ √d over the expected patients of a step, as if all their gradients pointed one way and reached
 *   the clip, and σ √d over the patients for the moment round. Both flatter the site: less signal is usual, more is impossible.
 */
export function siteSize(
  policy: CheckedPolicy,
  siteId: string | undefined,
  patients: number,
  perClass: readonly number[],
): SiteSize {
  // prettier-ignore
  const { privacy, warmStart, model } = policy;
  if (privacy.mechanism === 'none-insecure') {
    const sentence = 'The policy has no privacy mechanism: there is no noise, and no protection.';
    return { patients, step: null, allSteps: null, moments: null, verdict: 'no-mechanism', sentences: [sentence] };
  }
  if (patients === 0) {
    const sentence = 'There is no patient: this site has nothing to take part with.';
    return { patients, step: null, allSteps: null, moments: null, verdict: 'drowned', sentences: [sentence] };
  }
  const { sampleRate, expectedBatch, patientsAtMost } = samplingOf(policy, siteId);
  const parameters = openGan(ganConfigOf(policy)).discriminator.layout.length;
  const own = sampleRate * patients;
  const others = pooledWith(policy, siteId);
  const [joined, all] = [own + others.joined, patients + others.patients];
  const step = privacy.maxSteps > 0 ? (others.longer * privacy.noiseMultiplier * Math.sqrt(parameters)) / joined : null;
  const allSteps = step === null ? null : step / Math.sqrt(privacy.maxSteps);
  const shape = { size: model.imageSize, channels: model.channels };
  const coordinates = warmStart.kind === 'moments' ? momentLength(model.classes.length, featureSet(warmStart.features, shape)) : 0; // prettier-ignore
  const moments =
    warmStart.kind === 'moments' ? (others.longer * warmStart.noiseMultiplier * Math.sqrt(coordinates)) / all : null;
  const best = Math.min(allSteps ?? Infinity, moments ?? Infinity);
  const isPooled = policy.placement === 'pooled';
  const verdict = best <= CLEAR ? 'clear' : best <= DROWNED ? 'weak' : 'drowned';
  const smallest = perClass.filter((n) => n > 0).reduce((a, b) => Math.min(a, b), Infinity);
  return {
    patients,
    step,
    allSteps,
    moments,
    verdict,
    sentences: [
      ...(step === null ? [] : [`In one step about ${show(joined)} patients join, and the noise is ${show(step)} times as long as the longest signal they could make; averaged over all ${privacy.maxSteps} steps, ${show(allSteps!)} times.`]), // prettier-ignore
      ...(moments === null ? [] : [`In the moment round the noise is ${show(moments)} times as long as the longest signal of all ${all} patients.`]), // prettier-ignore
      ...(isPooled ? [`One noise is in the sum of all sites: these numbers count ${patients} patients of this site and the ${others.patients} that the policy declares for the others.`] : []), // prettier-ignore
      (isPooled ? POOLED_VERDICTS : VERDICTS)[verdict],
      ...(!isPooled && smallest < Infinity && smallest < patients && best * (patients / smallest) > DROWNED ? [`Its smallest class has ${smallest} ${smallest === 1 ? "patient" : "patients"}: of that class alone nothing will be seen.`] : []), // prettier-ignore
      ...(expectedBatch > 2 * own ? [`Sums are divided for ${patientsAtMost} declared patients; this site has ${patients}, so its part counts ${show((100 * own) / expectedBatch)} % of what the policy expects.`] : []), // prettier-ignore
      ...(privacy.delta >= 1 / Math.max(1, patients) ? [`Delta ${privacy.delta} is not below one in ${patients} patients: it would allow to publish one of them whole.`] : []), // prettier-ignore
    ],
  };
}

const VERDICTS: Record<SizeVerdict, string> = {
  clear: 'This site is large enough: what its patients have in common stands above the noise.',
  weak: 'This site is small for this policy: signal and noise are of one size, and it helps mainly together with others.',
  drowned: 'This site is too small for this policy: its patients are protected, and what it sends is noise.',
  'no-mechanism': '',
};

const POOLED_VERDICTS: Record<SizeVerdict, string> = {
  clear: 'Together the sites are large enough: what their patients have in common stands above the noise.',
  weak: 'Together the sites are small for this policy: signal and noise are of one size.',
  drowned: 'Together the sites are too small for this policy: patients are protected, and what comes of them is noise.',
  'no-mechanism': '',
};

const show = (x: number): string => (x >= 100 ? Math.round(x).toString() : x.toPrecision(2));
