import { FedError } from '../errors.ts';
import type { CoordinatorScheme, SiteScheme } from './aggregation.ts';
import { clearCoordinator, clearSite } from './clear.ts';

/** The schemes this build can run, as `loadPolicy` wants to know them. */
export const AVAILABLE_SCHEMES = ['clear'] as const;

const SITE: readonly SiteScheme[] = [clearSite];
const COORDINATOR: readonly CoordinatorScheme[] = [clearCoordinator];

/** @throws {FedError} SCHEME_UNKNOWN naming what there is. */
export const siteScheme = (name: string): SiteScheme => find(SITE, name);

/** @throws {FedError} SCHEME_UNKNOWN naming what there is. */
export const coordinatorScheme = (name: string): CoordinatorScheme => find(COORDINATOR, name);

function find<T extends { readonly scheme: string }>(schemes: readonly T[], name: string): T {
  const found = schemes.find((s) => s.scheme === name);
  if (!found) throw new FedError('SCHEME_UNKNOWN', `"${name}"; here are: ${schemes.map((s) => s.scheme).join(', ')}`);
  return found;
}
