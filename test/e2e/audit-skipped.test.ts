/** What an auditor finds of phases that a log passes over: where it is right, nothing; elsewhere, the entry. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AuditFolder } from '../../cli/audit/read-folder.ts';
import { verifyFolder } from '../../cli/audit/verify-folder.ts';
import type { CoordinatorScheme } from '../../shared/aggregation/aggregation.ts';
import { secaggCoordinator } from '../../shared/aggregation/secagg/coordinator.ts';
import { canonicalJson } from '../../shared/audit/canonical.ts';
import type { LogEntry } from '../../shared/audit/entry.ts';
import { wrongWithSkip } from '../../shared/audit/verify/skipped-phase.ts';
import type { AuditTrust } from '../../shared/audit/verify/run-audit.ts';
import { auditLog } from '../../shared/audit/verify/verify-log.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import { exportedRun, handedOver } from '../support/audit-rig.ts';
import { MASKED, castOf, testPolicy } from '../support/round-rig.ts';
import type { Cast } from '../support/round-rig.ts';
import { maskedPolicy, sceneOf } from '../support/secagg-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-skipped-'));
afterAll(() => rmSync(folder, { recursive: true }));
const cast = castOf(4);
const trust: AuditTrust = { coordinator: publicPart(cast.coordinator.signing), sites: null };
const [UPLOAD, AGREE, REVEAL] = [2, 3, 4];

type Body = Record<string, unknown> & { phase?: number; round?: number };
type Line = Omit<LogEntry, 'body'> & { readonly body: Body };
const linesIn = (out: string): Line[] =>
  readFileSync(join(out, 'log.jsonl'), 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
const at = (lines: readonly Line[], kind: string, phase: number): number =>
  lines.findIndex((l) => l.kind === kind && l.body.phase === phase);

let masked: Line[];
let exported: AuditFolder;
beforeAll(async () => {
  const out = join(folder, 'masked');
  await exportedRun(out, { rounds: 2, cast, aggregation: MASKED });
  masked = linesIn(out);
  exported = new AuditFolder(out);
}, 60_000);

/** What is wrong with the order of these entries, each numbered by its place. Trees and checkpoints are looked at elsewhere. */
async function wrongIn(lines: readonly Line[], policyOf = (sha256: string) => exported.policy(sha256)) {
  async function* each() {
    for (const [index, line] of lines.entries()) yield canonicalJson({ ...line, index });
  }
  const audit = await auditLog({ lines: each(), leaves: null, checkpoints: [], policyOf, trust });
  const order = audit.findings.sorted().filter((p) => p.code === 'ORDER' && /skipped|not open/.test(p.detail));
  return { gaps: audit.findings.gaps, order: order.map((p) => [p.entry, p.detail] as const) };
}

test('a run whose rounds pass over their agreement verifies, and its log names the phase', async () => {
  const report = await verifyFolder(join(folder, 'masked'), { keys: handedOver(cast) });
  expect(report.problems).toEqual([]);
  const skipped = masked.filter((l) => l.kind === 'phase-skipped').map((l) => [l.body.round, l.body.phase]);
  expect(skipped).toEqual([
    [0, AGREE],
    [1, AGREE],
    [2, AGREE],
  ]);
  expect((await wrongIn(masked)).order).toEqual([]);
});

test('a log of an earlier build, with an agreement in each step, verifies too', async () => {
  const out = join(folder, 'agreed');
  /** As before there was a whole list: uploads always lead to an agreement. */
  const schemeOf = (policy: CheckedPolicy, { roster }: Cast): CoordinatorScheme => {
    const now = secaggCoordinator({ policy, terms: roundTermsOf(policy), roster: () => roster });
    return {
      ...now,
      async close(c) {
        const result = await now.close(c);
        if (c.phase !== UPLOAD || !('next' in result) || result.next === null) return result;
        const survivors = [...c.answers.keys()].sort();
        const downlinks = new Map(survivors.map((siteId) => [siteId, { survivors }]));
        return { next: { ...result.next, phase: AGREE, downlinks } };
      },
    };
  };
  await exportedRun(out, { rounds: 2, cast, aggregation: MASKED, schemeOf });
  const lines = linesIn(out);
  expect(lines.filter((l) => l.kind === 'sealed' && l.body.phase === AGREE).length).toBe(3);
  expect(lines.some((l) => l.kind === 'phase-skipped')).toBe(false);
  const report = await verifyFolder(out, { keys: handedOver(cast) });
  expect(report.problems).toEqual([]);
}, 60_000);

test('a gap that the log does not name is found at the first entry after it', async () => {
  const cut = at(masked, 'phase-skipped', AGREE);
  const { order } = await wrongIn(masked.toSpliced(cut, 1));
  expect(order[0]).toEqual([cut, expect.stringMatching(/answer of site-. to phase 4, which is not open/)]);
});

test('a phase that no scheme passes over is found, and one that is not the next', async () => {
  const seal = at(masked, 'sealed', 0);
  const entry = masked[at(masked, 'phase-skipped', AGREE)];
  const skip = (phase: number): Line => ({ ...entry, body: { ...entry.body, phase } });
  // Shares that were never made.
  const without = masked.filter((l) => !(l.body.round === 0 && l.body.phase === 1));
  const bare = await wrongIn(without.toSpliced(seal + 1, 0, skip(1)));
  expect(bare.order[0]).toEqual([seal + 1, 'phase 1 is skipped, which no scheme passes over here']);
  // Another than the one that follows; one that is open; the same twice; the opening besides.
  const place = at(masked, 'phase-skipped', AGREE);
  for (const [where, phase] of [
    [place, REVEAL],
    [seal, 1],
    [place + 1, AGREE],
    [place + 1, REVEAL],
  ]) {
    const { order } = await wrongIn(masked.toSpliced(where, 0, skip(phase)));
    const wrong = [where, `phase ${phase} is skipped, which is not the next`];
    const asked = [where, 'phase 4 is skipped, which no scheme passes over here'];
    expect([wrong, asked]).toContainEqual(order[0]);
  }
});

test('an agreement is not passed over where an upload is missing', async () => {
  const upload = at(masked, 'answer-accepted', UPLOAD);
  const siteId = masked[upload].body['siteId'] as string;
  const seal = at(masked, 'sealed', UPLOAD);
  const lines = masked.map((l, i): Line => {
    if (i !== seal) return l;
    const contributors = (l.body['contributors'] as string[]).filter((id) => id !== siteId);
    const missing = [...(l.body['missing'] as string[]), siteId].sort();
    return { ...l, body: { ...l.body, contributors, missing } };
  });
  const { order } = await wrongIn(lines.toSpliced(upload, 1));
  expect(order).toEqual([[seal, `phase ${AGREE} is skipped, though ${siteId} had sent nothing`]]);
});

test('rounds in the clear, and rounds of so many sites that they mask in a graph, pass over nothing', async () => {
  const out = join(folder, 'clear');
  await exportedRun(out, { rounds: 1, cast });
  const lines = linesIn(out);
  const seal = at(lines, 'sealed', 0);
  const { round, attempt } = lines[seal].body as { round: number; attempt: number };
  const entry: Line = { ...lines[seal], kind: 'phase-skipped', body: { round, attempt, phase: 1 } };
  const clear = new AuditFolder(out);
  const { order } = await wrongIn(lines.toSpliced(seal + 1, 0, entry), (sha256) => clear.policy(sha256));
  expect(order).toEqual([[seal + 1, 'phase 1 is skipped, which no scheme passes over here']]);

  const { plan } = sceneOf(5, maskedPolicy({ minSites: 5, maxSites: 5, maxDropouts: 2 }));
  const answered = new Map([1, UPLOAD].map((phase) => [phase, new Set(plan.invited)]));
  const among = (graphAboveSites: number) =>
    wrongWithSkip(testPolicy({ aggregation: { ...MASKED, graphAboveSites } }), plan, UPLOAD, AGREE, answered);
  expect(among(5)).toBeNull();
  expect(among(4)).toBe('which is not passed over among so many sites');
});

test('without the policy it is said that this was not checked', async () => {
  const { gaps, order } = await wrongIn(masked, () => null);
  expect(order).toEqual([]);
  expect(gaps).toContain('whether phases may be skipped in rounds of so many sites');
});
