/**
 * What judging a synthetic set costs: every measure of `shared/metrics`, 10,000 images against 10,000 at 28 × 28, with 10,000
 * more that stand for the training set. Drawn phantoms: how long it takes does not depend on what is in the images.
 */
import { openEngine } from '../shared/engine/open.ts';
import { FedError } from '../shared/errors.ts';
import { phantomImages } from '../shared/imaging/phantom.ts';
import { evaluateSets, METRIC_GROUPS } from '../shared/metrics/evaluate-sets.ts';
import type { Bench, BenchRow } from './run.ts';

const IMAGES = 10_000;
const THREADS = 2;
const TARGET_SECONDS = 180;

/** @param args - a number of images a set; 10,000 without one. */
async function run(args: string[], report: (row: BenchRow) => void): Promise<void> {
  const images = args[0] === undefined ? IMAGES : Number(args[0]);
  if (args.length > 1 || !Number.isInteger(images) || images < 8)
    throw new FedError('PARAMETER_INVALID', 'bench metrics takes a number of images, at least 8');
  const draw = (seed: string) => phantomImages({ size: 28, channels: 1, patients: images, imagesPerPatient: [1, 1], seed }); // prettier-ignore
  const sets = { synthetic: draw('synthetic'), test: draw('test'), reference: draw('reference') };
  const engine = await openEngine('cpu', { threads: THREADS });
  const [began, beganCpu] = [performance.now(), process.cpuUsage()];
  try {
    await evaluateSets(engine, sets, {
      groups: METRIC_GROUPS,
      seed: 'bench',
      most: images,
      around: async (measure, work) => {
        const from = performance.now();
        const result = await work(() => undefined);
        report({ case: measure, value: (performance.now() - from) / 1000, unit: 's' });
        return result;
      },
    });
  } finally {
    await engine.dispose();
  }
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(beganCpu);
  const cpu = (user + system) / 1e6;
  report({ case: `all, ${images} against ${images}, 28×28, ${THREADS} threads`, value: seconds, unit: 's', target: `< ${TARGET_SECONDS}`, holds: seconds < TARGET_SECONDS }); // prettier-ignore
  // On a machine of one's own the clock shows no more than this, even with one processor; a shared one shows more.
  report({ case: 'the same in processor time, both processors together', value: cpu, unit: 's', target: `< ${TARGET_SECONDS}`, holds: cpu < TARGET_SECONDS }); // prettier-ignore
}

export const bench: Bench = {
  name: 'metrics',
  summary: 'seconds of every measure of a synthetic set',
  run,
};
