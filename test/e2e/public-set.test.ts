/** Real images are measured on where the run's policy calls them public, and nowhere else: figures on them are in no ledger. */
import { writeFileSync, mkdirSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readPublicSet } from '../../cli/public-set.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { encodeImagesNpz } from '../../shared/imaging/write-dataset.ts';
import { loadPolicyText } from '../../shared/policy/load.ts';
import { loadOptions } from '../../cli/options.ts';
import { cli, sentence, temporaryFolder, tinyPolicy } from '../support/cli-rig.ts';

const root = temporaryFolder();
const file = root.at('set.npz');
let digest = '';
const policyText = (publicTestSet: unknown) => tinyPolicy((p) => Object.assign(p['evaluation'], { publicTestSet }));
const policy = (publicTestSet: unknown) => loadPolicyText(policyText(publicTestSet), loadOptions);
const source = 'drawn for a test';

beforeAll(async () => {
  const images = phantomImages({ size: 28, channels: 1, patients: 12, imagesPerPatient: [1, 1], seed: 'public' });
  const bytes = await encodeImagesNpz(images);
  writeFileSync(file, bytes);
  digest = sha256Hex(bytes);
});
afterAll(() => root[Symbol.dispose]());

test('a set that the policy calls public is read, by its digest where there is one', async () => {
  const found = await readPublicSet(file, policy({ source }));
  expect([found.images.n, found.source]).toEqual([12, source]);
  expect((await readPublicSet(file, policy({ source, sha256: digest }))).images.n).toBe(12);
});

test('refused: no set is called public, another file than that one, no file', async () => {
  await expect(readPublicSet(root.at('none.npz'), policy(null))).rejects.toThrow(/PARAMETER_INVALID.*publicTestSet/);
  await expect(readPublicSet(file, policy({ source, sha256: 'ab'.repeat(32) }))).rejects.toThrow(
    new RegExp(`PARAMETER_INVALID.*its SHA-256 is ${digest}, not abab`),
  );
  for (const sha256 of [undefined, digest]) {
    const named = policy({ source, ...(sha256 && { sha256 }) });
    await expect(readPublicSet(root.at('none.npz'), named)).rejects.toThrow(/PARAMETER_INVALID.*cannot be read/);
    mkdirSync(root.at('folder.npz'), { recursive: true });
    await expect(readPublicSet(root.at('folder.npz'), named)).rejects.toThrow(/PARAMETER_INVALID.*cannot be read/);
  }
  // A digest of images would leave the labels beside them to whoever put them there.
  const idx = readPublicSet(root.at('t10k-images-idx3-ubyte'), policy({ source, sha256: digest }));
  await expect(idx).rejects.toThrow(/PARAMETER_INVALID.*name an .npz/);
});

test('neither export nor release measures on what a policy does not call public', async () => {
  writeFileSync(root.at('policy.json'), policyText(null));
  const hub = root.at('hub');
  const init = await cli('coordinator', 'init', '--dir', hub, '--policy', root.at('policy.json'), '--port', '0');
  expect(init.code).toBe(0);
  const out = ['--dir', hub, '--out', root.at('out'), '--public', file];
  for (const command of [
    ['coordinator', 'export', ...out],
    ['release', ...out, '--licence', 'CC-BY-4.0'],
  ]) {
    const refused = await cli(...command);
    expect([refused.code, sentence(refused)]).toEqual([2, expect.stringMatching(/^PARAMETER_INVALID: .* calls no real images public/)]); // prettier-ignore
  }
}, 60_000);
