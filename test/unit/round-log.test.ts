import { expect, test } from 'vitest';
import { canonicalJson, hashJson, sha256Hex } from '../../shared/audit/canonical.ts';
import type { LogDraft, LogEntry } from '../../shared/audit/entry.ts';
import {
  EMPTY_LOG,
  draftOf,
  entryLeaf,
  followEntries,
  headOf,
  headOfEntries,
  makeEntry,
} from '../../shared/audit/log.ts';
import { appendLeaf, EMPTY_FRONTIER } from '../../shared/audit/merkle.ts';
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
const logOf = (n: number): LogEntry[] => Array.from({ length: n }, (_, i) => makeEntry(i, action(`op ${i}`), 1000 + i));

test('canonical JSON sorts keys and refuses what JSON cannot say', () => {
  // RFC 8785 section 3.2.2, numbers and a literal of the example.
  const rfc = { numbers: [333333333.33333329, 1e30, 4.5, 2e-3, 0.000000000000000000000000001], literals: [null, true] };
  expect(canonicalJson(rfc)).toBe('{"literals":[null,true],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}');
  expect(hashJson({ b: 1, a: 2 })).toBe(sha256Hex('{"a":2,"b":1}'));
  for (const bad of [undefined, NaN, { x: Infinity }])
    expect(codeOf(() => canonicalJson(bad))).toBe('PARAMETER_INVALID');
});

test('a log verifies from its start and from any point on the way', () => {
  const log = logOf(5);
  const whole = followEntries(log);
  expect(headOfEntries(log)).toEqual(headOf(whole));
  expect(whole.size).toBe(5);
  expect(followEntries(log.slice(3), followEntries(log.slice(0, 3)))).toEqual(whole);
  expect(headOfEntries([])).toEqual(EMPTY_LOG);
  // The hash of nothing, as RFC 6962 has it.
  expect(EMPTY_LOG.root).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  expect(headOf(appendLeaf(EMPTY_FRONTIER, entryLeaf(log[0])).frontier)).toEqual(headOfEntries(log.slice(0, 1)));
});

test('every single change to an entry gives another root, or is refused', () => {
  const log = logOf(3);
  const { root } = headOfEntries(log);
  const tampered: [string, (e: LogEntry) => unknown][] = [
    ['body', (e) => ({ ...e, body: { action: 'test', by: 'somebody else' } })],
    ['time', (e) => ({ ...e, timeMs: e.timeMs + 1 })],
  ];
  for (const [what, change] of tampered)
    expect([what, headOfEntries(log.with(1, change(log[1]) as LogEntry)).root]).not.toEqual([what, root]);
  const refused: [string, (e: LogEntry) => unknown][] = [
    ['kind', (e) => ({ ...e, kind: 'run-finished' })],
    ['kind nobody knows', (e) => ({ ...e, kind: 'private-mean' })],
    ['version', (e) => ({ ...e, version: 2 })],
    ['index', (e) => ({ ...e, index: 7 })],
    ['one field more', (e) => ({ ...e, note: 'x' })],
    ['no body', ({ body: _, ...e }) => e],
  ];
  for (const [what, change] of refused)
    expect([what, codeOf(() => headOfEntries(log.with(1, change(log[1]) as LogEntry)))]).toEqual([what, 'LOG_INVALID']);
  expect(codeOf(() => headOfEntries([log[0], log[2]]))).toBe('LOG_INVALID');
  expect(codeOf(() => headOfEntries([log[1], log[0], log[2]]))).toBe('LOG_INVALID');
});

test('nothing outside the closed union enters the log', () => {
  const entry = { ...makeEntry(0, action('me'), 1), body: { privateMean: 0.25 } };
  expect(codeOf(() => headOfEntries([entry]))).toBe('LOG_INVALID');
  expect(codeOf(() => draftOf(entry))).toBe('LOG_INVALID');
  const draft = { kind: 'operator-action', body: { action: 'test', by: 'me', privateMean: 0.25 } } as LogDraft;
  expect(codeOf(() => makeEntry(0, draft, 1))).toBe('PARAMETER_INVALID');
});
