import * as tf from '@tensorflow/tfjs';
import {
  checkFeeds,
  sizeOf,
  type Arrays,
  type Engine,
  type EngineName,
  type Specs,
  type TensorSpec,
} from './program.ts';
import { quietTensorflow, record } from './recording-backend.ts';

/**
 * The same functions run kernel by kernel on a tfjs backend: what every other engine is checked against.
 *
 * @param backend - the tfjs backend's name; it must be registered, and initialised if it needs time to start.
 */
export function eagerEngine(name: EngineName, backend: string): Engine {
  return {
    name,
    compile: async (program, fn, inputs) => {
      // Recording finds missing kernels, random draws and the outputs' shapes without computing anything.
      const outputs = outputSpecs(record(program, fn, inputs).outputs);
      return {
        name: program,
        inputs,
        outputs,
        run: async (feeds) => {
          checkFeeds(program, inputs, feeds);
          return onBackend(backend, () =>
            tf.tidy(() => {
              const tensors: Record<string, tf.Tensor> = {};
              for (const [key, { shape, dtype }] of Object.entries(inputs))
                tensors[key] = tf.tensor(feeds[key], [...shape], dtype);
              const results: Arrays = {};
              for (const [key, tensor] of Object.entries(fn(tensors))) results[key] = valuesOf(tensor);
              return results as never;
            }),
          );
        },
        dispose: async () => undefined,
      };
    },
    dispose: async () => undefined,
  };
}

/** A copy, so that the next run cannot change what this one returned. */
function valuesOf(tensor: tf.Tensor): Float32Array | Int32Array {
  const values = tensor.dataSync();
  return tensor.dtype === 'float32' ? Float32Array.from(values) : Int32Array.from(values);
}

/** Runs `body` with another tfjs backend current. Synchronous, so nothing else can run on it meanwhile. */
function onBackend<T>(backend: string, body: () => T): T {
  quietTensorflow();
  const previous = tf.getBackend() as string | undefined;
  void tf.setBackend(backend);
  try {
    return body();
  } finally {
    if (previous !== undefined) void tf.setBackend(previous);
  }
}

const outputSpecs = (values: Readonly<Record<string, { shape: readonly number[]; dtype: string }>>): Specs =>
  Object.fromEntries(
    Object.entries(values).map(([key, { shape, dtype }]): [string, TensorSpec] => [
      key,
      { shape, dtype: dtype === 'float32' ? 'float32' : 'int32' },
    ]),
  );

/** Zeros for every input, for a first look at a program. */
export const zeroFeeds = (inputs: Specs): Arrays =>
  Object.fromEntries(
    Object.entries(inputs).map(([key, { shape, dtype }]) => {
      const n = sizeOf(shape);
      return [key, dtype === 'float32' ? new Float32Array(n) : new Int32Array(n)];
    }),
  );
