/** Ways to tamper with the lines of a log, drawn from a seed. Each names the first entry that is not what it was. */
import type { SigningKeys } from '../../shared/identity/keys.ts';
import { CONSORTIUM, signJson } from '../../shared/identity/signed.ts';

export interface Mutation {
  readonly what: string;
  /** The log file as it was left, in bytes. */
  readonly bytes: Uint8Array;
  /** The first entry that differs from the log's own. */
  readonly entry: number;
}

/** Whole numbers in [0, n), the same for the same seed: xorshift, since nothing here has to be unpredictable. */
export function drawsOf(seed: number): (n: number) => number {
  let x = ((seed * 2654435761 + 88172645463325252) % 2 ** 32) | 1;
  return (n) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % n;
  };
}

const WAYS = [
  'flip',
  'drop',
  'reorder',
  'duplicate',
  'truncate',
  'cut',
  'value',
  'renumber',
  're-sign',
  'insert',
] as const;

/**
 * One way of tampering.
 * @param lines - without line breaks. @param forger - keys that are nobody's in this run.
 */
export async function mutate(lines: readonly string[], seed: number, forger: SigningKeys): Promise<Mutation> {
  const draw = drawsOf(seed);
  const n = lines.length;
  const at = draw(n);
  const what = WAYS[draw(WAYS.length)];
  const left = (changed: readonly string[], entry: number): Mutation => ({
    what,
    bytes: Buffer.from(changed.map((line) => `${line}\n`).join('')),
    entry,
  });
  switch (what) {
    case 'flip': {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
      const where = draw(bytes.length);
      bytes[where] ^= 1 << draw(8);
      let entry = 0;
      for (let end = Buffer.byteLength(lines[0]) + 1; end <= where; end += Buffer.byteLength(lines[entry]) + 1)
        entry += 1;
      return { what, bytes, entry };
    }
    case 'drop':
      return left(lines.toSpliced(at, 1), at);
    case 'reorder': {
      const [a, b] = [Math.min(at, n - 2), Math.min(at, n - 2) + 1 + draw(n - 1 - Math.min(at, n - 2))];
      return left(lines.with(a, lines[b]).with(b, lines[a]), a);
    }
    case 'duplicate':
      return left(lines.toSpliced(at + 1, 0, lines[at]), at + 1);
    case 'truncate':
      return left(lines.slice(0, at), at);
    case 'cut': {
      // In the middle of a line, or just before its line break.
      const whole = Buffer.from(
        lines
          .slice(0, at + 1)
          .map((line) => `${line}\n`)
          .join(''),
      );
      const size = Buffer.byteLength(lines[at]) + 1;
      return { what, bytes: whole.subarray(0, whole.length - 1 - draw(size - 1)), entry: at };
    }
    case 'value': {
      const entry = parsed(lines[at]);
      const changed = { ...entry, timeMs: entry.timeMs + 1 + draw(1000) };
      return left(lines.with(at, canonical(changed)), at);
    }
    case 'renumber': {
      // Drops an entry and gives those behind it the numbers that hide it.
      const kept = lines.toSpliced(at, 1).map((line, i) => (i < at ? line : canonical({ ...parsed(line), index: i })));
      return left(kept, at);
    }
    case 're-sign': {
      const signed = lines.findIndex((line, i) => i >= at && JWS.test(line));
      const which = signed >= 0 ? signed : lines.findLastIndex((line) => JWS.test(line));
      const line = lines[which];
      const jws = JWS.exec(line)![0];
      return left(lines.with(which, line.replace(jws, await forge(jws, forger))), which);
    }
    case 'insert': {
      const forged = { version: 1, index: at, timeMs: 1, kind: 'operator-action', body: { action: 'forge', by: 'me' } };
      const after = lines.slice(at).map((line, i) => canonical({ ...parsed(line), index: at + 1 + i }));
      return left([...lines.slice(0, at), canonical(forged), ...after], at);
    }
  }
}

const JWS = /eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}/;
interface Line {
  index: number;
  timeMs: number;
  [key: string]: unknown;
}
const parsed = (line: string): Line => JSON.parse(line) as Line;

/** Keys in order, as the log's own lines have them; every value here is one that JSON spells in one way. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, v: unknown) =>
    typeof v === 'object' && v !== null && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );

/** The same statement, signed well, by somebody else. */
function forge(jws: string, forger: SigningKeys): Promise<string> {
  const [header, payload] = jws.split('.').map((part) => JSON.parse(tryText(part)) as Record<string, unknown>);
  return signJson(forger, payload['body'], { typ: String(header['typ']), audience: CONSORTIUM, nowMs: 0 });
}
const tryText = (part: string): string => {
  const text = Buffer.from(part, 'base64url').toString();
  return text.startsWith('{') ? text : '{}';
};
