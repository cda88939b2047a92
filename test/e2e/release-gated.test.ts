/**
 * From DICOM files at three sites, over real processes and TLS, through the release gate and two people's signatures, to a
 * data set that Python opens; and what a gate that refuses leaves behind, which is nothing.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { initCoordinator, inviteSite, openCoordinator, existingSigningKeys, storePath, blobsPath } from '../../cli/coordinator-folder.ts'; // prettier-ignore
import { exportFrom } from '../../cli/audit/export-run.ts';
import { coordinatorStatus, readRun, statusText, storedAt } from '../../cli/coordinator-status.ts';
import { requireReleasable } from '../../cli/release/judged.ts';
import { joinSite } from '../../cli/site-folder.ts';
import { addSignOff, createPersonKey, signableIn } from '../../cli/release/sign-off.ts';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { openEngine } from '../../shared/engine/open.ts';
import { FileBlobStore } from '../../shared/protocol/file-blob-store.ts';
import { SignedManifest } from '../../shared/release/manifest.ts';
import { cli, CLASSES, killAll, sentence, startCli, temporaryFolder, tinyPolicy } from '../support/cli-rig.ts';
import { writeDicomPhantoms } from '../support/dicom-folder.ts';
import { gatedFile, gatedPolicy } from '../support/gate-rig.ts';
import { gatedRun } from '../support/gate-run.ts';
import { phantomSite } from '../support/glue-rig.ts';
import { pythonWith } from '../support/medical-data.ts';
import { castOf } from '../support/round-rig.ts';

const root = temporaryFolder();
const { at } = root;
const SITES = ['north', 'south', 'west'];
const IMAGES = 4 * 5;
const release = (dir: string, out: string, ...args: string[]) =>
  cli('release', '--dir', at(dir), '--out', at(out), '--licence', 'CC-BY-4.0', '--per-class', '5', '--threads', '1', ...args); // prettier-ignore
const releasedEntries = async (dir: string) => {
  const { log } = await readRun(storedAt(openCoordinator(at(dir))));
  return log.filter((e) => e.kind === 'released');
};
/** No folder of that name, and no half one beside it. */
const traces = (out: string): string[] =>
  readdirSync(root.path).filter((name) => name === out || name.startsWith('.veilgan-release-'));

beforeAll(async () => {
  const people = ['Ada', 'Bo'].map((name) => ({ name, key: createPersonKey(at(`${name}.json`)).key }));
  const gate = {
    ...{ minSites: 3, images: 100, holdOut: 0.3, leastPatients: 60, noiseMultiplier: 2, maxAnswers: 2 },
    memorisation: { distance: 0.1, shareAtMost: 0.2 },
    membership: { advantageAtMost: 0.4 },
    diversity: { similarityAtMost: 0.999 },
    ...{ cannotTell: 'refuse', signOff: { needed: 2, people } },
  };
  const policyText = tinyPolicy((p) => {
    Object.assign(p, { imaging: { recipe: 'ct-soft-tissue', burnedIn: 'refuse' } });
    Object.assign(p['training'], { rounds: 1 });
    Object.assign(p['privacy'], { sampleRate: 0.08, expectedBatch: 8 });
    Object.assign(p['release'], { gate });
    Object.assign(p['why'], { 'release.gate': 'chosen for a test' });
  });
  const folder = await initCoordinator({ dir: at('hub'), policyText, host: '127.0.0.1', port: 0 });
  const coordinator = startCli('coordinator', 'run', '--dir', at('hub'), '--json', '--threads', '1');
  for (const site of SITES) writeDicomPhantoms(at(`${site}-dicom`), { patients: 96, site, classes: CLASSES });
  await coordinator.until((e) => e['kind'] === 'listening');
  const ended = await Promise.all(
    SITES.map(async (site) => {
      await joinSite(at(site), await inviteSite(folder, site));
      const data = ['--data', at(`${site}-dicom`), '--label-tag', 'BodyPartExamined'];
      return startCli('site', 'run', '--dir', at(site), ...data, '--json', '--threads', '1').ended;
    }),
  );
  expect(ended.map((e) => [e.code, e.err])).toEqual(SITES.map(() => [0, '']));
  expect((await coordinator.ended).code).toBe(0);
}, 120_000);
afterEach(killAll);
afterAll(() => root[Symbol.dispose]());

test('before anybody has signed: the gate says so and by how much, and nothing leaves', async () => {
  const [gate, refused] = await Promise.all([
    cli('coordinator', 'gate', '--dir', at('hub'), '--json'),
    release('hub', 'early'),
  ]);
  const verdict = JSON.parse(gate.out) as { judged: boolean; findings: { bound: string; holds: boolean }[] };
  expect([gate.code, verdict.judged]).toEqual([3, true]);
  expect(verdict.findings.filter((f) => !f.holds).map((f) => f.bound)).toEqual(['sign-off']);
  expect([refused.code, sentence(refused)]).toEqual([3, 'RELEASE_REFUSED: sign-off: 0 of the 2 people needed have signed this candidate.']); // prettier-ignore
  expect(statusText(await coordinatorStatus(openCoordinator(at('hub'))))).toContain('release gate: judged; veilgan coordinator gate has the verdict; 0 of 2 needed have signed'); // prettier-ignore
  expect([traces('early'), await releasedEntries('hub')]).toEqual([[], []]);
}, 60_000);

test('with both signatures, one made from an audit folder, the folder is written, and verify and Python hold it', async (context) => {
  const hub = openCoordinator(at('hub'));
  const sign = (dir: string, name: string) => cli('sign-off', 'sign', '--dir', at(dir), '--key', at(`${name}.json`), '--name', name); // prettier-ignore
  await exportFrom(hub, at('audit'));
  const [ada, bo] = await Promise.all([sign('hub', 'Ada'), sign('audit', 'Bo')]);
  expect([ada.code, bo.code]).toEqual([0, 0]);
  await expect(requireReleasable(hub), 'one of two is not enough').rejects.toThrow(/1 of the 2 people .*: Ada/);
  // An audit folder that somebody touched gets no signature.
  const log = readFileSync(at('audit', 'log.jsonl'), 'utf8');
  writeFileSync(at('audit', 'log.jsonl'), log.replace('"memorisation":"no"', '"memorisation":"yes"'));
  await expect(signableIn(at('audit'), null)).rejects.toThrow(/^LOG_INVALID: .*does not verify: entry \d+/);

  expect(await addSignOff(hub, bo.out.trim())).toBe('Bo');
  expect(await release('hub', 'dicom', '--format', 'dicom')).toMatchObject({ code: 0 });
  const { kid } = existingSigningKeys(at('hub'));
  const held = await cli('release', 'verify', at('dicom'), '--coordinator', kid);
  expect([held.code, held.out]).toEqual([0, expect.stringContaining('the verdict of a release gate: all bounds hold')]);

  const text = readFileSync(at('dicom', 'release.json'), 'utf8');
  const manifest = SignedManifest.parse(JSON.parse(text));
  expect(manifest.gate?.signOffs.map((s) => s.name)).toEqual(['Ada', 'Bo']);
  expect(manifest.gate?.findings).toHaveLength(7);
  expect((await releasedEntries('hub')).map((e) => e.body)).toMatchObject([
    { manifestSha256: sha256Hex(text), images: IMAGES },
  ]);

  const python = await pythonWith('numpy, pydicom, onnx, PIL');
  if (python === undefined) return context.skip('no Python with numpy, pydicom, onnx and PIL');
  const script = join(import.meta.dirname, '../support/release-check.py');
  expect(JSON.parse(execFileSync(python, [script, at('dicom')], { encoding: 'utf8' }))).toMatchObject({ rows: IMAGES, agree: IMAGES, digests: IMAGES, marked: IMAGES, classes: [...CLASSES] }); // prettier-ignore
}, 120_000);

test('a generator without variety is refused by its bound and by how much; no file, no entry', async () => {
  const gate = { minSites: 3, diversity: { similarityAtMost: 0.01 }, signOff: { needed: 0, people: [] } };
  const small = {
    training: { rounds: 0, warmupDiscriminatorSteps: 0 },
    privacy: { epsilon: 6, maxSteps: 0 },
    warmStart: { fitSteps: 4 },
    minSites: 3,
  };
  const policyText = JSON.stringify(gatedFile(gate, small));
  const { dir, file } = await initCoordinator({ dir: at('alike'), policyText, host: '127.0.0.1', port: 0 });
  const sites = new Map(['site-a', 'site-b', 'site-c'].map((site) => [site, phantomSite({ site, patients: 40, imagesPerPatient: 1 })])); // prettier-ignore
  await using open = new AsyncDisposableStack();
  const engine = open.adopt(await openEngine('cpu', { threads: 1 }), (e) => e.dispose());
  const store = open.adopt(new SqliteStore(storePath(dir)), (s) => s.close());
  const run = { runId: file.runId, store, blobs: new FileBlobStore(blobsPath(dir)) };
  const cast = { ...castOf(3), coordinator: existingSigningKeys(dir) };
  const { verdict } = await gatedRun({ engine, policy: gatedPolicy(gate, small), sites, cast, at: run });
  expect(verdict.findings.find((f) => f.bound === 'diversity')!.holds).toBe(false);
  const refused = await release('alike', 'never');
  expect(refused.code).toBe(3);
  expect(refused.err).toMatch(/diversity: Two images of class "[a-z-]+" are alike by 0\.\d+ in the mean; at most 0\.01, 0\.\d+ too alike\./); // prettier-ignore
  expect([traces('never'), existsSync(at('never')), await releasedEntries('alike')]).toEqual([[], false, []]);
}, 60_000);
