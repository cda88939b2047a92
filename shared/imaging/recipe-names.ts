/** Names of what turns stored intensities into black and white; the steps are the sites', the names the policy's. */
export const RECIPE_NAMES = [
  'by-modality',
  'as-displayed',
  'full-range',
  'ct-soft-tissue',
  'ct-lung',
  'ct-bone',
  'ct-brain',
  'percentiles',
  'mr-percentile',
  'xray',
  'colour-constancy',
] as const;
export type RecipeName = (typeof RECIPE_NAMES)[number];

/** What happens to a picture with text burned into its pixels, the strictest first. */
export const BURNED_IN = ['refuse', 'mask', 'accept'] as const;
export type BurnedIn = (typeof BURNED_IN)[number];

/** The stricter of two; what is not said does not loosen. */
export const stricterBurnedIn = (a: BurnedIn | undefined, b: BurnedIn | undefined): BurnedIn =>
  BURNED_IN.find((name) => name === a || name === b) ?? 'refuse';
