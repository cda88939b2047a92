/** From a coordinator's folder to what its own people look at: a picture, log, summary. What leaves is made by `veilgan release`. */
import { openTrainer } from '../coordinator/gan-pooled-trainer.ts';
import { openEngine } from '../shared/engine/open.ts';
import type { LabelledImages } from '../shared/imaging/images.ts';
import type { CoordinatorFolder } from './coordinator-folder.ts';
import { readRun, storedAt } from './coordinator-status.ts';
import { type Speed, threadsOf } from './options.ts';
import { requireReleasable } from './release/judged.ts';
import { finishRun, type RunSummary } from './run-folder.ts';

export interface ExportOptions extends Speed {
  readonly out: string;
  /** `all`: images and generator too, where all data were public or phantoms from the start. */
  readonly files: 'all' | 'papers';
  /** Synthetic images to draw; by default as many as the policy lets leave, at most a thousand. */
  readonly images?: number;
  /** Declared public, and at no site: shown beside the synthetic ones and tested on. Null: nothing is measured. */
  readonly test: LabelledImages | null;
  readonly testName: string;
  /** Public images to compare with as a training set, where there are any. */
  readonly train: LabelledImages | null;
  readonly progress: (share: number, what: string) => void;
}

/** What `finishRun` reports, in its order. */
const STAGES = ['exporting', 'sampling', 'writing images', 'train on synthetic', 'train on real'];
const IMAGES = 1000;

/**
 * @throws {FedError} RELEASE_REFUSED by the policy's gate, before images are written; PARAMETER_INVALID when the run has
 *   not begun; LOG_INVALID.
 */
export async function exportRun(folder: CoordinatorFolder, o: ExportOptions): Promise<RunSummary> {
  const { policy, file } = folder;
  await requireReleasable(folder);
  const { state, log, epsilon } = await readRun(storedAt(folder));
  await using open = new AsyncDisposableStack();
  const engine = open.adopt(await openEngine(o.engine, threadsOf(o)), (e) => e.dispose());
  const trainer = open.adopt(openTrainer(engine, policy), (t) => t.dispose());
  return finishRun({
    folder: o.out,
    files: o.files,
    policy,
    runId: file.runId,
    engine,
    generator: trainer.decode(state),
    log,
    epsilon,
    reference: o.test,
    referenceName: o.testName,
    publicTest: o.test,
    publicTrain: o.train,
    images: Math.min(o.images ?? IMAGES, policy.release.maxImages),
    seconds: secondsOf(log),
    progress: (what, share) => o.progress((Math.max(0, STAGES.indexOf(what)) + share) / STAGES.length, what),
  });
}

/** From the first plan to the last entry, by the coordinator's clock. */
function secondsOf(log: readonly { readonly kind: string; readonly timeMs: number }[]): number {
  const first = log.find((entry) => entry.kind === 'plan');
  return first === undefined ? 0 : (log[log.length - 1].timeMs - first.timeMs) / 1000;
}
