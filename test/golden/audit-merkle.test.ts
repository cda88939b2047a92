import { expect, test } from 'vitest';
import {
  EMPTY_FRONTIER,
  EMPTY_ROOT,
  appendLeaf,
  consistencyParts,
  foldPart,
  inclusionParts,
  leafHash,
  nodeHash,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from '../../shared/audit/merkle.ts';
import type { Hash, Part } from '../../shared/audit/merkle.ts';

// Source: google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc (kSHA256Roots, kPaths, kSHA256Proofs).
const LEAVES = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
const ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];
const A = '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7';
const B = '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e';
const C = '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4';
const D = 'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b';
const E = 'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0';
const F = '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a';

const hex = (h: Hash): string => Buffer.from(h).toString('hex');
const bytes = (text: string): Hash => Buffer.from(text, 'hex');
const leaves = LEAVES.map((text) => leafHash(bytes(text)));

/** The definition of RFC 6962 section 2.1, word for word: what everything else is held against. */
function mth(hashes: readonly Hash[]): Hash {
  if (hashes.length === 0) return EMPTY_ROOT;
  if (hashes.length === 1) return hashes[0];
  let k = 1;
  while (2 * k < hashes.length) k *= 2;
  return nodeHash(mth(hashes.slice(0, k)), mth(hashes.slice(k)));
}
const treeOf = (hashes: readonly Hash[]) => hashes.reduce((f, h) => appendLeaf(f, h).frontier, EMPTY_FRONTIER);
const proofOf = (parts: readonly Part[], hashes: readonly Hash[]): Hash[] =>
  parts.map((part) =>
    foldPart(part.map(({ level, index }) => mth(hashes.slice(index * 2 ** level, (index + 1) * 2 ** level)))),
  );

test('the roots of certificate transparency, for 0 to 8 leaves', () => {
  expect(hex(EMPTY_ROOT)).toBe(ROOTS[0]);
  for (let n = 0; n <= 8; n++) {
    expect(hex(rootOf(treeOf(leaves.slice(0, n))))).toBe(ROOTS[n]);
    expect(hex(mth(leaves.slice(0, n)))).toBe(ROOTS[n]);
  }
});

test.each<[number, number, string[]]>([
  [0, 1, []],
  [0, 8, [A, B, C]],
  [5, 8, [D, E, ROOTS[4]]],
  [2, 3, [ROOTS[2]]],
  [1, 5, [ROOTS[1], B, D]],
])('the inclusion proof of leaf %i in %i', (index, size, expected) => {
  const proof = proofOf(inclusionParts(index, size), leaves);
  expect(proof.map(hex)).toEqual(expected);
  const root = bytes(ROOTS[size]);
  expect(verifyInclusion({ index, size, leaf: leaves[index], proof, root })).toBe(true);
});

test.each<[number, number, string[]]>([
  [1, 1, []],
  [1, 8, [A, B, C]],
  [6, 8, [F, E, ROOTS[4]]],
  [2, 5, [B, D]],
])('the consistency proof from %i leaves to %i', (from, to, expected) => {
  const proof = proofOf(consistencyParts(from, to), leaves);
  expect(proof.map(hex)).toEqual(expected);
  const [fromRoot, toRoot] = [bytes(ROOTS[from]), bytes(ROOTS[to])];
  expect(verifyConsistency({ from, to, fromRoot, toRoot, proof })).toBe(true);
});
