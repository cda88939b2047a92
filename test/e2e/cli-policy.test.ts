import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { boundsFor } from '../../cli/site-folder.ts';
import type { Policy } from '../../shared/policy/schema.ts';
import { cli, sentence, temporaryFolder, tinyPolicy } from '../support/cli-rig.ts';

const root = temporaryFolder();
const { at } = root;

beforeAll(() => {
  const text = tinyPolicy();
  writeFileSync(at('a.json'), text);
  writeFileSync(
    at('b.json'),
    tinyPolicy((p) => Object.assign(p['privacy'], { maxSteps: 25 })),
  );
  const bounds = boundsFor(JSON.parse(text) as Policy);
  writeFileSync(at('bounds.json'), JSON.stringify(bounds));
  writeFileSync(at('strict.json'), JSON.stringify({ ...bounds, maxSteps: 5, maxEpsilon: 0.5 }));
});
afterAll(() => root[Symbol.dispose]());

test('policy diff: two policies, or a policy against bounds; only a decline exits 3', async () => {
  const [same, other, agrees, declines] = await Promise.all([
    cli('policy', 'diff', at('a.json'), at('a.json')),
    cli('policy', 'diff', at('a.json'), at('b.json')),
    cli('policy', 'diff', at('a.json'), at('bounds.json')),
    cli('policy', 'diff', at('a.json'), at('strict.json'), '--site', 'hospital-a'),
  ]);
  expect([same.code, same.out]).toEqual([0, expect.stringMatching(/^the same policy: /)]);
  expect(other.code).toBe(0);
  expect(other.out).toMatch(/privacy\.maxSteps: 20 -> 25 {2}\(protects less\)/);
  expect(other.out).toMatch(/A whole run spends epsilon [\d.]+, then [\d.]+\./);
  expect([agrees.code, agrees.out]).toEqual([0, 'ok: this site agrees to all of it\n']);
  expect(declines.code).toBe(3);
  expect(declines.out).toMatch(/privacy\.maxSteps: .* is 20; this site allows at most 5\.\n {2}the policy’s reason: /);
  expect(declines.out).toMatch(/privacy\.epsilon: .* allows at most 0\.5\./);
});

test('policy diff and explain for machines; a file that is neither exits with a sentence', async () => {
  writeFileSync(at('neither.json'), '{"maxEpsilon": 3}');
  const [json, explained, neither, unknown] = await Promise.all([
    cli('policy', 'diff', at('a.json'), at('b.json'), '--json'),
    cli('policy', 'explain', at('a.json'), '--json'),
    cli('policy', 'diff', at('a.json'), at('neither.json')),
    cli('policy', 'explain', at('a.json'), '--profile', 'ccpa'),
  ]);
  const diff = JSON.parse(json.out) as { differences: { path: string }[]; spends: { before: number; after: number } };
  expect(diff.differences.map((d) => d.path)).toEqual(['privacy.maxSteps']);
  expect(diff.spends.after).toBeGreaterThan(diff.spends.before);
  const { costs } = JSON.parse(explained.out) as { costs: { patient: { rdp: number; pld: number } } };
  expect(costs.patient.pld).toBeLessThan(costs.patient.rdp);
  expect([neither.code, sentence(neither).length > 0]).toEqual([3, true]);
  expect([unknown.code, sentence(unknown)]).toEqual([
    2,
    expect.stringMatching(/no profile "ccpa"; there are gdpr, hipaa/),
  ]);
});

test('policy explain speaks plainly, and puts provisions beside values', async () => {
  const { code, out } = await cli('policy', 'explain', at('a.json'), '--profile', 'gdpr');
  expect(code).toBe(0);
  expect(out).toMatch(/What is promised, and to whom\n {2}To every patient of every site/);
  expect(out).toMatch(/Article 35\(7\)[^]*privacy\.epsilon = 10: loose[^]*leaves open:/);
  expect(out).toMatch(/claims no compliance/);
});
