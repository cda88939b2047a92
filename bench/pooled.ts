import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { FedError } from '../shared/errors.ts';
import type { BenchRow } from './run.ts';
import type { Busy, Told } from './pooled-party.ts';

type Report = (row: BenchRow) => void;
const SITES = ['site-1', 'site-2', 'site-3'];
const CLASSES = ['chest', 'hand', 'head-ct'];
/** Steps before those that are measured: a round has hundreds, and by then its code is compiled and its memory in use. */
const WARM_UP = 32;
const STEPS = WARM_UP + 32;

/**
 * A coordinator and three sites as processes of this machine, over TLS, under secure aggregation: the seconds of one
 * step of a pooled discriminator, and how much of them is not computing.
 *
 * What counts, by the clock: a step lasts from one applied sum to the next. It computes from when the first party begins
 * its gradients to when the last has them; noise is drawn within, and is listed apart. Everything else is beyond: fetching
 * the discriminator, ledger and outbox, masks, transfer, agreeing, revealing, unmasking, the optimiser, durability. Four
 * processes share this machine's processors, in both parts. Processor time is that of all four, helper threads included.
 * @param args - `--batch N`, patients of one step over all sites; 512 without.
 */
async function run(args: string[], report: Report): Promise<void> {
  const batch = batchOf(args);
  const { steps, noise } = await play(batch);
  const wall = steps.map((s) => s.wall);
  const beyond = steps.map((s) => (s.wall - s.computing) / s.computing);
  const name = `138k-parameter discriminator, batch ${batch} over ${SITES.length} sites`;
  report({ case: `${name}: one step`, value: median(wall) / 1000, unit: 's' });
  report({
    case: `${name}: of that, somebody computing gradients`,
    value: median(steps.map((s) => s.computing)) / 1000,
    unit: 's',
  });
  report({
    case: `${name}: beyond computing, by the clock, over computing`,
    value: 100 * median(beyond),
    unit: '%',
    target: '< 20',
    holds: median(beyond) < 0.2,
  });
  const [computing, other] = [median(steps.map((s) => s.busy.computing)), median(steps.map((s) => s.busy.beyond))];
  report({ case: `${name}: processor time of computing, four processes`, value: computing, unit: 'ms' });
  report({ case: `${name}: processor time beyond computing, four processes`, value: other, unit: 'ms' });
  report({
    case: 'noise and dither of 138,000 values, drawn while the network computes',
    value: median(noise),
    unit: 'ms',
  });
}

function batchOf(args: readonly string[]): number {
  const at = args.indexOf('--batch');
  const batch = at < 0 ? 512 : Number(args[at + 1]);
  if (!(Number.isInteger(batch) && batch >= 3))
    throw new FedError('PARAMETER_INVALID', `--batch ${args[at + 1] ?? ''}`);
  return batch;
}

interface Step {
  /** Milliseconds from one applied sum to the next. */
  readonly wall: number;
  readonly computing: number;
  /** Processor time, of all four processes. */
  readonly busy: Busy;
}

async function play(batch: number): Promise<{ steps: Step[]; noise: number[] }> {
  const policy = JSON.stringify(policyOf(batch));
  const children: ChildProcess[] = [];
  const computed: Extract<Told, { kind: 'computed' }>[] = [];
  const applied: number[] = [];
  const noise: number[] = [];
  const start = (role: string, rest: string) => {
    const child = fork(join(import.meta.dirname, 'pooled-party.ts'), [role, policy, rest], { execArgv: [] });
    children.push(child);
    child.on('message', (told: Told) => {
      if (told.kind === 'computed') computed.push(told);
      if (told.kind === 'step') applied.push(told.at);
      if (told.kind === 'noise') noise.push(told.ms);
    });
    const ended = once(child, 'exit').then(([code]) => {
      if (code !== 0) throw new Error(`${role} ended with ${String(code)}`);
    });
    ended.catch(() => undefined);
    return { child, ended };
  };
  try {
    const coordinator = start('coordinator', SITES.join(' '));
    const invites = await new Promise<Readonly<Record<string, string>>>((resolve) => {
      coordinator.child.on('message', (told: Told) => told.kind === 'invites' && resolve(told.invites));
    });
    const sites = SITES.map((id) => start(id, invites[id]));
    await Promise.all(sites.map((s) => s.ended));
    coordinator.child.send('end');
    await coordinator.ended;
  } finally {
    for (const child of children) child.kill();
  }
  return { steps: stepsOf(applied, computed), noise };
}

/** Between two sums that were applied lies one step: everybody's gradients, and the way to the next sum. */
function stepsOf(applied: readonly number[], computed: readonly { start: number; end: number; busy: Busy }[]): Step[] {
  return applied.slice(WARM_UP, STEPS).map((end, i) => {
    const begin = applied[WARM_UP + i - 1];
    const within = computed.filter((c) => c.end > begin && c.end <= end);
    const first = Math.min(...within.map((c) => c.start));
    const last = Math.max(...within.map((c) => c.end));
    const total = (of: keyof Busy) => within.reduce((sum, { busy }) => sum + busy[of], 0);
    const busy = { computing: total('computing'), beyond: total('beyond') };
    return { wall: end - begin, computing: last - Math.max(begin, first), busy };
  });
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** A policy for timing alone: its epsilon protects nobody. */
function policyOf(batch: number) {
  const expectedBatch = Math.round(batch / SITES.length);
  const privacy = {
    mechanism: 'dp-sgd',
    unit: 'patient',
    neighbours: 'add-or-remove-one',
    epsilon: 1e6,
    delta: 1e-5,
    clipNorm: 1,
    clipRule: 'normalise',
    noiseMultiplier: 1,
    sampleRate: 0.5,
    expectedBatch,
    maxBatch: Math.ceil(expectedBatch + 6 * Math.sqrt(expectedBatch)),
    imagesPerPatient: 1,
    maxSteps: 2 * STEPS,
    generatorClipNorm: 10,
  };
  return {
    id: 'pooled-bench',
    version: 1,
    placement: 'pooled',
    pooled: { stepsPerClip: 2048, coordinates: 150_000, maxDropouts: 0, maxColluders: 1, generatorSteps: 1 },
    model: {
      architecture: 'dcgan',
      imageSize: 28,
      channels: 1,
      classes: CLASSES,
      latent: 16,
      generatorWidth: 24,
      discriminatorWidth: 60,
      conditioning: 'projection',
      groupNorm: 0,
      loss: 'bce',
    },
    training: {
      rounds: 1,
      discriminatorSteps: STEPS,
      warmupDiscriminatorSteps: 0,
      generatorBatch: 64,
      fakesPerStep: expectedBatch,
      lrG: 1e-3,
      lrD: 1e-3,
      beta1: 0.5,
      beta2: 0.99,
      weightDecayD: 0,
      averageDecayD: 0,
      emaDecay: 0,
      momentWeight: 0,
    },
    privacy,
    warmStart: { kind: 'none' },
    labels: { distribution: { chest: 0.34, hand: 0.33, 'head-ct': 0.33 } },
    aggregation: {
      scheme: 'secagg',
      bits: 24,
      maxSites: 8,
      minSites: 3,
      minSurvivors: 3,
      maxColluders: 1,
      maxDropouts: 0,
      graphAboveSites: 8,
      deadlineSeconds: 600,
    },
    release: { maxImages: 0, gate: null },
    evaluation: { publicTestSet: null },
    why: Object.fromEntries(
      [...Object.keys(privacy).map((key) => `privacy.${key}`), 'release.gate'].map((path) => [
        path,
        'for timing alone',
      ]),
    ),
  };
}

export const bench = {
  name: 'pooled',
  summary: 'One step of a pooled discriminator over three local processes, under secure aggregation',
  run,
};
