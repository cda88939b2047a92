import type { Tensor } from '@tensorflow/tfjs';
import { FedError } from '../errors.ts';

/**
 * What an engine is: something that turns a tfjs function into a program that runs fast.
 *
 * The same function runs on every engine; only speed and rounding differ. This file holds the vocabulary and the one
 * check every engine makes on what it is fed. It holds no engine: see `open.ts`.
 */

/** Element types that cross the border of a program. Inside a graph there are booleans too. */
export type DType = 'float32' | 'int32';

/** Shape and element type of one named tensor. A shape is static; `[]` is a scalar. */
export interface TensorSpec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

export type Specs = Readonly<Record<string, TensorSpec>>;

/** Row-major values by name; the shapes are in the program's specs. */
export type Arrays = Record<string, Float32Array | Int32Array>;

/**
 * A pure function of named tensors, written with `@tensorflow/tfjs`, gradients (`tf.grads`, `tf.valueAndGrads`)
 * included. It must not read a tensor's values (`dataSync`), must not draw random numbers (pass them in), and must not
 * close over tensors that change: it is called once, and what it did that time is the program.
 */
export type TensorFunction = (inputs: Record<string, Tensor>) => Record<string, Tensor>;

/** A compiled function. `run` may be called any number of times; calls are answered in order. */
export interface Program {
  readonly name: string;
  readonly inputs: Specs;
  readonly outputs: Specs;
  /** @throws {FedError} PARAMETER_INVALID when a feed is missing, unknown, of the wrong length or of the wrong type. */
  run(feeds: Arrays): Promise<Arrays>;
  dispose(): Promise<void>;
}

export const ENGINE_NAMES = ['cpu', 'webgpu', 'cuda', 'coreml', 'dml', 'tfjs-node-gpu', 'tfjs'] as const;

/** `cpu` needs nothing and is the default; `tfjs` is slow and there to check the others. */
export type EngineName = (typeof ENGINE_NAMES)[number];

export interface Engine {
  readonly name: EngineName;
  /**
   * @param name - for error messages and the graph's name.
   * @throws {FedError} KERNEL_MISSING, with the kernel's name, when the function uses what the engine cannot do.
   */
  compile(name: string, fn: TensorFunction, inputs: Specs): Promise<Program>;
  dispose(): Promise<void>;
}

/** Number of elements of a shape. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/** Shorthand for a float32 spec. */
export const float32 = (...shape: number[]): TensorSpec => ({ shape, dtype: 'float32' });

/** Shorthand for an int32 spec. */
export const int32 = (...shape: number[]): TensorSpec => ({ shape, dtype: 'int32' });

/** @throws {FedError} PARAMETER_INVALID unless `feeds` has exactly the names, types and sizes of `specs`. */
export function checkFeeds(program: string, specs: Specs, feeds: Arrays): void {
  for (const name of Object.keys(feeds))
    if (!(name in specs)) throw new FedError('PARAMETER_INVALID', `${program} has no input '${name}'`);
  for (const [name, { shape, dtype }] of Object.entries(specs)) {
    const values = feeds[name] as Float32Array | Int32Array | undefined;
    const kind = dtype === 'float32' ? Float32Array : Int32Array;
    if (!(values instanceof kind) || values.length !== sizeOf(shape)) {
      const got = values === undefined ? 'nothing' : `${values.constructor.name} of ${values.length}`;
      throw new FedError(
        'PARAMETER_INVALID',
        `${program} wants '${name}' as ${dtype} [${shape.join(', ')}], got ${got}`,
      );
    }
  }
}
