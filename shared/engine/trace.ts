import { FedError } from '../errors.ts';
import { FREE_BATCH_SIZES, withFreeBatch } from './free-batch.ts';
import { encodeOnnx } from './onnx-model.ts';
import { sizeOf, type Specs, type TensorFunction, type TensorSpec } from './program.ts';
import { record } from './recording-backend.ts';

/** A function, recorded. */
export interface Trace {
  /** An ONNX model: IR version 8, opset 17. */
  readonly onnx: Uint8Array;
  readonly outputs: Specs;
  /** The name each output has in the model: its key, or `key.out` where an input is called so already. */
  readonly outputNames: Readonly<Record<string, string>>;
}

export interface TraceOptions {
  /** Inputs to bake in: they become constants of the model and are no longer inputs. */
  readonly constants?: Readonly<Record<string, Float32Array | Int32Array>>;
  /**
   * Leaves axis 0 of every other input and of every output free, under this name. What the inputs' specs say about
   * axis 0 is then ignored, and so is axis 0 in the specs of the outputs, which is -1.
   */
  readonly dynamicBatch?: string;
}

/**
 * Records `fn` once and returns it as an ONNX model whose inputs and outputs are called by their record keys.
 *
 * @throws {FedError} KERNEL_MISSING with the kernel's name; PARAMETER_INVALID for a constant of the wrong size, and
 *   with `dynamicBatch` for a function whose graph depends on the batch size.
 */
export function traceToOnnx(name: string, fn: TensorFunction, inputs: Specs, options: TraceOptions = {}): Trace {
  const { constants = {}, dynamicBatch } = options;
  for (const [key, values] of Object.entries(constants))
    if (!(key in inputs) || sizeOf(inputs[key].shape) !== values.length)
      throw new FedError('PARAMETER_INVALID', `${name}: constant '${key}' does not fit its spec`);
  if (dynamicBatch === undefined) {
    const { graph, head } = finished(name, fn, inputs, constants);
    return { onnx: encodeOnnx(graph), ...head };
  }
  const [a, b] = FREE_BATCH_SIZES.map((n) => finished(name, fn, resized(inputs, constants, n), constants));
  const outputs = Object.fromEntries(
    Object.entries(a.head.outputs).map(([key, { shape, dtype }]) => [key, { shape: [-1, ...shape.slice(1)], dtype }]),
  );
  return { onnx: encodeOnnx(withFreeBatch(a.graph, b.graph), dynamicBatch), ...a.head, outputs };
}

/** The specs with axis 0 of every input that is not a constant set to `n`. */
function resized(inputs: Specs, constants: object, n: number): Specs {
  return Object.fromEntries(
    Object.entries(inputs).map(([key, spec]) => [
      key,
      key in constants ? spec : { ...spec, shape: [n, ...spec.shape.slice(1)] },
    ]),
  );
}

function finished(
  name: string,
  fn: TensorFunction,
  inputs: Specs,
  constants: Readonly<Record<string, ArrayLike<number>>>,
) {
  const { graph, outputs } = record(name, fn, inputs, constants);
  const specs: Record<string, TensorSpec> = {};
  const outputNames: Record<string, string> = {};
  for (const [key, { shape, dtype }] of Object.entries(outputs)) {
    specs[key] = { shape, dtype: dtype === 'float32' ? 'float32' : 'int32' };
    outputNames[key] = key in inputs && !(key in constants) ? `${key}.out` : key;
  }
  const named = Object.entries(outputs).map(([key, value]) => ({ name: outputNames[key], value }));
  return { graph: graph.finish(name, named), head: { outputs: specs, outputNames } };
}
