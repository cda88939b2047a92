import { FedError } from '../errors.ts';
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
}

/**
 * Records `fn` once and returns it as an ONNX model whose inputs and outputs are called by their record keys.
 *
 * @throws {FedError} KERNEL_MISSING with the kernel's name; PARAMETER_INVALID for a constant of the wrong size.
 */
export function traceToOnnx(name: string, fn: TensorFunction, inputs: Specs, options: TraceOptions = {}): Trace {
  const constants = options.constants ?? {};
  for (const [key, values] of Object.entries(constants))
    if (!(key in inputs) || sizeOf(inputs[key].shape) !== values.length)
      throw new FedError('PARAMETER_INVALID', `${name}: constant '${key}' does not fit its spec`);
  const { graph, outputs } = record(name, fn, inputs, constants);
  const specs: Record<string, TensorSpec> = {};
  const outputNames: Record<string, string> = {};
  for (const [key, { shape, dtype }] of Object.entries(outputs)) {
    specs[key] = { shape, dtype: dtype === 'float32' ? 'float32' : 'int32' };
    outputNames[key] = key in inputs ? `${key}.out` : key;
  }
  const named = Object.entries(outputs).map(([key, value]) => ({ name: outputNames[key], value }));
  return { onnx: encodeOnnx(graph.finish(name, named)), outputs: specs, outputNames };
}
