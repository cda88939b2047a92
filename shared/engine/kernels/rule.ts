import type { Graph, Value } from '../graph.ts';

/** The named inputs of a tfjs kernel. Kernels that take a list have their inputs under '0', '1', ... in order. */
export type Inputs = Readonly<Record<string, Value>>;

/** How one tfjs kernel is written down: it adds nodes to the graph and returns what the kernel would. */
export type Rule<Attrs> = (g: Graph, inputs: Inputs, attrs: Attrs) => Value | readonly Value[];

/** Rules by tfjs kernel name. `never` lets rules with different attributes share one table. */
export type Rules = Readonly<Record<string, Rule<never>>>;

/** NHWC to NCHW and back, as permutations. */
export const TO_NCHW = [0, 3, 1, 2] as const;
export const TO_NHWC = [0, 2, 3, 1] as const;

/** Axes as tfjs gives them (one, several, negative) as a sorted list of axes of a tensor of this rank. */
export function axesOf(axis: number | readonly number[] | undefined | null, rank: number): number[] {
  const all = axis ?? Array.from({ length: rank }, (_, i) => i);
  const list = typeof all === 'number' ? [all] : [...all];
  return list.map((a) => (a < 0 ? a + rank : a)).sort((a, b) => a - b);
}

/** `shape` with the given axis replaced. */
export const withAxis = (shape: readonly number[], axis: number, n: number): number[] =>
  shape.map((old, i) => (i === axis ? n : old));
