/**
 * A network's parameters as one flat vector: what is sent, averaged, clipped, noised and stored. The layout says which
 * part of the vector is which parameter; the order is that in which the network names them.
 */
import { FedError } from '../errors.ts';
import { float32, sizeOf, type Specs } from '../engine/program.ts';
import { PublicRandom } from '../public-random.ts';
import type { ParameterSpec } from './layers.ts';

export interface LayoutEntry extends ParameterSpec {
  /** Where the parameter begins in the flat vector. */
  readonly offset: number;
  readonly size: number;
}

export interface Layout {
  readonly entries: readonly LayoutEntry[];
  /** d: values in all. */
  readonly length: number;
}

/** @throws {FedError} PARAMETER_INVALID when two parameters have the same name. */
export function layoutOf(specs: readonly ParameterSpec[]): Layout {
  const entries: LayoutEntry[] = [];
  let offset = 0;
  for (const spec of specs) {
    if (entries.some(({ name }) => name === spec.name))
      throw new FedError('PARAMETER_INVALID', `two parameters are called '${spec.name}'`);
    const size = sizeOf(spec.shape);
    entries.push({ ...spec, offset, size });
    offset += size;
  }
  return { entries, length: offset };
}

/** The program inputs that hold a layout's parameters, each name with `prefix` before it. */
export function parameterInputs(layout: Layout, prefix: string): Specs {
  return Object.fromEntries(layout.entries.map(({ name, shape }) => [prefix + name, float32(...shape)]));
}

/**
 * Views of a flat vector, one a parameter; nothing is copied.
 * @throws {FedError} PARAMETER_INVALID when the vector is not [d].
 */
export function parameterFeeds(layout: Layout, flat: Float32Array, prefix: string): Record<string, Float32Array> {
  if (flat.length !== layout.length)
    throw new FedError('PARAMETER_INVALID', `${flat.length} parameters where the network has ${layout.length}`);
  return Object.fromEntries(
    layout.entries.map(({ name, offset, size }) => [prefix + name, flat.subarray(offset, offset + size)]),
  );
}

/** Adds named arrays to a flat vector in double precision: how micro-batches are summed. */
export function addToFlat(
  layout: Layout,
  named: Readonly<Record<string, ArrayLike<number>>>,
  prefix: string,
  into: Float64Array,
): void {
  for (const { name, offset, size } of layout.entries) {
    const values = named[prefix + name];
    for (let i = 0; i < size; i++) into[offset + i] += values[i];
  }
}

/** First values of every parameter: a pure function of the layout and a public seed. [d] */
export function initialise(layout: Layout, seed: string): Float32Array {
  const flat = new Float32Array(layout.length);
  for (const { name, offset, size, initialiser } of layout.entries) {
    if (initialiser.kind === 'constant') {
      flat.fill(initialiser.value, offset, offset + size);
      continue;
    }
    // A stream for each name, so that adding a layer changes no other layer's first values.
    const draws = new PublicRandom(`initial ${seed} ${name}`).gaussians(size);
    for (let i = 0; i < size; i++) flat[offset + i] = initialiser.std * draws[i];
  }
  return flat;
}
