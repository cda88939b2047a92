/** How many sites it takes: the numbers that hide one site's update, each in this one place. */

/**
 * Sites of a round that must agree before anything of it is opened: any two groups of so many have a site in common that
 * is honest, and an honest site signs one list of each kind and reveals once; `site.ts` has the argument.
 * @param n - invited sites. @param colluders - of them, those that may work together with the coordinator.
 * @see Bonawitz et al. 2017, theorem 6.5 with an active coordinator: 2t > n + c
 */
export const thresholdOf = (n: number, colluders: number): number => Math.floor((n + colluders) / 2) + 1;

/**
 * The fewest sites whose updates a sum may hold: from a sum of two each learns the other's update, and colluding sites
 * can take their own out of it.
 */
export const leastSurvivors = (colluders: number): number => Math.max(3, colluders + 2);
