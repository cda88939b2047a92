import { FedError } from '../errors.ts';
import type { CoordinatorScheme, CoordinatorSchemeParts, SiteScheme, SiteSchemeParts } from './aggregation.ts';
import { bfvCoordinator } from './bfv/coordinator.ts';
import { bfvSite } from './bfv/site.ts';
import { clearCoordinator, clearSite } from './clear.ts';
import { secaggCoordinator } from './secagg/coordinator.ts';
import { secaggSite } from './secagg/site.ts';

/** The schemes this build can run, as `loadPolicy` wants to know them. */
export const AVAILABLE_SCHEMES = ['clear', 'secagg', 'bfv'] as const;
type Available = (typeof AVAILABLE_SCHEMES)[number];

const SITE: Record<Available, (parts: SiteSchemeParts) => SiteScheme> = {
  clear: () => clearSite,
  secagg: (parts) => secaggSite(parts),
  bfv: bfvSite,
};
const COORDINATOR: Record<Available, (parts: CoordinatorSchemeParts) => CoordinatorScheme> = {
  clear: () => clearCoordinator,
  secagg: (parts) => secaggCoordinator(parts),
  bfv: bfvCoordinator,
};

/** Makes a site's half of a scheme. @throws {FedError} SCHEME_UNKNOWN naming what there is. */
export const siteScheme = (name: string, parts: SiteSchemeParts): SiteScheme => SITE[available(name)](parts);

/** Makes the coordinator's half of a scheme. @throws {FedError} SCHEME_UNKNOWN naming what there is. */
export const coordinatorScheme = (name: string, parts: CoordinatorSchemeParts): CoordinatorScheme =>
  COORDINATOR[available(name)](parts);

function available(name: string): Available {
  const found = AVAILABLE_SCHEMES.find((scheme) => scheme === name);
  if (found === undefined) throw new FedError('SCHEME_UNKNOWN', `"${name}"; here are: ${AVAILABLE_SCHEMES.join(', ')}`);
  return found;
}
