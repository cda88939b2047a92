import * as tf from '@tensorflow/tfjs';
import { FedError } from '../errors.ts';
import { Graph, type Value, type ValueType } from './graph.ts';
import { convolutions } from './kernels/conv.ts';
import { creations } from './kernels/create.ts';
import { elementwise } from './kernels/elementwise.ts';
import { indexing } from './kernels/index-by.ts';
import { products } from './kernels/linear.ts';
import { logic } from './kernels/logic.ts';
import { normalisations } from './kernels/normalise.ts';
import { pools } from './kernels/pool.ts';
import { reductions } from './kernels/reduce.ts';
import { resizes } from './kernels/resize.ts';
import type { Rule, Rules } from './kernels/rule.ts';
import { shapes } from './kernels/shape.ts';
import type { Specs, TensorFunction } from './program.ts';

/**
 * The tfjs backend that computes nothing and writes down what it is asked to compute.
 *
 * tfjs runs a function's kernels on whatever backend is current. This one appends ONNX nodes to a graph and answers
 * with shapes. Since tfjs' autodiff is itself made of kernels, one call of a function that uses `tf.valueAndGrads`
 * records the forward and the backward pass together.
 */

const BACKEND = 'veilgan-recorder';

/** tfjs kernel name to how it is written down. What is not here is refused by name. */
export const RULES: Rules = {
  ...convolutions,
  ...creations,
  ...elementwise,
  ...indexing,
  ...logic,
  ...normalisations,
  ...pools,
  ...products,
  ...reductions,
  ...resizes,
  ...shapes,
};

class RecordingBackend extends tf.KernelBackend {
  readonly #values = new WeakMap<object, Value>();
  graph = new Graph();
  kernels = new Set<string>();

  /** A tensor that stands for a value of the graph. */
  tensorInfo(value: Value): tf.TensorInfo {
    const dataId = {};
    this.#values.set(dataId, value);
    return { dataId, shape: [...value.shape], dtype: value.dtype as tf.DataType };
  }

  /** The graph's value for a tensor. One that was made on another backend is taken in as a constant. */
  symbolOf({ dataId, shape, dtype }: tf.TensorInfo): Value {
    const known = this.#values.get(dataId);
    if (known) return known;
    return this.#constant(tf.engine().readSync(dataId), shape, dtype);
  }

  #constant(values: tf.backend_util.BackendValues, shape: readonly number[], dtype: string): Value {
    if (dtype !== 'float32' && dtype !== 'int32' && dtype !== 'bool')
      throw new FedError('KERNEL_MISSING', `no tensors of type ${dtype}`);
    const kept =
      dtype === 'float32' ? Float32Array.from(values as Float32Array) : Int32Array.from(values as Int32Array);
    return this.graph.constant(kept, shape, dtype satisfies ValueType);
  }

  override write(values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType): object {
    const dataId = {};
    this.#values.set(dataId, this.#constant(values, shape, dtype));
    return dataId;
  }

  override readSync(): never {
    throw new FedError('PARAMETER_INVALID', 'the function reads a tensor while it is being recorded');
  }

  override async read(): Promise<never> {
    return this.readSync();
  }

  override disposeData(): boolean {
    return true;
  }

  override numDataIds(): number {
    return 0;
  }

  override memory() {
    return { unreliable: true };
  }

  override floatPrecision(): 32 {
    return 32;
  }

  override incRef(): void {
    // Nothing to count: values belong to the graph.
  }

  override refCount(): number {
    return 1;
  }
}

/** Stops tfjs from printing advice on a person's console. */
export function quietTensorflow(): void {
  tf.env().set('PROD', true);
}

/** Registers the backend and its kernels, once. */
function recorder(): RecordingBackend {
  if (!tf.findBackendFactory(BACKEND)) {
    tf.registerBackend(BACKEND, () => new RecordingBackend(), 0);
    for (const [kernelName, rule] of Object.entries(RULES)) {
      tf.registerKernel({
        kernelName,
        backendName: BACKEND,
        kernelFunc: ({ inputs, attrs }) => {
          const backend = tf.findBackend(BACKEND) as RecordingBackend;
          backend.kernels.add(kernelName);
          const values: Record<string, Value> = {};
          for (const [name, info] of Object.entries(inputs)) if (info) values[name] = backend.symbolOf(info);
          const result = (rule as Rule<unknown>)(backend.graph, values, attrs);
          if (Array.isArray(result)) return (result as Value[]).map((value) => backend.tensorInfo(value));
          return backend.tensorInfo(result as Value);
        },
      });
    }
  }
  // No await: tfjs switches to a backend with a synchronous factory before its promise is returned.
  void tf.setBackend(BACKEND);
  return tf.backend() as RecordingBackend;
}

export interface Recording {
  readonly graph: Graph;
  readonly outputs: Readonly<Record<string, Value>>;
  /** Names of the tfjs kernels the function used. */
  readonly kernels: ReadonlySet<string>;
}

/** What tfjs says when a kernel or a gradient is not registered; the name is in the second group. */
const MISSING = /(Kernel|registered kernel|gradient function not found for) '?(\w+)'?/;

/**
 * Calls `fn` once and returns the graph of what it did.
 *
 * @param constants - inputs whose values are fixed; they become constants of the graph.
 * @throws {FedError} KERNEL_MISSING for a kernel without a rule or a gradient tfjs does not have; PARAMETER_INVALID
 *   for a function that reads a tensor or returns none.
 */
export function record(
  name: string,
  fn: TensorFunction,
  inputs: Specs,
  constants: Readonly<Record<string, ArrayLike<number>>> = {},
): Recording {
  quietTensorflow();
  const previous = tf.getBackend() as string | undefined;
  const backend = recorder();
  const graph = new Graph();
  backend.graph = graph;
  backend.kernels = new Set();
  const outputs: Record<string, Value> = {};
  try {
    forbidRandomness(() => {
      tf.tidy(() => {
        const placeholders: Record<string, tf.Tensor> = {};
        for (const [key, { shape, dtype }] of Object.entries(inputs)) {
          const fixed = constants[key] as ArrayLike<number> | undefined;
          const value = fixed ? graph.constant(fixed, shape, dtype) : graph.input(key, shape, dtype);
          placeholders[key] = tf.engine().makeTensorFromTensorInfo(backend.tensorInfo(value));
        }
        for (const [key, tensor] of Object.entries(fn(placeholders))) {
          const value = backend.symbolOf(tensor);
          outputs[key] = value.dtype === 'bool' ? graph.cast(value, 'int32') : value;
        }
      });
    });
  } catch (error) {
    if (error instanceof FedError) throw error;
    const [, what, missing] = MISSING.exec(String(error)) ?? [];
    if (missing === undefined) throw error;
    const thing = what.startsWith('gradient') ? 'gradient of kernel' : 'kernel';
    throw new FedError('KERNEL_MISSING', `${name} needs the ${thing} ${missing}`, { cause: error });
  } finally {
    void tf.setBackend(previous ?? 'cpu');
  }
  if (Object.keys(outputs).length === 0) throw new FedError('PARAMETER_INVALID', `${name} returns no tensor`);
  return { graph, outputs, kernels: backend.kernels };
}

/**
 * Runs `body` while a draw from the process-wide generator throws.
 *
 * tfjs seeds its random tensors from it, in JavaScript and without any kernel. Recorded, such a tensor would be the
 * same at every run of the program, which is never what was meant.
 */
function forbidRandomness(body: () => void): void {
  /* eslint-disable no-restricted-properties -- replaced, never called */
  const original = Math.random;
  Math.random = () => {
    throw new FedError(
      'KERNEL_MISSING',
      'random kernels (RandomNormal, RandomUniform, Dropout) are not recorded: pass the draws in',
    );
  };
  try {
    body();
  } finally {
    Math.random = original;
  }
  /* eslint-enable no-restricted-properties */
}
