/**
 * The Merkle tree of RFC 6962 (section 2.1), pure: which hashes a proof needs, how they are put together, how a proof is
 * checked. Nothing here stores anything. A tree of n leaves keeps its complete subtrees, fewer than 2n hashes; an append
 * writes two of them on average, and every root and proof reads O(log n).
 *
 * Leaves and inner nodes are hashed under different prefixes, so that no inner node can pass for an entry.
 */
import { hash } from 'node:crypto';
import { FedError } from '../errors.ts';

/** A SHA-256, 32 bytes. */
export type Hash = Uint8Array;

/** The complete subtree over the leaves [index · 2^level, (index + 1) · 2^level). */
export interface NodeId {
  readonly level: number;
  readonly index: number;
}
export interface TreeNode extends NodeId {
  readonly hash: Hash;
}

/** All that is needed to append: the complete subtrees that make up [0, size), the largest first; at most 53 hashes. */
export interface Frontier {
  readonly size: number;
  readonly hashes: readonly Hash[];
}
export const EMPTY_FRONTIER: Frontier = Object.freeze({ size: 0, hashes: Object.freeze([]) });

const sha256 = (bytes: Uint8Array): Hash => hash('sha256', bytes, 'buffer');

/** MTH of one entry: SHA-256(0x00 ‖ entry). */
export function leafHash(entry: Uint8Array | string): Hash {
  const bytes = typeof entry === 'string' ? Buffer.from(entry) : entry;
  const prefixed = Buffer.allocUnsafe(1 + bytes.length);
  prefixed[0] = 0;
  prefixed.set(bytes, 1);
  return sha256(prefixed);
}

/** SHA-256(0x01 ‖ left ‖ right). */
export function nodeHash(left: Hash, right: Hash): Hash {
  const prefixed = Buffer.allocUnsafe(65);
  prefixed[0] = 1;
  prefixed.set(left, 1);
  prefixed.set(right, 33);
  return sha256(prefixed);
}

/** MTH of no entries: SHA-256 of nothing. */
export const EMPTY_ROOT: Hash = sha256(new Uint8Array());

export const sameHash = (a: Hash, b: Hash): boolean => Buffer.compare(a, b) === 0;

/** Appends one leaf. @returns the frontier behind it, and the subtrees it completed: the leaf first, the largest last. */
export function appendLeaf(f: Frontier, leaf: Hash): { frontier: Frontier; complete: TreeNode[] } {
  const hashes = [...f.hashes];
  const complete: TreeNode[] = [{ level: 0, index: f.size, hash: leaf }];
  let node = leaf;
  let index = f.size;
  for (let level = 1; index % 2 === 1; level++) {
    const left = hashes.pop();
    if (left === undefined) throw new FedError('PARAMETER_INVALID', `no frontier of ${f.size} leaves`);
    node = nodeHash(left, node);
    index = (index - 1) / 2;
    complete.push({ level, index, hash: node });
  }
  hashes.push(node);
  return { frontier: { size: f.size + 1, hashes }, complete };
}

/** The root of the tree with this frontier. */
export const rootOf = (f: Frontier): Hash => (f.size === 0 ? EMPTY_ROOT : foldPart(f.hashes));

/** Puts the hashes of a part (`Part`) together: its own Merkle tree hash. */
export const foldPart = (hashes: readonly Hash[]): Hash => hashes.reduceRight((right, left) => nodeHash(left, right));

/** One hash of a proof, as the complete subtrees it is folded from, left to right. */
export type Part = readonly NodeId[];

/** Complete subtrees that make up the leaves [begin, end), left to right. Small wherever `begin` divides evenly. */
function subtreesOf(begin: number, end: number): NodeId[] {
  const found: NodeId[] = [];
  for (let at = begin; at < end;) {
    let [level, width] = [0, 1];
    while (at % (2 * width) === 0 && at + 2 * width <= end) [level, width] = [level + 1, 2 * width];
    found.push({ level, index: at / width });
    at += width;
  }
  return found;
}

/** Which subtrees the frontier of this size holds. */
export const frontierNodes = (size: number): Part => subtreesOf(0, size);

/** Largest power of two below n, for n > 1. */
function splitOf(n: number): number {
  let k = 1;
  while (2 * k < n) k *= 2;
  return k;
}

/**
 * What the inclusion proof of leaf `index` in the tree of `size` leaves consists of, from the leaf's sibling up.
 * @see RFC 6962 section 2.1.1
 */
export function inclusionParts(index: number, size: number): Part[] {
  if (!(index >= 0 && index < size)) throw new FedError('PARAMETER_INVALID', `no leaf ${index} in ${size}`);
  const parts: Part[] = [];
  let [begin, end] = [0, size];
  while (end - begin > 1) {
    const middle = begin + splitOf(end - begin);
    if (index < middle) {
      parts.push(subtreesOf(middle, end));
      end = middle;
    } else {
      parts.push(subtreesOf(begin, middle));
      begin = middle;
    }
  }
  return parts.reverse();
}

/**
 * What the consistency proof from the tree of `from` leaves to that of `to` consists of. Empty where one of them says
 * nothing: from nothing, or to itself.
 * @see RFC 6962 section 2.1.2
 */
export function consistencyParts(from: number, to: number): Part[] {
  if (!(from >= 0 && from <= to)) throw new FedError('PARAMETER_INVALID', `no way from ${from} leaves to ${to}`);
  if (from === 0 || from === to) return [];
  const parts: Part[] = [];
  let [begin, end] = [0, to];
  let known = true;
  while (end !== from) {
    const middle = begin + splitOf(end - begin);
    if (from <= middle) {
      parts.push(subtreesOf(middle, end));
      end = middle;
    } else {
      parts.push(subtreesOf(begin, middle));
      begin = middle;
      known = false;
    }
  }
  if (!known) parts.push(subtreesOf(begin, end));
  return parts.reverse();
}

/**
 * Whether `leaf` stands at `index` in the tree of `size` leaves with this root.
 * @see RFC 9162 section 2.1.3.2
 */
export function verifyInclusion(p: {
  index: number;
  size: number;
  leaf: Hash;
  proof: readonly Hash[];
  root: Hash;
}): boolean {
  if (!(Number.isSafeInteger(p.size) && p.index >= 0 && p.index < p.size)) return false;
  let [node, last] = [p.index, p.size - 1];
  let hash = p.leaf;
  for (const other of p.proof) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(other, hash);
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, half(last)];
    } else hash = nodeHash(hash, other);
    [node, last] = [half(node), half(last)];
  }
  return last === 0 && sameHash(hash, p.root);
}

/**
 * Whether the tree of `to` leaves with root `toRoot` begins with the tree of `from` leaves with root `fromRoot`.
 * @see RFC 9162 section 2.1.4.2
 */
export function verifyConsistency(p: {
  from: number;
  to: number;
  fromRoot: Hash;
  toRoot: Hash;
  proof: readonly Hash[];
}): boolean {
  const { from, to, fromRoot, toRoot } = p;
  if (!(Number.isSafeInteger(to) && from >= 0 && from <= to)) return false;
  if (from === 0) return p.proof.length === 0 && sameHash(fromRoot, EMPTY_ROOT);
  if (from === to) return p.proof.length === 0 && sameHash(fromRoot, toRoot);
  // A complete tree is its own first step, and is left out of the proof.
  const [first, ...rest] = isPowerOfTwo(from) ? [fromRoot, ...p.proof] : p.proof;
  if (first === undefined) return false;
  let [node, last] = [from - 1, to - 1];
  while (node % 2 === 1) [node, last] = [half(node), half(last)];
  let [old, now] = [first, first];
  for (const other of rest) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      old = nodeHash(other, old);
      now = nodeHash(other, now);
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, half(last)];
    } else now = nodeHash(now, other);
    [node, last] = [half(node), half(last)];
  }
  return last === 0 && sameHash(old, fromRoot) && sameHash(now, toRoot);
}

const half = (n: number): number => Math.floor(n / 2);
function isPowerOfTwo(n: number): boolean {
  while (n % 2 === 0) n /= 2;
  return n === 1;
}
