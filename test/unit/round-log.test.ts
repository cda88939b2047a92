import { expect, test } from 'vitest';
import { canonicalJson, hashJson, sha256Hex } from '../../shared/audit/canonical.ts';
import type { LogDraft, LogEntry } from '../../shared/audit/entry.ts';
import { EMPTY_LOG, appendEntry, headAfter, verifyChain } from '../../shared/audit/log.ts';
import { FedError } from '../../shared/errors.ts';

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return error instanceof FedError ? error.code : String(error);
  }
  return 'no error';
};
const action = (by: string): LogDraft => ({ kind: 'operator-action', body: { action: 'test', by } });
const logOf = (n: number): LogEntry[] => {
  const log: LogEntry[] = [];
  for (let i = 0, head = EMPTY_LOG; i < n; i++) {
    log.push(appendEntry(head, action(`op ${i}`), 1000 + i));
    head = headAfter(log[i]);
  }
  return log;
};

test('canonical JSON sorts keys and refuses what JSON cannot say', () => {
  // RFC 8785 section 3.2.2, numbers and a literal of the example.
  const rfc = { numbers: [333333333.33333329, 1e30, 4.5, 2e-3, 0.000000000000000000000000001], literals: [null, true] };
  expect(canonicalJson(rfc)).toBe('{"literals":[null,true],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}');
  expect(hashJson({ b: 1, a: 2 })).toBe(sha256Hex('{"a":2,"b":1}'));
  for (const bad of [undefined, NaN, { x: Infinity }])
    expect(codeOf(() => canonicalJson(bad))).toBe('PARAMETER_INVALID');
});

test('a chain verifies from its start and from any head on the way', () => {
  const log = logOf(5);
  expect(verifyChain(log)).toEqual({ size: 5, root: log[4].hash });
  expect(verifyChain(log.slice(3), headAfter(log[2]))).toEqual(headAfter(log[4]));
  expect(verifyChain([])).toEqual(EMPTY_LOG);
});

test('every single change to an entry is found: the positive control of the chain', () => {
  const log = logOf(3);
  const tampered: [string, (e: LogEntry) => unknown][] = [
    ['body', (e) => ({ ...e, body: { action: 'test', by: 'somebody else' } })],
    ['time', (e) => ({ ...e, timeMs: e.timeMs + 1 })],
    ['kind', (e) => ({ ...e, kind: 'run-finished' })],
    ['previous', (e) => ({ ...e, previous: 'f'.repeat(64) })],
    ['hash', (e) => ({ ...e, hash: 'f'.repeat(64) })],
    ['index', (e) => ({ ...e, index: 7 })],
    ['one field more', (e) => ({ ...e, note: 'x' })],
  ];
  for (const [what, change] of tampered)
    expect([what, codeOf(() => verifyChain(log.with(1, change(log[1]) as LogEntry)))]).toEqual([what, 'LOG_INVALID']);
  expect(codeOf(() => verifyChain([log[0], log[2]]))).toBe('LOG_INVALID');
  expect(codeOf(() => verifyChain([log[1], log[0], log[2]]))).toBe('LOG_INVALID');
});

test('a consistent chain of entries outside the closed union is refused', () => {
  const { hash: _, ...rest } = { ...appendEntry(EMPTY_LOG, action('me'), 1), body: { privateMean: 0.25 } };
  expect(codeOf(() => verifyChain([{ ...rest, hash: hashJson(rest) }]))).toBe('LOG_INVALID');
  const draft = { kind: 'operator-action', body: { action: 'test', by: 'me', patients: 17 } } as unknown as LogDraft;
  expect(codeOf(() => appendEntry(EMPTY_LOG, draft, 1))).toBe('PARAMETER_INVALID');
});
