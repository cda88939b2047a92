import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { LEFT_OUT_WENT_BACK } from '../../site-agent/left-out.ts';
import { withdrawalsPath } from '../../site-agent/shell/withdrawals.ts';
import {
  cli,
  killAll,
  type Running,
  sentence,
  startCli,
  temporaryFolder,
  tinyPolicy,
  writePhantoms,
} from '../support/cli-rig.ts';

const SITES = ['north', 'south', 'west'];
const root = temporaryFolder();
const at = root.at;
const invites = new Map<string, string>();

const coordinatorRun = (base: string): Running =>
  startCli('coordinator', 'run', '--dir', at(base, 'hub'), '--json', '--threads', '1', '--linger', '20');
const siteRun = (base: string, site: string): Running =>
  startCli('site', 'run', '--dir', at(base, site), '--data', at(`${site}.npz`), '--json', '--threads', '1');

/** One coordinator with three sites that have joined; each test goes on from a copy. */
beforeAll(async () => {
  writeFileSync(at('policy.json'), tinyPolicy());
  writeFileSync(
    at('other.json'),
    tinyPolicy((p) => Object.assign(p['training'], { lrG: 0.001 })),
  );
  await Promise.all(SITES.map((site) => writePhantoms(at(`${site}.npz`), site)));
  const hub = at('joined', 'hub');
  const init = await cli('coordinator', 'init', '--dir', hub, '--policy', at('policy.json'), '--port', '0');
  expect(init).toMatchObject({ code: 0 });
  for (const site of SITES) {
    const { code, out } = await cli('coordinator', 'invite', '--dir', hub, '--site', site);
    expect(code).toBe(0);
    // Alone on standard output, so that it can be piped.
    expect(out).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    invites.set(site, out.trim());
  }
  const coordinator = coordinatorRun('joined');
  await coordinator.until((e) => e['kind'] === 'listening');

  const joinNorth = ['site', 'join', '--dir', at('joined', 'north'), '--invite', invites.get('north')!];
  const pinned = await cli(...joinNorth, '--policy', at('other.json'));
  expect(pinned.code).toBe(3);
  expect(sentence(pinned)).toMatch(/^POLICY_MISMATCH: .*; training\.lrG: .* is pinned, .* offered$/);
  // The same invite with the same keys, once the operators have sorted it out.
  const joined = await Promise.all([
    cli(...joinNorth, '--policy', at('policy.json')),
    cli('site', 'join', '--dir', at('joined', 'south'), '--invite', invites.get('south')!),
    cli('site', 'join', '--dir', at('joined', 'west'), '--invite', invites.get('west')!),
  ]);
  expect(joined.map((j) => [j.code, j.err.includes('bounds.json')])).toEqual(SITES.map(() => [0, true]));
  const used = await cli('site', 'join', '--dir', at('thief'), '--invite', invites.get('north')!);
  expect([used.code, sentence(used).startsWith('INVITE_INVALID')]).toEqual([2, true]);

  const second = await cli('coordinator', 'run', '--dir', hub);
  expect([second.code, sentence(second)]).toEqual([2, `PARAMETER_INVALID: another process is at work in ${hub}`]);
  coordinator.child.kill('SIGTERM');
  expect((await coordinator.ended).code).toBe(6);
}, 120_000);

afterEach(killAll);
afterAll(() => {
  killAll();
  root[Symbol.dispose]();
});

test('a run from join to end: status, ledger and check say what was done', async () => {
  cpSync(at('joined'), at('plain'), { recursive: true });
  expect((await cli('site', 'withdraw', 'p-1', '--dir', at('plain', 'north'))).code).toBe(0);
  const coordinator = coordinatorRun('plain');
  const sites = SITES.map((site) => siteRun('plain', site));
  const ended = await Promise.all([coordinator, ...sites].map((p) => p.ended));
  expect(ended.map((e) => [e.code, e.err])).toEqual([0, 0, 0, 0].map((code) => [code, '']));
  expect(coordinator.events.filter((e) => e['kind'] === 'round-closed')).toHaveLength(4);

  const status = await cli('coordinator', 'status', '--dir', at('plain', 'hub'), '--json');
  expect(JSON.parse(status.out)).toMatchObject({ status: 'finished', outcome: 'completed', roundsDone: 4, rounds: 4 });
  const { sites: stated } = JSON.parse(status.out) as { sites: { siteId: string; epsilon: number }[] };
  expect(stated.map((s) => s.siteId)).toEqual(SITES);

  const ledger = await cli('site', 'ledger', '--dir', at('plain', 'north'), '--json');
  const report = JSON.parse(ledger.out) as { entries: number; runs: { epsilon: number; entries: number }[] };
  // Four rounds of two steps; what the coordinator was told is what the ledger holds.
  expect(report).toMatchObject({ entries: 8, runs: [{ entries: 8, epsilon: stated[0].epsilon }] });

  const withdrawn = ['site', 'withdrawals', '--dir', at('plain', 'north')];
  expect((await cli('audit', 'export', at('plain', 'hub'), '--to', at('plain', 'audit'))).code).toBe(0);
  const opened = await cli(...withdrawn, '--log', at('plain', 'audit'));
  expect([opened.code, opened.out]).toEqual([
    0,
    expect.stringMatching(/"p-1"[^]*the list had 1 entries[^]*All open to this list/),
  ]);
  const elsewhere = await cli('site', 'withdrawals', '--dir', at('plain', 'south'), '--log', at('plain'));
  expect([elsewhere.code, sentence(elsewhere)]).toEqual([2, expect.stringContaining('is no audit folder')]);
  expect((await cli('site', 'withdraw', 'p-2', '--dir', at('plain', 'north'))).code).toBe(0);
  expect((await cli(...withdrawn, '--log', at('plain', 'audit'))).code, 'the list may grow after the run').toBe(0);
  cpSync(at('plain', 'north'), at('plain', 'lost'), { recursive: true });
  for (const file of ['', '-wal', '-shm']) rmSync(at('plain', 'lost', `outbox.sqlite${file}`), { force: true });
  const lost = await cli('site', 'withdrawals', '--dir', at('plain', 'lost'), '--log', at('plain', 'audit'));
  expect([lost.code, sentence(lost)]).toEqual([
    4,
    expect.stringMatching(/^STORE_CORRUPT: .*outbox.sqlite is not here/),
  ]);

  // A list that went back is found before anybody is dialled: no coordinator runs now.
  cpSync(at('plain', 'north'), at('plain', 'back'), { recursive: true });
  rmSync(withdrawalsPath(at('plain', 'back', 'ledger.sqlite')));
  const back = await cli('site', 'run', '--dir', at('plain', 'back'), '--data', at('north.npz'), '--threads', '1');
  expect([back.code, sentence(back)]).toEqual([4, `STORE_CORRUPT: ${LEFT_OUT_WENT_BACK}`]);

  // A site that comes again later hears that all is over, from a coordinator that was started again.
  const again = coordinatorRun('plain');
  await again.until((e) => e['kind'] === 'listening');
  expect((await siteRun('plain', 'north').ended).code).toBe(0);
  again.child.kill('SIGTERM');
  expect((await again.ended).code).toBe(0);
}, 120_000);

test('what the run made can be taken out', async () => {
  const made = await cli(
    ...['coordinator', 'export', '--dir', at('plain', 'hub'), '--out', at('made'), '--public', at('west.npz')],
    ...['--images', '64', '--threads', '1'],
  );
  expect(made).toMatchObject({ code: 0 });
  expect(['summary.html', 'log.jsonl', 'synthetic.png'].filter((f) => !existsSync(at('made', f)))).toEqual([]);
  // These leave by `veilgan release` alone.
  expect(['generator.onnx', 'images'].filter((f) => existsSync(at('made', f)))).toEqual([]);
}, 120_000);

test('killed in the middle and started again, coordinator and site go on; steps are paid for, none twice applied', async () => {
  cpSync(at('joined'), at('killed'), { recursive: true });
  const coordinator = coordinatorRun('killed');
  const [north, south, west] = SITES.map((site) => siteRun('killed', site));
  await south.until((e) => e['kind'] === 'step' && e['round'] === 1);
  south.child.kill('SIGKILL');
  expect((await south.ended).code).toBe('SIGKILL');
  const southAgain = siteRun('killed', 'south');
  await coordinator.until((e) => e['kind'] === 'round-closed' && e['round'] === 1);
  coordinator.child.kill('SIGKILL');
  expect((await coordinator.ended).code).toBe('SIGKILL');
  // The sites notice, and are still there.
  await north.until((e) => e['kind'] === 'reconnecting');
  const coordinatorAgain = coordinatorRun('killed');
  const ended = await Promise.all([coordinatorAgain, north, southAgain, west].map((p) => p.ended));
  expect(ended.map((e) => e.code)).toEqual([0, 0, 0, 0]);

  const rounds = [...coordinator.events, ...coordinatorAgain.events]
    .filter((e) => e['kind'] === 'round-closed')
    .map((e) => e['round']);
  // A kill between the commit and the event can hide a round, never repeat one.
  expect(new Set(rounds).size).toBe(rounds.length);
  const status = await cli('coordinator', 'status', '--dir', at('killed', 'hub'), '--json');
  expect(JSON.parse(status.out)).toMatchObject({ outcome: 'completed', roundsDone: 4 });
  const ledger = await cli('site', 'ledger', '--dir', at('killed', 'south'), '--json');
  const { entries } = JSON.parse(ledger.out) as { entries: number };
  // Entries ≥ steps, and no more beyond them than kills.
  expect(entries).toBeGreaterThanOrEqual(8);
  expect(entries).toBeLessThanOrEqual(9);
}, 120_000);

test('what a site cannot use is refused before anything is said to the coordinator', async () => {
  const site = ['--dir', at('joined', 'north')];
  const whole = readFileSync(at('north.npz'));
  writeFileSync(at('cut.npz'), whole.subarray(0, whole.length / 2));
  const strict = JSON.parse(readFileSync(at('joined', 'north', 'bounds.json'), 'utf8')) as { maxEpsilon: number };
  writeFileSync(at('strict.json'), JSON.stringify({ ...strict, maxEpsilon: 0.1 }));
  const good = ['--data', at('north.npz')];
  const [cut, bounds, coreml, gpu, check, diff] = await Promise.all([
    cli('site', 'run', ...site, '--data', at('cut.npz')),
    cli('site', 'run', '--dir', at('joined', 'south'), ...good, '--bounds', at('strict.json')),
    cli('site', 'run', '--dir', at('joined', 'west'), ...good, '--engine', 'coreml'),
    cli('coordinator', 'run', '--dir', at('joined', 'hub'), '--engine', 'tfjs-node-gpu'),
    cli('site', 'check', ...site, ...good, '--json'),
    cli('policy', 'diff', at('policy.json'), at('strict.json')),
  ]);
  expect([cut.code, sentence(cut)]).toEqual([2, expect.stringMatching(/^DATASET_INVALID: cut\.npz: /)]);
  expect([bounds.code, sentence(bounds)]).toEqual([3, expect.stringMatching(/^BOUNDS_EXCEEDED: privacy\.epsilon: /)]);
  expect([coreml.code, sentence(coreml)]).toEqual([5, expect.stringContaining('choose --engine cpu')]);
  expect([gpu.code, sentence(gpu)]).toEqual([5, expect.stringContaining('npm install @tensorflow/tfjs-node-gpu')]);
  expect(JSON.parse(check.out)).toMatchObject({ patients: 40, patientsKnown: true, bad: [], findings: [] });
  expect([diff.code, diff.out]).toEqual([3, expect.stringContaining('this site allows at most 0.1')]);
  // No ledger was opened: nothing was done to any image.
  expect(existsSync(at('joined', 'north', 'ledger.sqlite'))).toBe(false);
}, 120_000);
