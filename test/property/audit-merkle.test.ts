import { expect, test } from 'vitest';
import {
  EMPTY_FRONTIER,
  EMPTY_ROOT,
  appendLeaf,
  consistencyParts,
  foldPart,
  frontierNodes,
  inclusionParts,
  leafHash,
  nodeHash,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from '../../shared/audit/merkle.ts';
import type { Frontier, Hash, NodeId, Part } from '../../shared/audit/merkle.ts';

const N = 64;
const leaves = Array.from({ length: N }, (_, i) => leafHash(`entry ${i}`));
const nodes = new Map<string, Hash>();
const nameOf = ({ level, index }: NodeId) => `${level}/${index}`;
const frontiers: Frontier[] = [EMPTY_FRONTIER];
for (const leaf of leaves) {
  const { frontier, complete } = appendLeaf(frontiers.at(-1)!, leaf);
  frontiers.push(frontier);
  for (const node of complete) nodes.set(nameOf(node), node.hash);
}
const roots = frontiers.map(rootOf);

/** As a store answers: only complete subtrees that were written. */
const proofOf = (parts: readonly Part[]): Hash[] =>
  parts.map((part) => foldPart(part.map((id) => nodes.get(nameOf(id))!)));
const flip = (hash: Hash, at: number): Hash => hash.map((b, i) => (i === at % 32 ? b ^ (1 << (at % 8)) : b));

test('a frontier is what the store holds under its names, and is small', () => {
  for (const { size, hashes } of frontiers) {
    expect(frontierNodes(size).map((id) => nodes.get(nameOf(id)))).toEqual(hashes);
    expect(hashes.length).toBe([...size.toString(2)].filter((bit) => bit === '1').length);
  }
  expect(nodes.size).toBe(2 * N - 1);
});

test('inclusion: every leaf of every tree below 64 leaves, and nothing else', () => {
  for (let size = 1; size < N; size++)
    for (let index = 0; index < size; index++) {
      const proof = proofOf(inclusionParts(index, size));
      expect(proof.length).toBeLessThanOrEqual(Math.ceil(Math.log2(size)));
      const good = { index, size, leaf: leaves[index], proof, root: roots[size] };
      expect(verifyInclusion(good)).toBe(true);
      const bad = [
        { ...good, leaf: leaves[(index + 1) % N] },
        { ...good, root: flip(roots[size], index) },
        { ...good, root: roots[size - 1] },
        { ...good, proof: [...proof, roots[1]] },
        { ...good, index: size },
        { ...good, index: -1 },
        ...(proof.length > 0
          ? [
              { ...good, proof: proof.slice(1) },
              { ...good, proof: proof.slice(0, -1) },
              { ...good, proof: proof.with(index % proof.length, flip(proof[index % proof.length], index)) },
              { ...good, index: index === 0 ? 1 : index - 1 },
            ]
          : []),
      ];
      for (const wrong of bad) if (verifyInclusion(wrong)) expect({ ...wrong, index, size }).toBe('refused');
    }
});

test('consistency: every pair of trees below 64 leaves, and nothing else', () => {
  for (let to = 0; to < N; to++)
    for (let from = 0; from <= to; from++) {
      const proof = proofOf(consistencyParts(from, to));
      const good = { from, to, fromRoot: roots[from], toRoot: roots[to], proof };
      expect(verifyConsistency(good)).toBe(true);
      const bad = [
        { ...good, proof: [...proof, roots[1]] },
        { ...good, fromRoot: flip(roots[from], to) },
        { ...good, from: to + 1 },
        ...(from > 0 ? [{ ...good, toRoot: flip(roots[to], from) }] : []),
        ...(proof.length > 0
          ? [
              { ...good, proof: proof.slice(1) },
              { ...good, proof: proof.slice(0, -1) },
              { ...good, proof: proof.with(from % proof.length, flip(proof[from % proof.length], to)) },
              { ...good, fromRoot: roots[from - 1] },
            ]
          : []),
      ];
      for (const wrong of bad) if (verifyConsistency(wrong)) expect({ ...wrong, from, to }).toBe('refused');
    }
});

test('a fork is never consistent: same size, one entry changed, whatever proof the forked log gives', () => {
  const forked = (at: number) =>
    leaves.reduce((f, leaf, i) => appendLeaf(f, i === at ? leafHash('another') : leaf).frontier, EMPTY_FRONTIER);
  for (let at = 0; at < 32; at++)
    for (let from = at + 1; from < N; from++) {
      const proof = proofOf(consistencyParts(from, N));
      const toRoot = rootOf(forked(at));
      expect(verifyConsistency({ from, to: N, fromRoot: roots[from], toRoot, proof })).toBe(false);
    }
});

test('positive control: without domain separation an inner node passes for a leaf', () => {
  const [left, right] = [nodeHash(leaves[0], leaves[1]), nodeHash(leaves[2], leaves[3])];
  const proof = [right];
  // The inner node itself, taken for a leaf hash, fits a tree of two: the prefix is what keeps an entry from hashing to it.
  expect(verifyInclusion({ index: 0, size: 2, leaf: left, proof, root: roots[4] })).toBe(true);
  const preimage = Buffer.concat([leaves[0], leaves[1]]);
  expect(verifyInclusion({ index: 0, size: 2, leaf: leafHash(preimage), proof, root: roots[4] })).toBe(false);
  expect(roots[0]).toEqual(EMPTY_ROOT);
});
