/** What an auditor finds of phases that a log passes over: where it is right, nothing; elsewhere, the entry. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AuditFolder } from '../../cli/audit/read-folder.ts';
import { verifyFolder } from '../../cli/audit/verify-folder.ts';
import type { CoordinatorScheme } from '../../shared/aggregation/aggregation.ts';
import { AVAILABLE_SCHEMES } from '../../shared/aggregation/registry.ts';
import { secaggCoordinator } from '../../shared/aggregation/secagg/coordinator.ts';
import { canonicalJson } from '../../shared/audit/canonical.ts';
import type { LogEntry } from '../../shared/audit/entry.ts';
import { wrongWithSkip } from '../../shared/audit/verify/skipped-phase.ts';
import { knowsSumsOf, sumPlace } from '../../shared/audit/verify/sum-place.ts';
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
  const order = audit.findings
    .sorted()
    .filter((p) => p.code === 'ORDER' && /skipped|not open|summed|in the sum|a sum more/.test(p.detail));
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
  expect(order).toEqual([
    [seal, `phase ${AGREE} is skipped, though ${siteId} had sent nothing`],
    [expect.any(Number), `${siteId} is in the sum and sent no update`],
  ]);
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

test('a sum stands after the phase that opens it, once, and of nobody but those whose update is in', async () => {
  const seal = at(masked, 'sealed', REVEAL);
  const sum = masked.findIndex((l) => l.kind === 'aggregated');
  expect(sum).toBe(seal + 1);
  // Moved to right after the uploads: the masks are opened behind it.
  const early = masked.toSpliced(sum, 1).toSpliced(at(masked, 'sealed', UPLOAD) + 1, 0, masked[sum]);
  expect((await wrongIn(early)).order).toEqual([
    [at(masked, 'sealed', UPLOAD) + 1, 'summed before phase 4 was sealed, which opens the sum'],
  ]);
  // Nobody opened anything.
  const cut = masked.filter((l, i) => i > sum || !(l.body.phase === REVEAL));
  const { order } = await wrongIn(cut);
  expect(order).toEqual([[cut.indexOf(masked[sum]), 'summed before phase 4 was sealed, which opens the sum']]);
  // The same sum twice.
  expect((await wrongIn(masked.toSpliced(sum, 0, masked[sum]))).order).toEqual([
    [sum + 1, 'a sum more than the plan has steps'],
  ]);
  // One of those whose update is in sent none in truth: it answered every other phase.
  const siteId = masked[sum].body['contributors'] as string[];
  const lines = masked.filter(
    (l) =>
      !(
        l.kind === 'answer-accepted' &&
        l.body.phase === UPLOAD &&
        l.body.round === 0 &&
        l.body['siteId'] === siteId[0]
      ),
  );
  const found = (await wrongIn(lines)).order.map(([, detail]) => detail);
  expect(found).toContain(`${siteId[0]} is in the sum and sent no update`);
});

test('sums of every scheme have their place', () => {
  const { plan } = sceneOf(5, maskedPolicy({ minSites: 5, maxSites: 5, maxDropouts: 2 }));
  const pooled = { ...plan, kind: 'discriminator', discriminatorSteps: 3 } as const;
  const placesOf = (scheme: string) => [0, 1, 2, 3].map((sums) => sumPlace({ ...pooled, scheme } as typeof plan, sums));
  expect(placesOf('clear')).toEqual([0, 1, 2].map((n) => ({ sealed: n, uploads: n })).concat([null!]));
  expect(placesOf('secagg').map((p) => p?.sealed)).toEqual([4, 7, 10, undefined]);
  expect(sumPlace({ ...plan, scheme: 'bfv' }, 0)).toEqual({ sealed: 3, uploads: 1 });
  expect(sumPlace({ ...plan, scheme: 'bfv' }, 1)).toBeNull();
  for (const scheme of AVAILABLE_SCHEMES) expect(knowsSumsOf(scheme), scheme).toBe(true);
});

test('without the policy it is said that this was not checked', async () => {
  const { gaps, order } = await wrongIn(masked, () => null);
  expect(order).toEqual([]);
  expect(gaps).toContain('whether phases may be skipped in rounds of so many sites');
});
