/** Whether a plan is what the policy asks for: checked by every site before it takes part, and by every auditor after. */
import type { RoundPlan } from './plan.ts';
import { declaredBy, firstGeneratorRound, kindOfRound, needsCritic, publicSeedOf } from './terms.ts';
import type { RoundTerms } from './terms.ts';

/**
 * What in a plan is not as the policy has it, one sentence each.
 * @param mostSteps - the most discriminator steps an ordinary round may ask for: `mostStepsOf` of the policy.
 */
export function planDifferences(plan: RoundPlan, terms: RoundTerms, mostSteps: number): string[] {
  const found: string[] = [];
  const same = (what: string, is: string | number, wanted: string | number) => {
    if (is !== wanted) found.push(`${what} is ${is}; the policy has ${wanted}.`);
  };
  same('policySha256', plan.policySha256, terms.policySha256);
  same('scheme', plan.scheme, terms.scheme);
  same('kind', plan.kind, kindOfRound(terms, plan.round));
  same('publicSeed', plan.publicSeed, publicSeedOf(plan.runId, plan.round, terms.policySha256));
  same('the number of classes', plan.declarers.length, terms.classes);
  if (plan.round >= terms.rounds) found.push(`round is ${plan.round}; the policy has ${terms.rounds} rounds.`);
  const most = mostSteps + (plan.round === firstGeneratorRound(terms) ? terms.warmUpSteps : 0);
  const steps = plan.discriminatorSteps;
  if (steps > (plan.kind === 'moments' ? 0 : most))
    found.push(`discriminatorSteps is ${steps}; the policy has at most ${most}.`);
  if ((plan.generatorSha256 === null) !== (plan.kind === 'moments'))
    found.push('a generator round starts from a generator, a moment round from none.');
  if ((plan.criticSha256 !== null) !== needsCritic(terms, plan.round))
    found.push('a critic belongs to the moment rounds after the first, and to no other round.');
  if (new Set(plan.invited).size !== plan.invited.length) found.push('a site is invited twice.');
  if (plan.invited.length < terms.minSites)
    found.push(`${plan.invited.length} sites are invited; the policy asks for at least ${terms.minSites}.`);
  if (plan.invited.length > (terms.maxSites ?? Infinity))
    found.push(`${plan.invited.length} sites are invited; the policy allows at most ${terms.maxSites}.`);
  return found;
}

/** And what does not fit one site that was shown it. */
export function siteDifferences(plan: RoundPlan, siteId: string, terms: RoundTerms): string[] {
  const found: string[] = [];
  if (!plan.invited.includes(siteId)) found.push(`${siteId} is not invited.`);
  if (declaredBy(terms, siteId).some((k) => !(plan.declarers[k] >= 1)))
    found.push(`declarers leaves out a class that ${siteId} declares.`);
  return found;
}
