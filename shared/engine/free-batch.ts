import { FedError } from '../errors.ts';
import type { Constant, FinishedGraph, Node } from './graph.ts';

/**
 * One graph for every batch size, from two recordings of one function at two batch sizes.
 *
 * What differs between the two is what depends on the batch. In a reshape that is one entry of the target shape, which
 * ONNX can infer; in a slice an end, which may lie beyond the tensor. Anything else is refused by name.
 */

/** Two sizes that no layer's width is likely to be. */
export const FREE_BATCH_SIZES = [1009, 1013] as const;

/** Beyond the end of any axis. */
const TO_THE_END = 2 ** 31 - 1;

function reconcile(node: Node, a: Constant, b: Constant): Constant {
  const differing = Array.from({ length: a.values.length }, (_, i) => i).filter((i) => a.values[i] !== b.values[i]);
  if (differing.length === 0) return a;
  const replaced = (value: number) => ({
    ...a,
    values: Array.from(a.values, (x, i) => (differing.includes(i) ? value : x)),
  });
  if (node.op === 'Reshape' && differing.length === 1) return replaced(-1);
  if (node.op === 'Slice' && differing.every((i) => a.values[i] === FREE_BATCH_SIZES[0])) return replaced(TO_THE_END);
  throw new FedError('PARAMETER_INVALID', `the batch cannot be left free: ${node.op} depends on it`);
}

/**
 * @param a - recorded at the first of FREE_BATCH_SIZES.
 * @param b - the same function at the second.
 * @throws {FedError} PARAMETER_INVALID, with the operator's name, when the graph must know the batch size.
 */
export function withFreeBatch(a: FinishedGraph, b: FinishedGraph): FinishedGraph {
  const same = (x: Node, y: Node | undefined) =>
    y !== undefined &&
    x.op === y.op &&
    x.inputs.join() === y.inputs.join() &&
    JSON.stringify(x.attributes) === JSON.stringify(y.attributes);
  const different = a.nodes.find((node, i) => !same(node, b.nodes[i]));
  if (different || a.nodes.length !== b.nodes.length)
    throw new FedError(
      'PARAMETER_INVALID',
      `the batch cannot be left free: ${different?.op ?? 'the graph'} depends on it`,
    );
  const constants = new Map(a.constants);
  for (const node of a.nodes)
    for (const id of node.inputs) {
      const [one, other] = [a.constants.get(id), b.constants.get(id)];
      if (one && other) constants.set(id, reconcile(node, one, other));
    }
  for (const { name, value } of a.outputs)
    if (value.shape[0] !== FREE_BATCH_SIZES[0])
      throw new FedError('PARAMETER_INVALID', `the batch cannot be left free: output '${name}' has none`);
  return { ...a, constants };
}
