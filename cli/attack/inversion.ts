/** Inversion of what leaves a site that holds one patient, under every scheme; and whether masked bytes say anything. */
import { codecOf } from '../../shared/aggregation/secagg/values.ts';
import { addPacked, packBits } from '../../shared/aggregation/bit-pack.ts';
import { unpackFloat32 } from '../../shared/aggregation/clear.ts';
import { quantise, quantiserOf } from '../../shared/aggregation/quantise.ts';
import { INVERSION_LEVEL, type InversionVerdict, judgeInversion } from '../../shared/attack/inversion.ts';
import { judgeUniform, UNIFORM_LEVEL } from '../../shared/attack/uniform.ts';
import { imageAt } from '../../shared/imaging/images.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import type { AggregationScheme, Policy } from '../../shared/policy/schema.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { auditPolicy } from './audit-policy.ts';
import { AuditedSite } from './audited-site.ts';
import type { CanaryParts } from './canaries.ts';
import type { AttackResult } from './result.ts';
import { openWire } from './wire.ts';

/** Sites of a round: what masks and keys need; the site under attack is the first. */
const SITES = 3;
/** Noise so small that the update is what it would be without. */
const NO_NOISE = 1e-3;

export interface InversionOptions {
  /** Images of the attacker's own, and images that are to be found again. */
  readonly training: number;
  readonly shown: number;
  readonly schemes: readonly AggregationScheme[];
}

/**
 * Masked and encrypted schemes carry the update without noise: what they hide, they hide alone. In the clear the noise
 * has to do it. The control in the clear has neither; that of the masks is the same words without them.
 */
export async function attackInversion(p: CanaryParts, o: InversionOptions): Promise<AttackResult[]> {
  const patients = o.training + o.shown;
  const sigma = p.base.privacy.mechanism === 'dp-sgd' ? p.base.privacy.noiseMultiplier : 1;
  const clean = await updatesOf(p, patients, NO_NOISE);
  const results: AttackResult[] = [];
  const judge = (seen: readonly ArrayLike<number>[]) => judgeInversion(seen, clean.images, o.training);
  const add = (scheme: string, variant: string, control: boolean, v: InversionVerdict) =>
    results.push(resultOf(`inversion, ${scheme}`, variant, control, v));
  let done = 0;
  const step = () => p.progress?.((done += 1) / (o.schemes.length + 2));
  step();

  for (const scheme of o.schemes) {
    const policy = wirePolicy(p.base, scheme);
    const wire = openWire(policy, SITES);
    try {
      if (scheme === 'clear') {
        add(scheme, 'noise removed', true, judge(clean.updates));
        const noised = await updatesOf(p, patients, sigma);
        step();
        const sent = await all(noised.updates, (u) => wire.send([u, ...others(u)]).then((r) => r.sent[0]));
        add(scheme, 'as it is', false, judge(sent.map(unpackFloat32)));
        continue;
      }
      const sent = await all(clean.updates, (u) => wire.send([u, ...others(u)]).then((r) => r.sent[0]));
      if (scheme === 'secagg') {
        const codec = codecOf(policy, clean.plan);
        const words = (bytes: Uint8Array) => unpacked(bytes, clean.updates[0].length, codec.width);
        const bare = clean.updates.map((u) => packBits(codec.encode(u, p.random), codec.width));
        add(scheme, 'masks removed', true, judge(await all(bare, words)));
        add(scheme, 'as it is, without noise', false, judge(await all(sent, words)));
        results.push(uniformity('as it is', false, sent), uniformity('masks removed', true, bare));
      } else {
        const q = quantiserOf(policy, clean.plan);
        add(scheme, 'not encrypted', true, judge(clean.updates.map((u) => quantise(u, q, p.random))));
        add(scheme, 'as it is, without noise', false, judge(sameLength(sent)));
      }
    } finally {
      await wire.dispose();
      step();
    }
  }
  return results;
}

/** What the site would send, in floats, for one patient after another; and the patients' images. */
async function updatesOf(p: CanaryParts, patients: number, noiseMultiplier: number) {
  const { imageSize: size, channels, classes } = p.base.model;
  const policy = auditPolicy(p.base, {
    ...{ sampleRate: 1, patients, noiseMultiplier, clipNorm: p.base.privacy.clipNorm, steps: 1 },
  });
  const drawn = phantomImages({ size, channels, patients, imagesPerPatient: [1, 1], seed: 'inversion' });
  const labels = drawn.labels.map((label) => label % classes.length);
  const candidates = { ...drawn, labels, classNames: [...classes] };
  await using site = await AuditedSite.open({ ...p, policy, candidates });
  const updates: Float32Array[] = [];
  for (let i = 0; i < patients; i++) {
    site.coins.put(
      candidates.patients,
      Uint8Array.from({ length: patients }, (_, j) => (j === i ? 1 : 0)),
    );
    const before = await site.computation.initialState(site.plan);
    const { state } = await site.computation.discriminatorStep(before, site.plan, site.generator);
    updates.push((await site.computation.generatorGradient(state, site.plan, site.generator)).update);
  }
  const images = Array.from({ length: patients }, (_, i) => imageAt(candidates, i));
  return { updates, images, plan: site.plan };
}

/** What the other sites of the round send: nothing that helps or hides. */
const others = (update: Float32Array): Float32Array[] =>
  Array.from({ length: SITES - 1 }, () => new Float32Array(update.length));

function wirePolicy(base: CheckedPolicy, scheme: AggregationScheme): CheckedPolicy {
  const common = { minSites: SITES, minSurvivors: SITES, deadlineSeconds: 60 };
  const own = { maxColluders: 0, maxDropouts: 0, graphAboveSites: SITES };
  const aggregation: Record<AggregationScheme, Policy['aggregation']> = {
    clear: { scheme: 'clear', ...common },
    secagg: { scheme: 'secagg', ...common, ...own, bits: 16, maxSites: SITES },
    bfv: { scheme: 'bfv', ...common, bits: 16, maxSites: SITES },
  };
  return auditPolicy(base, {
    ...{ sampleRate: 1, patients: 1, noiseMultiplier: 1, clipNorm: base.privacy.clipNorm, steps: 1 },
    aggregation: aggregation[scheme],
  });
}

async function unpacked(bytes: Uint8Array, length: number, width: number): Promise<Uint32Array> {
  const words = new Uint32Array(length);
  const tensor = {
    bytes: bytes.length,
    async *chunks() {
      yield bytes;
    },
  };
  await addPacked(words, tensor, width);
  return words;
}

/** Ciphertexts are compressed: each is cut to the shortest. */
function sameLength(sent: readonly Uint8Array[]): Uint8Array[] {
  const length = Math.min(...sent.map((s) => s.length));
  return sent.map((s) => s.subarray(0, length));
}

async function all<A, B>(items: readonly A[], one: (item: A) => Promise<B>): Promise<B[]> {
  const results: B[] = [];
  for (const item of items) results.push(await one(item));
  return results;
}

function resultOf(target: string, variant: string, control: boolean, v: InversionVerdict): AttackResult {
  const share = (x: number) => `${Math.round(1000 * x) / 10} %`;
  return {
    target,
    variant,
    control,
    found: v.pValue < INVERSION_LEVEL,
    claimed: null,
    lowerBound: null,
    says: `${share(v.named)} of ${v.shown} images were named by what was reconstructed, ${share(v.chance)} by chance; mean correlation ${v.correlation.toFixed(2)}`,
    figures: { ...v },
  };
}

function uniformity(variant: string, control: boolean, sent: readonly Uint8Array[]): AttackResult {
  const v = judgeUniform(Buffer.concat(sent));
  return {
    target: 'bytes, secagg',
    variant,
    control,
    found: v.pValue < UNIFORM_LEVEL,
    claimed: null,
    lowerBound: null,
    says: `a histogram of ${v.bytes} bytes is ${v.pValue < UNIFORM_LEVEL ? 'not ' : ''}that of uniform ones, p = ${v.pValue.toPrecision(2)}`,
    figures: { ...v },
  };
}
