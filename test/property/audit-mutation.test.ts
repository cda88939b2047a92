import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AuditFolder } from '../../cli/audit/read-folder.ts';
import type { Problem } from '../../shared/audit/verify/findings.ts';
import { type AuditTrust } from '../../shared/audit/verify/run-audit.ts';
import { type LogAudit, auditLog } from '../../shared/audit/verify/verify-log.ts';
import { FedError } from '../../shared/errors.ts';
import { type SigningKeys, createSigningKeys } from '../../shared/identity/keys.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { exportedRun } from '../support/audit-rig.ts';
import { type Mutation, mutate } from '../support/mutate-log.ts';

// Every seed is one way of tampering with the log of a run: 10,000 in the slow suite, the first ones always.
const CASES = process.env['VEILGAN_SLOW'] ? 10_000 : 150;

const folder = mkdtempSync(join(tmpdir(), 'veilgan-mutation-'));
afterAll(() => rmSync(folder, { recursive: true }));
const forger: SigningKeys = createSigningKeys();
let lines: string[];
let trust: AuditTrust;
let exported: AuditFolder;

beforeAll(async () => {
  const { cast } = await exportedRun(folder, { rounds: 2 });
  lines = readFileSync(join(folder, 'log.jsonl'), 'utf8').split('\n').slice(0, -1);
  exported = new AuditFolder(folder);
  trust = { coordinator: publicPart(cast.coordinator.signing), sites: null };
}, 60_000);

/** As `audit verify` reads a file: split at line breaks, byte for byte. */
async function* linesOf(bytes: Uint8Array): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let from = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, from)) {
    let text: string;
    try {
      text = decoder.decode(bytes.subarray(from, at));
    } catch {
      throw new FedError('LOG_INVALID', 'the line is not UTF-8');
    }
    yield text;
    from = at + 1;
  }
  if (from < bytes.length) throw new FedError('LOG_INVALID', 'the last line has no line break');
}

function audit(bytes: Uint8Array, o: { leaves: boolean }): Promise<LogAudit> {
  return auditLog({
    lines: linesOf(bytes),
    leaves: o.leaves ? exported.leaves() : null,
    checkpoints: exported.checkpoints(),
    policyOf: (sha256) => exported.policy(sha256),
    trust,
  });
}

const firstOf = (problems: readonly Problem[]): number | null =>
  problems.reduce<number | null>(
    (first, p) => (p.entry !== null && (first === null || p.entry < first) ? p.entry : first),
    null,
  );
const untouched = () => Buffer.from(lines.map((line) => `${line}\n`).join(''));

test('control: the log as it was exported is clean, with leaf hashes and without', async () => {
  expect((await audit(untouched(), { leaves: true })).findings.problems).toEqual([]);
  expect((await audit(untouched(), { leaves: false })).findings.problems).toEqual([]);
});

test(
  `${CASES} ways of tampering with entries are found, each at the entry that was touched`,
  async () => {
    const missed: unknown[] = [];
    const ways = new Map<string, number>();
    for (let seed = 0; seed < CASES; seed++) {
      const m: Mutation = await mutate(lines, seed, forger);
      ways.set(m.what, (ways.get(m.what) ?? 0) + 1);
      const { findings } = await audit(m.bytes, { leaves: true });
      const first = firstOf(findings.problems);
      if (first !== m.entry) missed.push({ seed, what: m.what, entry: m.entry, first, problems: findings.problems });
    }
    expect(missed).toEqual([]);
    // All ten ways were tried.
    expect(ways.size).toBe(10);
  },
  CASES * 300,
);

test(
  'without leaf hashes a change is still found, between two checkpoints',
  async () => {
    for (let seed = 0; seed < CASES / 5; seed++) {
      const m = await mutate(lines, seed, forger);
      const { findings } = await audit(m.bytes, { leaves: false });
      expect([seed, m.what, findings.problems.length > 0]).toEqual([seed, m.what, true]);
    }
  },
  CASES * 300,
);

test('positive control: where no checkpoint covers it, a changed time goes unseen', async () => {
  const last = lines.length - 1;
  const changed = lines.with(
    last,
    lines[last].replace(/"timeMs":(\d+)/, (_, t: string) => `"timeMs":${Number(t) + 1}`),
  );
  expect(changed[last]).not.toBe(lines[last]);
  const { findings } = await auditLog({
    lines: changed,
    leaves: null,
    checkpoints: exported.checkpoints().slice(0, -1),
    policyOf: (sha256) => exported.policy(sha256),
    trust,
  });
  // All that is said is that nothing covers it: the change itself cannot be seen.
  expect(findings.problems.map((p) => p.detail)).toEqual([expect.stringMatching(/are under no checkpoint$/)]);
});
