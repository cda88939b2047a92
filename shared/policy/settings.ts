/**
 * Every setting of a policy, by what it does to the claim. `test/rules/settings.test.ts` holds this list to the schema,
 * and holds the first group to the accountant: a setting that is added to one and not to the other fails there.
 * Settings of speed are in no group, because they are in no policy.
 */

/** What the numbers of the claim are worked out from. */
const epsilon = [
  'placement',
  'pooled.coordinates',
  'pooled.stepsPerClip',
  'privacy.delta',
  'privacy.expectedBatch',
  'privacy.maxBatch',
  'privacy.maxSteps',
  'privacy.mechanism',
  'privacy.noiseMultiplier',
  'privacy.sampleRate',
  'release.gate.maxAnswers',
  'release.gate.noiseMultiplier',
  'sites.*.expectedBatch',
  'sites.*.maxBatch',
  'sites.*.sampleRate',
  'warmStart.critic.rounds',
  'warmStart.kind',
  'warmStart.maxReleases',
  'warmStart.noiseMultiplier',
] as const;

/** What else the claim says: of whom, against whom, how much may ever leave, who has to watch. */
const guarantee = [
  'aggregation.graphAboveSites',
  'aggregation.maxColluders',
  'aggregation.maxDropouts',
  'aggregation.maxSites',
  'aggregation.minSites',
  'aggregation.minSurvivors',
  'aggregation.scheme',
  'aggregation.steward',
  'evaluation.publicTestSet',
  'evaluation.publicTestSet.sha256',
  'evaluation.publicTestSet.source',
  'log.witnessQuorum',
  'pooled.maxColluders',
  'pooled.maxDropouts',
  'privacy.clipNorm',
  'privacy.clipRule',
  'privacy.epsilon',
  'privacy.imagesPerPatient',
  'privacy.neighbours',
  'privacy.unit',
  'release.gate',
  'release.gate.cannotTell',
  'release.gate.diversity.similarityAtMost',
  'release.gate.holdOut',
  'release.gate.images',
  'release.gate.leastPatients',
  'release.gate.membership.advantageAtMost',
  'release.gate.memorisation.distance',
  'release.gate.memorisation.shareAtMost',
  'release.gate.minSites',
  'release.gate.signOff.needed',
  'release.gate.signOff.people[].key',
  'release.gate.signOff.people[].name',
  'release.maxImages',
] as const;

/** What is computed on what the mechanism has made: no epsilon depends on it, and all sites must compute the same. */
const computation = [
  'aggregation.bits',
  'aggregation.deadlineSeconds',
  'imaging.burnedIn',
  'imaging.recipe',
  'labels.distribution.*',
  'model.architecture',
  'model.channels',
  'model.classes',
  'model.conditioning',
  'model.discriminatorWidth',
  'model.generatorWidth',
  'model.groupNorm',
  'model.imageSize',
  'model.latent',
  'model.loss',
  'pooled.generatorSteps',
  'privacy.generatorClipNorm',
  'sites.*.classes',
  'training.adaptiveSteps.accuracyAtMost',
  'training.adaptiveSteps.emaBeta',
  'training.adaptiveSteps.graceRounds',
  'training.adaptiveSteps.ladder',
  'training.averageDecayD',
  'training.beta1',
  'training.beta2',
  'training.discriminatorSteps',
  'training.emaDecay',
  'training.fakesPerStep',
  'training.generatorBatch',
  'training.lrD',
  'training.lrG',
  'training.momentBatch',
  'training.momentWeight',
  'training.rateDecay.from',
  'training.rateDecay.to',
  'training.rounds',
  'training.warmupDiscriminatorSteps',
  'training.weightDecayD',
  'warmStart.critic.augment.rotate',
  'warmStart.critic.augment.scale',
  'warmStart.critic.augment.shear',
  'warmStart.critic.augment.shift',
  'warmStart.critic.batch',
  'warmStart.critic.blocks[].bandwidth',
  'warmStart.critic.blocks[].frequencies',
  'warmStart.critic.blocks[].normalise',
  'warmStart.critic.blocks[].on',
  'warmStart.critic.blocks[].weight',
  'warmStart.critic.fitSteps',
  'warmStart.critic.lastFitSteps',
  'warmStart.critic.lr',
  'warmStart.critic.seed',
  'warmStart.critic.steps',
  'warmStart.critic.width',
  'warmStart.features.blocks[].bandwidth',
  'warmStart.features.blocks[].frequencies',
  'warmStart.features.blocks[].on',
  'warmStart.features.blocks[].weight',
  'warmStart.features.kind',
  'warmStart.features.seed',
  'warmStart.fitBatch',
  'warmStart.fitSteps',
  'warmStart.lr',
] as const;

/** Names and reasons. */
const label = ['$schema', 'id', 'version', 'why.*'] as const;

export const SETTINGS = { epsilon, guarantee, computation, label } as const;
export type SettingGroup = keyof typeof SETTINGS;

const GROUPS = new Map<string, SettingGroup>(
  Object.entries(SETTINGS).flatMap(([group, paths]) => paths.map((path) => [path, group as SettingGroup] as const)),
);

/** Names that a policy chooses itself, behind these. */
const RECORDS = ['labels.distribution', 'sites', 'why'] as const;

/** The setting that a path into one policy is of: `sites.*.maxBatch` for `sites.hospital-a.maxBatch`. */
export function settingOf(path: string): string {
  const record = RECORDS.find((name) => path.startsWith(`${name}.`));
  if (record === 'why' || record === 'labels.distribution') return `${record}.*`;
  const [, , ...rest] = path.split('.');
  const named = record === 'sites' ? ['sites', '*', ...rest].join('.') : path;
  return named.replaceAll(/\[\d+\]/g, '[]');
}

/** The group of a path into a policy; null when it is no setting. */
export const groupOf = (path: string): SettingGroup | null => GROUPS.get(settingOf(path)) ?? null;

/**
 * Which way a number protects patients more, all else equal. What is not here has no such direction by itself: a larger
 * `clipNorm` brings larger noise with it.
 */
export const PROTECTS: Readonly<Record<string, 'more' | 'less'>> = {
  'aggregation.maxColluders': 'more',
  'aggregation.minSites': 'more',
  'aggregation.minSurvivors': 'more',
  'log.witnessQuorum': 'more',
  'pooled.maxColluders': 'more',
  'privacy.delta': 'less',
  'privacy.epsilon': 'less',
  'privacy.maxBatch': 'more',
  'privacy.maxSteps': 'less',
  'privacy.noiseMultiplier': 'more',
  'privacy.sampleRate': 'less',
  'release.gate.diversity.similarityAtMost': 'less',
  'release.gate.leastPatients': 'more',
  'release.gate.maxAnswers': 'less',
  'release.gate.membership.advantageAtMost': 'less',
  'release.gate.memorisation.distance': 'more',
  'release.gate.memorisation.shareAtMost': 'less',
  'release.gate.minSites': 'more',
  'release.gate.noiseMultiplier': 'more',
  'release.gate.signOff.needed': 'more',
  'release.maxImages': 'less',
  'sites.*.maxBatch': 'more',
  'sites.*.sampleRate': 'less',
  'warmStart.critic.rounds': 'less',
  'warmStart.maxReleases': 'less',
  'warmStart.noiseMultiplier': 'more',
};
