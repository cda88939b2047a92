/**
 * SEAL by hand: what it writes, read byte by byte, and BFV decryption with big integers. Without SEAL, and without our own
 * code that writes envelopes. The layout is that of docs/aggregation-bfv.md and, inside, of SEAL 4.1
 * (`native/src/seal/serialization.h`, `ciphertext.cpp`, `plaintext.cpp`, `util/ntt.cpp`); zstd is Node's.
 */
import { zstdDecompressSync } from 'node:zlib';

const viewOf = (b: Uint8Array) => new DataView(b.buffer, b.byteOffset, b.byteLength);
const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');

/** Our header, then (length, tag, what SEAL wrote) for every chunk. */
export function parseEnvelope(bytes: Uint8Array) {
  const view = viewOf(bytes);
  const [magic, version, kind, length, chunks] = [0, 4, 8, 12, 16].map((at) => view.getUint32(at, true));
  const frames = [];
  let at = 52;
  for (let i = 0; i < chunks; i++) {
    const size = view.getUint32(at, true);
    frames.push({ tag: view.getBigUint64(at + 4, true), seal: bytes.subarray(at + 12, at + 12 + size) });
    at += 12 + size;
  }
  return { magic, version, kind, length, parameters: hex(bytes.subarray(20, 52)), frames, rest: bytes.length - at };
}

/** SEAL's header of 16 bytes, and what is behind it, decompressed. */
export function parseSeal(bytes: Uint8Array) {
  const view = viewOf(bytes);
  const header = {
    magic: view.getUint16(0, true),
    headerSize: view.getUint8(2),
    major: view.getUint8(3),
    minor: view.getUint8(4),
    compression: view.getUint8(5),
    reserved: view.getUint16(6, true),
    size: Number(view.getBigUint64(8, true)),
  };
  const body = bytes.subarray(16, header.size);
  return { ...header, body: header.compression === 2 ? new Uint8Array(zstdDecompressSync(body)) : body };
}

/** A ciphertext behind its header: name of the parameters, shape, then its coefficients or half of them and a seed. */
export function parseCiphertext(body: Uint8Array) {
  const view = viewOf(body);
  const u64 = (at: number) => Number(view.getBigUint64(at, true));
  const shape = { ntt: view.getUint8(32), polynomials: u64(33), degree: u64(41), primes: u64(49) };
  const inner = parseSeal(body.subarray(73));
  const count = Number(viewOf(inner.body).getBigUint64(0, true));
  const data = new BigUint64Array(inner.body.slice(8).buffer);
  return { ...shape, scale: view.getFloat64(57, true), count, data, after: body.subarray(73 + inner.size) };
}

const mod = (a: bigint, m: bigint) => ((a % m) + m) % m;
const power = (base: bigint, exponent: bigint, m: bigint): bigint => {
  let [result, b] = [1n, base % m];
  for (let e = exponent; e > 0n; e >>= 1n, b = (b * b) % m) if (e & 1n) result = (result * b) % m;
  return result;
};
const inverse = (a: bigint, m: bigint) => power(a, m - 2n, m);
const reversed = (i: number) => parseInt(i.toString(2).padStart(11, '0').split('').reverse().join(''), 2);
/** The least primitive 2n-th root of unity, which SEAL takes. */
const root = (m: bigint, n: number): bigint => {
  const order = BigInt(2 * n);
  let g = 2n;
  while (power(g, (m - 1n) / 2n, m) === 1n) g += 1n;
  const some = power(g, (m - 1n) / order, m);
  const square = (some * some) % m;
  let [best, at] = [some, some];
  for (let i = 1; i < n; i++) {
    at = (at * square) % m;
    if (at < best) best = at;
  }
  return best;
};
/** Values at the odd powers of the root, in SEAL's bit-reversed order, to coefficients. By halves: n log n. */
const toCoefficients = (values: readonly bigint[], psi: bigint, m: bigint): bigint[] => {
  const go = (v: bigint[], roots: bigint[]): bigint[] => {
    // v[k] = f at roots[k]; pairs of roots are opposite: f = e(x²) + x·o(x²).
    if (v.length === 1) return v;
    const half = v.length / 2;
    const [even, odd, squares]: [bigint[], bigint[], bigint[]] = [[], [], []];
    for (let k = 0; k < half; k++) {
      const [a, b] = [v[2 * k], v[2 * k + 1]];
      even.push(mod((a + b) * inverse(2n, m), m));
      odd.push(mod((a - b) * inverse(2n * roots[2 * k], m), m));
      squares.push((roots[2 * k] * roots[2 * k]) % m);
    }
    const [e, o] = [go(even, squares), go(odd, squares)];
    return e.flatMap((c, i) => [c, o[i]]);
  };
  const roots = values.map((_, i) => power(psi, BigInt(2 * reversed(i) + 1), m));
  return go([...values], roots);
};
const slotOrder = (n: number): number[] => {
  // Batching: slot i of the first row is at 3^i, of the second at -3^i.
  const order: number[] = [];
  let at = 1;
  for (let i = 0; i < n / 2; i++) {
    order[i] = (at - 1) / 2;
    order[n / 2 + i] = (2 * n - at - 1) / 2;
    at = (at * 3) % (2 * n);
  }
  return order;
};
const evaluate = (f: readonly bigint[], psi: bigint, m: bigint): bigint[] => {
  // At psi^(2k+1) for every k: f(psi·w^k), by halves.
  const go = (c: readonly bigint[], w: bigint): bigint[] => {
    if (c.length === 1) return [...c];
    const [e, o] = [go(c.filter((_, i) => i % 2 === 0), (w * w) % m), go(c.filter((_, i) => i % 2 === 1), (w * w) % m)]; // prettier-ignore
    const out: bigint[] = [];
    let x = 1n;
    for (let k = 0; k < e.length; k++, x = (x * w) % m) {
      out[k] = mod(e[k] + x * o[k], m);
      out[k + e.length] = mod(e[k] - x * o[k], m);
    }
    return out;
  };
  let twist = 1n;
  const twisted = f.map((c) => {
    const value = (c * twist) % m;
    twist = (twist * psi) % m;
    return value;
  });
  return go(twisted, (psi * psi) % m);
};

/** The parameters by their numbers. */
export interface Numbers {
  readonly coeffModulus: bigint;
  readonly plainModulus: bigint;
  readonly polyModulusDegree: number;
}

/** A secret key is a plaintext in NTT form: name, count, scale, then its values at the roots. [N], of -1, 0 and 1 */
export function secretCoefficients(bytes: Uint8Array, { coeffModulus: q, polyModulusDegree: n }: Numbers): bigint[] {
  const inner = parseSeal(parseSeal(bytes).body.subarray(32 + 8 + 8));
  return toCoefficients([...new BigUint64Array(inner.body.slice(8).buffer)], root(q, n), q);
}

/** round(t/q · (c0 + c1·s)), then the slots in SEAL's order. @param data - both polynomials. [2·N] */
export function decryptByHand(data: BigUint64Array, s: readonly bigint[], p: Numbers): bigint[] {
  const { coeffModulus: q, plainModulus: t, polyModulusDegree: n } = p;
  const psi = root(q, n);
  const [c0, c1] = [[...data.subarray(0, n)], [...data.subarray(n)]];
  const [e1, es] = [evaluate(c1, psi, q), evaluate(s, psi, q)];
  const product = e1.map((v, i) => (v * es[i]) % q);
  const inSealsOrder = product.map((_, i) => product[reversed(i)]);
  const phase = toCoefficients(inSealsOrder, psi, q).map((c, i) => mod(c + c0[i], q));
  const plain = phase.map((c) => mod((2n * t * c + q) / (2n * q), t));
  const atOdd = evaluate(plain, root(t, n), t);
  return slotOrder(n).map((k) => atOdd[k]);
}
