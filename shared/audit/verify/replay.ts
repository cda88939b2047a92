/**
 * Replays generator steps from exported sums: one Adam step each, in float64 over float32 state, in the order of the
 * weights, as the coordinator took it. Only plain steps can be replayed: a fit to moments, a moment term and pooled
 * rounds run on an engine, and their digests are chained without being recomputed.
 */
import { adam } from '../../engine/optimizers.ts';
import type { OptimizerState } from '../../engine/optimizers.ts';
import { packFloat32 } from '../../aggregation/clear.ts';
import { decodeState } from '../../gan/state-bytes.ts';
import type { CheckedPolicy } from '../../policy/load.ts';
import { rateFactor } from '../../policy/training.ts';
import { sha256Hex, sumDigest } from '../canonical.ts';
import type { Findings } from './findings.ts';
import type { AttemptSummary } from './round-audit.ts';

/** The generator's state before a round, as the coordinator kept it. */
export interface Anchor {
  readonly round: number;
  /** First block of the generator's state: weights, average, Adam's two moments. */
  readonly bytes: Uint8Array;
}

export interface ReplayResult {
  /** Steps whose digest came out. */
  readonly replayed: number;
  /** Steps whose digests are chained only. */
  readonly chained: number;
  readonly why: string | null;
}

/** Whether this policy's generator rounds are plain steps. */
export const canReplay = (policy: CheckedPolicy): boolean =>
  policy.placement === 'local' && (policy.training.momentWeight === 0 || policy.warmStart.kind === 'none');

/** The weights and Adam's state in the first block of a state. @throws {FedError} STORE_CORRUPT */
function readAnchor(bytes: Uint8Array): { weights: Float32Array; optimizer: OptimizerState } {
  const d = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(12, true);
  const { steps, vectors } = decodeState(bytes, 4, d);
  const [weights, , ...slots] = vectors;
  return { weights, optimizer: { step: steps, slots } };
}

/**
 * @param sumOf - the sum of a round, where it was exported.
 * @param attempts - all of the log; those that closed are replayed in order.
 */
export function replaySteps(p: {
  policy: CheckedPolicy;
  attempts: readonly AttemptSummary[];
  anchor: Anchor | null;
  sumOf: (round: number) => Float64Array | null;
  findings: Findings;
}): ReplayResult {
  const closed = p.attempts.filter((a) => a.outcome === 'closed');
  const all = (why: string): ReplayResult => ({ replayed: 0, chained: closed.length, why });
  if (!canReplay(p.policy)) return all('steps of this policy run on an engine');
  const { anchor } = p;
  if (anchor === null) return all('no sums were exported');
  const { lrG, beta1, beta2 } = p.policy.training;
  let { weights, optimizer } = readAnchor(anchor.bytes);
  let replayed = 0;
  for (const attempt of closed.filter((a) => a.round >= anchor.round)) {
    const sum = p.sumOf(attempt.round);
    if (sum === null) return { replayed, chained: closed.length - replayed, why: `no sum of round ${attempt.round}` };
    const wrong = (detail: string) =>
      p.findings.problem('GENERATOR', attempt.entry, `round ${attempt.round}: ${detail}`);
    if (attempt.sums.length !== 1 || sumDigest(sum) !== attempt.sums[0]) {
      wrong('the exported sum is not the one in the log');
      return { replayed, chained: closed.length - replayed, why: 'a sum does not fit the log' };
    }
    const learningRate = lrG * rateFactor(p.policy, attempt.round);
    ({ weights, state: optimizer } = adam({ learningRate, beta1, beta2 }).update(weights, sum, optimizer));
    const digest = sha256Hex(packFloat32(weights));
    if (digest !== attempt.generatorSha256) {
      wrong(`the step gives ${digest}; the log has ${attempt.generatorSha256}`);
      return { replayed, chained: closed.length - replayed, why: 'a step does not come out' };
    }
    replayed += 1;
  }
  return {
    replayed,
    chained: closed.length - replayed,
    why: replayed === closed.length ? null : 'rounds before the first kept sum',
  };
}
