/** What of delta goes for the parts of a pooled release that hold but for a small probability. */
import { ROUNDING_BETA } from './pooled-lattice.ts';
import { SKELLAM_DISTANCE } from './skellam.ts';

/** Sites whose draws are counted, and the epsilon of a lifetime for which the bound on the sampler is made. */
const SITES_AT_MOST = 2 ** 16;
const LIFETIME_EPSILON = 32;

/**
 * Added to delta by `releases` pooled releases of `coordinates` values.
 *
 * Rounding: `ROUNDING_BETA` a release. The dither has the same law in both worlds, so it is paid once. Sampler: a
 * mechanism within distance t of one that is (ε, δ)-DP is (ε, δ + (1 + e^ε) t)-DP; t adds up over draws, and e^ε is taken
 * for an epsilon of 32, above which no lifetime bound should be. Both are far below any delta in use.
 */
export function pooledDelta(releases: number, coordinates: number): number {
  if (!(releases >= 0 && coordinates >= 1)) return 1;
  const distance = SKELLAM_DISTANCE * coordinates * releases * SITES_AT_MOST;
  return Math.min(1, releases * ROUNDING_BETA + (1 + Math.exp(LIFETIME_EPSILON)) * distance);
}
