import type { SiteComputation } from './core/computation.ts';
import { PooledSiteComputation } from './pooled-computation.ts';
import { DpSiteComputation, type Parts } from './site-computation.ts';

/** What a policy asks of a site, compiled. @throws {FedError} DATASET_INVALID, POLICY_INVALID, LAYER_WITHOUT_NORM_RULE */
export const openComputation = (p: Parts): Promise<SiteComputation & { dispose(): Promise<void> }> =>
  p.policy.placement === 'pooled' ? PooledSiteComputation.open(p) : DpSiteComputation.open(p);
