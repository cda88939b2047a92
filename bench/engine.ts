import * as tf from '@tensorflow/tfjs';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { eagerEngine } from '../shared/engine/eager.ts';
import { openEngine } from '../shared/engine/open.ts';
import type { Arrays, Engine, EngineName, Program } from '../shared/engine/program.ts';
import { CLASSES, firstFeeds, NOISE, PARAMETERS, sample, sampleInputs, step, stepInputs } from './engine-dcgan.ts';
import type { BenchRow } from './run.ts';

/**
 * A DCGAN step and a generator's forward pass on our engine, tfjs' own cpu and wasm backends, and PyTorch.
 *
 * The machines this runs on are noisy, so competitors take turns and a ratio is the median over the turns. PyTorch is
 * `engine-torch.py` under the system's python3; without it, and for what a backend cannot do, the row is left out and
 * a line says why.
 */

const TURNS = 7;
const STEPS_A_TURN = 4;
/** tfjs' cpu backend takes minutes for a step of 64 images, so it is met at 4, where our engine is less efficient too. */
const ORACLE_BATCH = 4;

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const seconds = async (body: () => Promise<unknown>) => {
  const start = performance.now();
  await body();
  return (performance.now() - start) / 1000;
};
const note = (line: string) => console.error(`note: ${line}`);

/** Seeded uniforms: the bench measures speed, so any plain generator will do. */
function uniforms(): () => number {
  let state = 1;
  return () => (state = (state * 48271) % 2147483647) / 2147483647;
}

/** A program and the feeds that its own results replace, as in training. */
function trainer(program: Program) {
  let feeds: Arrays = firstFeeds(program.inputs, uniforms());
  return async (steps: number) => {
    for (let i = 0; i < steps; i++) {
      const { lossD, lossG, ...next } = await program.run(feeds);
      if (!Number.isFinite(lossD[0] + lossG[0])) throw new Error('the step diverged');
      feeds = { ...feeds, ...next, step: Float32Array.of(feeds['step'][0] + 1) };
    }
  };
}

/** PyTorch in a child process that waits for "batch steps" lines. */
class Torch {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  /** @param wait - how its idle threads wait: spinning wins on an idle machine, sleeping on a busy one. */
  constructor(threads: number, wait: 'ACTIVE' | 'PASSIVE') {
    const script = fileURLToPath(new URL('engine-torch.py', import.meta.url));
    this.#child = spawn('/usr/bin/python3', [script, String(threads)], {
      env: { ...process.env, OMP_WAIT_POLICY: wait },
    });
    this.#child.on('error', () => undefined);
    this.#child.stdin.on('error', () => undefined);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** PyTorch's version, or undefined where there is none. */
  async ready(): Promise<string | undefined> {
    const { value, done } = await this.#lines.next();
    return done ? undefined : String(value).replace('ready ', '');
  }

  /** @returns seconds per step. */
  async run(batch: number, steps: number): Promise<number> {
    this.#child.stdin.write(`${batch} ${steps}\n`);
    return Number((await this.#lines.next()).value);
  }

  end(): void {
    this.#child.stdin.end();
  }
}

async function trainingStep(
  engine: Engine,
  batch: number,
  threads: number,
  report: (row: BenchRow) => void,
): Promise<void> {
  const name = `DCGAN 28×28 D+G step, batch ${batch}`;
  const opening = performance.now();
  const program = await engine.compile('dcgan-step', step, stepInputs(batch));
  report({ case: `${name}: record and compile`, value: performance.now() - opening, unit: 'ms' });
  const ours = trainer(program);
  await ours(2);

  const mine: number[] = [];
  const rivals = (['ACTIVE', 'PASSIVE'] as const).map((wait) => ({
    wait,
    torch: new Torch(threads, wait),
    times: [] as number[],
  }));
  const versions = await Promise.all(rivals.map(({ torch }) => torch.ready()));
  const version = versions[0];
  if (version === undefined) note('no PyTorch under /usr/bin/python3: comparison left out');
  else for (const { torch } of rivals) await torch.run(batch, 1);
  for (let turn = 0; turn < TURNS; turn++) {
    mine.push((await seconds(() => ours(STEPS_A_TURN))) / STEPS_A_TURN);
    if (version !== undefined) for (const { torch, times } of rivals) times.push(await torch.run(batch, STEPS_A_TURN));
  }
  for (const { torch } of rivals) torch.end();
  report({ case: `${name}: engine ${engine.name}`, value: 1000 * median(mine), unit: 'ms/step' });
  if (version !== undefined) {
    for (const { wait, times } of rivals)
      report({
        case: `${name}: PyTorch ${version}, ${wait.toLowerCase()} waiting`,
        value: 1000 * median(times),
        unit: 'ms/step',
      });
    const best = rivals.toSorted((a, b) => median(a.times) - median(b.times))[0];
    const ratio = median(best.times.map((time, turn) => time / mine[turn]));
    report({
      case: `${name}: speed over PyTorch at its faster`,
      value: ratio,
      unit: '×',
      target: '≥ 1',
      holds: ratio >= 1,
    });
  }
  await program.dispose();
}

async function againstOracle(engine: Engine, report: (row: BenchRow) => void): Promise<void> {
  const name = `DCGAN 28×28 D+G step, batch ${ORACLE_BATCH}`;
  const inputs = stepInputs(ORACLE_BATCH);
  const ours = trainer(await engine.compile('dcgan-step', step, inputs));
  const oracle = trainer(await (await openEngine('tfjs')).compile('dcgan-step', step, inputs));
  await ours(2);
  const before = (await seconds(() => ours(STEPS_A_TURN))) / STEPS_A_TURN;
  const slow = await seconds(() => oracle(1));
  const after = (await seconds(() => ours(STEPS_A_TURN))) / STEPS_A_TURN;
  report({ case: `${name}: engine ${engine.name}`, value: 500 * (before + after), unit: 'ms/step' });
  report({ case: `${name}: tfjs cpu`, value: 1000 * slow, unit: 'ms/step' });
  const ratio = slow / ((before + after) / 2);
  report({ case: `${name}: speed over tfjs cpu`, value: ratio, unit: '×', target: '≥ 30', holds: ratio >= 30 });
}

/** tfjs' wasm backend as an engine; its files are found inside its package. */
async function wasmEngine(): Promise<Engine> {
  await import('@tensorflow/tfjs-backend-wasm');
  tf.env().set('PROD', true);
  if (!(await tf.setBackend('wasm'))) throw new Error('the wasm backend does not start');
  await tf.ready();
  await tf.setBackend('cpu');
  return eagerEngine('tfjs', 'wasm');
}

async function sampling(engine: Engine, batch: number, report: (row: BenchRow) => void): Promise<void> {
  const inputs = sampleInputs(batch);
  const feeds = firstFeeds(inputs, uniforms());
  const program = await engine.compile('dcgan-sample', sample, inputs);
  const ours = () => seconds(() => program.run(feeds));
  const name = `DCGAN 28×28 generator, batch ${batch}`;
  await ours();
  const competitors: [string, Program][] = [];
  try {
    const wasm = await (await wasmEngine()).compile('dcgan-sample', sample, inputs);
    await wasm.run(feeds);
    competitors.push(['wasm', wasm]);
  } catch (error) {
    note(`tfjs wasm cannot run the generator: ${String(error)}`);
  }
  competitors.push(['cpu', await (await openEngine('tfjs')).compile('dcgan-sample', sample, inputs)]);
  const times: number[] = [];
  for (const [backend, other] of competitors) {
    const ratios: number[] = [];
    for (let turn = 0; turn < 3; turn++) {
      const theirs = await seconds(() => other.run(feeds));
      times.push(await ours());
      ratios.push(theirs / times.at(-1)!);
    }
    report({ case: `${name}: speed over tfjs ${backend}`, value: median(ratios), unit: '×' });
  }
  report({ case: `${name}: engine ${engine.name}`, value: batch / median(times), unit: 'images/s' });
  await program.dispose();
}

/** Can tfjs' wasm backend train at all? Says which kernel is missing when it cannot. */
async function wasmStep(batch: number): Promise<void> {
  try {
    const program = await (await wasmEngine()).compile('dcgan-step', step, stepInputs(batch));
    await trainer(program)(1);
    note('tfjs wasm ran a whole step: it has grown the kernels it lacked');
  } catch (error) {
    note(`tfjs wasm cannot run the step: ${(error as Error).message.split('\n')[0]}`);
  }
}

export const bench = {
  name: 'engine',
  summary: `a conditional DCGAN (D ${PARAMETERS.d} parameters, G ${PARAMETERS.g}, noise ${NOISE}, ${CLASSES} classes), Adam inside the graph`,
  async run(args: string[], report: (row: BenchRow) => void): Promise<void> {
    const { values } = parseArgs({
      args,
      options: {
        engine: { type: 'string', default: 'cpu' },
        batch: { type: 'string', default: '64' },
        threads: { type: 'string', default: '2' },
      },
    });
    const [batch, threads] = [Number(values.batch), Number(values.threads)];
    const engine = await openEngine(values.engine as EngineName, { threads });
    await trainingStep(engine, batch, threads, report);
    await againstOracle(engine, report);
    await sampling(engine, batch, report);
    await wasmStep(2);
    await engine.dispose();
  },
};
