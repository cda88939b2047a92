/** A policy with a release gate, and evidence that passes it: tests spoil one thing at a time. */
import type { Evidence } from '../../coordinator/core/release-gate.ts';
import type { ReleaseGate } from '../../shared/policy/gate-schema.ts';
import { type CheckedPolicy, loadPolicy } from '../../shared/policy/load.ts';
import { type TinyOptions, tinyFile } from './glue-rig.ts';

export const KEY_A = 'A'.repeat(43);
export const KEY_B = `${'B'.repeat(42)}A`;

export const testGate: ReleaseGate = {
  minSites: 2,
  images: 120,
  holdOut: 0.2,
  leastPatients: 200,
  noiseMultiplier: 2,
  maxAnswers: 3,
  memorisation: { distance: 0.25, shareAtMost: 0.05 },
  membership: { advantageAtMost: 0.2 },
  diversity: { similarityAtMost: 0.8 },
  cannotTell: 'refuse',
  signOff: {
    needed: 1,
    people: [
      { name: 'Ada', key: KEY_A },
      { name: 'Bo', key: KEY_B },
    ],
  },
};

/** Sites of 600 declared patients. */
export const gatedFile = (gate: Partial<ReleaseGate> | null = {}, o: TinyOptions = {}) => ({
  ...tinyFile({
    ...o,
    privacy: { sampleRate: 0.02, expectedBatch: 12, maxBatch: 48, ...o.privacy },
  }),
  release: { maxImages: 1000, gate: gate === null ? null : { ...testGate, ...gate } },
});
export const gatedPolicy = (gate: Partial<ReleaseGate> | null = {}, o: TinyOptions = {}): CheckedPolicy =>
  loadPolicy(gatedFile(gate, o), { availableSchemes: ['clear'] });

const fine = { kind: 'answered', memorisation: 'no', membership: 'no' } as const;

export const goodEvidence: Evidence = {
  log: { problems: 0, first: null, entries: 40 },
  sites: ['site-1', 'site-2', 'site-3'].map((siteId) => ({ siteId, epsilon: 3, words: fine, revoked: false })),
  similarity: [0.3, 0.8, 0.2],
  signOffs: [{ name: 'Ada', key: KEY_A }],
};
