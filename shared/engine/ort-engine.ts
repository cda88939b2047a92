import type * as Ort from 'onnxruntime-node';
import { FedError } from '../errors.ts';
import { checkFeeds, type Arrays, type Engine, type EngineName, type Program } from './program.ts';
import { traceToOnnx } from './trace.ts';

/**
 * Programs that ONNX Runtime runs. Loaded on first use: importing this file loads no native library.
 *
 * A run occupies the thread it is called from until it is done (0.1 to 1 s for a training step): timers and sockets of
 * that thread wait. Work that must not wait belongs between micro-batches.
 */

export type OrtEngineName = Exclude<EngineName, 'tfjs' | 'tfjs-node-gpu'>;

/** Speed settings; they change rounding at most. */
export interface OrtOptions {
  /** Threads inside one operator; ONNX Runtime's own choice (physical cores) when left out. */
  readonly threads?: number;
}

/** ONNX Runtime's log level "error": its warnings are about its own optimiser. */
const LOG_ERRORS_ONLY = 3;

/**
 * Idle threads sleep. By default they spin, which doubles the processor time of a training step and, where several
 * sites share a machine, makes it two to three times slower.
 */
const WAIT_ASLEEP = '0';

export async function openOrtEngine(name: OrtEngineName, options: OrtOptions = {}): Promise<Engine> {
  const ort = await import('onnxruntime-node');
  const session: Ort.InferenceSession.SessionOptions = {
    executionProviders: name === 'cpu' ? ['cpu'] : [name, 'cpu'],
    graphOptimizationLevel: 'all',
    logSeverityLevel: LOG_ERRORS_ONLY,
    extra: { session: { 'intra_op.allow_spinning': WAIT_ASLEEP } },
    ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads }),
  };
  return {
    name,
    compile: async (program, fn, inputs) => {
      const { onnx, outputs, outputNames } = traceToOnnx(program, fn, inputs);
      const opened = await ort.InferenceSession.create(onnx, session);
      return ortProgram(ort, opened, { name: program, inputs, outputs }, outputNames);
    },
    dispose: async () => undefined,
  };
}

function ortProgram(
  ort: typeof Ort,
  session: Ort.InferenceSession,
  head: Pick<Program, 'name' | 'inputs' | 'outputs'>,
  outputNames: Readonly<Record<string, string>>,
): Program {
  let open = true;
  return {
    ...head,
    run: async (feeds) => {
      if (!open) throw new FedError('PARAMETER_INVALID', `${head.name} was disposed`);
      checkFeeds(head.name, head.inputs, feeds);
      const tensors: Record<string, Ort.Tensor> = {};
      for (const [key, { shape, dtype }] of Object.entries(head.inputs))
        tensors[key] = new ort.Tensor(dtype, feeds[key] as Float32Array, shape);
      const results = await session.run(tensors);
      const out: Arrays = {};
      for (const [key, id] of Object.entries(outputNames)) out[key] = results[id].data as Float32Array | Int32Array;
      return out;
    },
    dispose: async () => {
      if (open) await session.release();
      open = false;
    },
  };
}
