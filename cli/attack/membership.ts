/** Membership inference on released images: of a generator made here from drawn phantoms, or of files somebody has. */
import { GanGeneratorTrainer } from '../../coordinator/gan-generator-trainer.ts';
import {
  judgeMembership,
  type MembershipVerdict,
  nearestDistances,
  patientsToRefute,
} from '../../shared/attack/membership.ts';
import { gaussianEvent } from '../../shared/dp/event.ts';
import { drawFakeInputs } from '../../shared/gan/batch.ts';
import { Sampler } from '../../shared/gan/sampler.ts';
import { type LabelledImages, selectImages, valuesPerImage } from '../../shared/imaging/images.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { labelDistribution } from '../../shared/policy/views.ts';
import { PublicRandom } from '../../shared/public-random.ts';
import { auditPolicy } from './audit-policy.ts';
import { AuditedSite } from './audited-site.ts';
import { type CanaryParts, claimOf } from './canaries.ts';
import type { AttackResult } from './result.ts';

const DELTA = 1e-5;

/** Images in pixels, rows of one length. */
export interface MembershipFiles {
  readonly synthetic: LabelledImages;
  readonly members: LabelledImages;
  readonly others: LabelledImages;
  /** Of the run that made the images; null where nothing is claimed. */
  readonly claimed: number | null;
  readonly delta: number;
}

/** More are not drawn: against an epsilon of more than about 3.2 in one release no control of this attack shows anything. */
const MOST_PATIENTS = 2000;

/** Attacks somebody's own files. The result is a statistic of the members: private where they are. */
export function attackFiles(f: MembershipFiles): AttackResult[] {
  const verdict = judge(f.members, f.others, f.synthetic.pixels, f.claimed, f.delta);
  return [
    resultOf('released images', 'as they are', false, verdict),
    resultOf('released images', 'copies of members', true, copied(f.members, f.others, f.claimed ?? 1, f.delta)),
  ];
}

/**
 * A site of phantoms, half of them in by coins; a generator fitted to its noised moments; images drawn from it.
 * Empty where the policy has no moment round.
 * @param o.patients - at least; more where the claim asks for more.
 */
export async function attackRelease(
  p: CanaryParts,
  o: { readonly patients: number; readonly images: number },
): Promise<AttackResult[]> {
  const warm = p.base.warmStart;
  if (warm.kind !== 'moments') return [];
  const claimed = claimOf([gaussianEvent(warm.noiseMultiplier, 1)], DELTA);
  const patients = patientsToRefute(claimed, { least: o.patients, most: MOST_PATIENTS, delta: DELTA });
  const policy = auditPolicy(p.base, {
    ...{ sampleRate: 1, patients, noiseMultiplier: 1, clipNorm: p.base.privacy.clipNorm, steps: 1 },
    moments: { noiseMultiplier: warm.noiseMultiplier },
  });
  const { imageSize: size, channels, classes } = policy.model;
  const drawn = phantomImages({ size, channels, patients, imagesPerPatient: [1, 1], seed: 'membership' });
  // The classes of the policy, whatever it calls them: a phantom of another name is as good a patient.
  const labels = drawn.labels.map((label) => label % classes.length);
  const candidates = { ...drawn, labels, classNames: [...classes] };
  await using site = await AuditedSite.open({ ...p, policy, candidates });
  const included = site.coins.toss(candidates.patients);
  const trainer = new GanGeneratorTrainer(p.engine, policy);
  try {
    const sum = Float64Array.from(await site.computation.noisedMoments(site.plan, null));
    const fitted = await trainer.fitMoments(await trainer.initialState(), site.plan, sum, (share) =>
      p.progress?.(share),
    );
    const sampler = await Sampler.open(p.engine, trainer.gan, 50, 'batch');
    const inputs = drawFakeInputs(o.images, policy.model.latent, labelDistribution(policy), 'release');
    const synthetic = await sampler.images(trainer.weights(fitted), inputs);
    await sampler.dispose();
    const rows = (bit: number) =>
      selectImages(
        candidates,
        [...included.keys()].filter((i) => included[i] === bit),
      );
    const [members, others] = [rows(1), rows(0)];
    return [
      resultOf('released images', 'as they are', false, judge(members, others, synthetic, claimed, DELTA)),
      resultOf('released images', 'copies of members', true, copied(members, others, claimed, DELTA)),
    ];
  } finally {
    await trainer.dispose();
  }
}

function judge(
  members: LabelledImages,
  others: LabelledImages,
  synthetic: Float32Array,
  claimed: number | null,
  delta: number,
): MembershipVerdict {
  const d = valuesPerImage(members);
  const near = (images: LabelledImages) => nearestDistances(images.pixels, synthetic, d).map((x) => -x);
  return judgeMembership({ members: near(members), others: near(others), claimed, delta });
}

/** What a generator would be that had learnt its patients by heart: their images with a little noise. */
function copied(members: LabelledImages, others: LabelledImages, claimed: number, delta: number): MembershipVerdict {
  const noise = new PublicRandom('copies').gaussians(members.pixels.length);
  const copies = members.pixels.map((x, i) => x + 0.05 * noise[i]);
  return judge(members, others, copies, claimed, delta);
}

function resultOf(target: string, variant: string, control: boolean, v: MembershipVerdict): AttackResult {
  const percent = (x: number) => `${Math.round(1000 * x) / 10} %`;
  const points = v.points.map((p) => `${percent(p.truePositiveRate)} at ${percent(p.falsePositiveRate)}`).join(', ');
  return {
    target,
    variant,
    control,
    found: v.refuted,
    claimed: v.claimed,
    lowerBound: v.lowerBound,
    says: `members told from ${v.others} others with area ${v.area.toFixed(2)}; hits at false alarms: ${points}`,
    figures: { members: v.members, others: v.others, area: v.area, delta: v.delta, confidence: v.confidence },
  };
}
