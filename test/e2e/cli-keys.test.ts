/**
 * People and keys that leave, as the commands do it, on real folders over a real connection. What computes runs as
 * processes; the commands are called as functions, since each would take seconds to start.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type CoordinatorFolder, initCoordinator, inviteSite, openCoordinator, openIdentity } from '../../cli/coordinator-folder.ts'; // prettier-ignore
import { keyCard, revokeSite, rotateCoordinatorKey } from '../../cli/coordinator-keys.ts';
import { coordinatorStatus } from '../../cli/coordinator-status.ts';
import { withPolicy } from '../../cli/policy-call.ts';
import { checkData } from '../../cli/site-check.ts';
import { EnrolmentFile, joinSite, openSite } from '../../cli/site-folder.ts';
import { repinSite, rotateSite } from '../../cli/site-keys.ts';
import { withdrawalText, withdrawPatient } from '../../cli/site-withdraw.ts';
import { startServer } from '../../coordinator/shell/server.ts';
import { connect } from '../../site-agent/shell/connection.ts';
import { killAll, type Running, startCli, temporaryFolder, tinyPolicy, writePhantoms } from '../support/cli-rig.ts';
import { codeOf, handlerOf, until } from '../support/wire-rig.ts';

const SITES = ['north', 'south', 'west'];
const root = temporaryFolder();
const at = root.at;
const consent = { issuer: '', reason: 'consent', undo: false } as const;
const enrolment = (dir: string) => EnrolmentFile.parse(JSON.parse(readFileSync(at(dir, 'enrolment.json'), 'utf8')));

/** Long enough that the coordinator is stopped before the end, also on a fast machine. */
const policyText = tinyPolicy((p) => {
  Object.assign(p['training'], { rounds: 16, discriminatorSteps: 1 });
  Object.assign(p['privacy'], { maxSteps: 24 });
});
const begin = (dir: string): Promise<CoordinatorFolder> =>
  initCoordinator({ dir: at(dir), policyText, host: '127.0.0.1', port: 0 });

beforeAll(() => Promise.all(SITES.map((site) => writePhantoms(at(`${site}.npz`), site))));
afterEach(killAll);
afterAll(() => root[Symbol.dispose]());

/** The folder's coordinator as far as joining needs it. */
async function serving(folder: CoordinatorFolder) {
  const parts = await openIdentity(folder);
  const handler = withPolicy(
    folder.policyText,
    folder.policy,
    handlerOf((siteId) => siteId),
  );
  const server = await startServer({ ...parts, handler, port: folder.file.port });
  const end = async () => {
    await server.close();
    await parts[Symbol.asyncDispose]();
  };
  return { identity: parts.identity, [Symbol.asyncDispose]: end };
}

describe('keys', () => {
  test('a stolen site key: revoked, then replaced in the same folder by a new invite for that site alone', async () => {
    const folder = await begin('hub-a');
    await using server = await serving(folder);
    for (const site of ['north', 'south']) await joinSite(at('a', site), await inviteSite(folder, site));
    const stolen = openSite(at('a', 'south'));
    expect(await revokeSite(folder, 'south')).toEqual({ left: 1, needed: 3 });
    expect(await codeOf(revokeSite(folder, 'east'))).toBe('KEY_UNKNOWN');
    const [, south] = (await coordinatorStatus(folder)).sites;
    expect(south).toMatchObject({ siteId: 'south', roster: 'revoked' });

    expect(await codeOf(rotateSite(at('a', 'south'), await inviteSite(folder, 'north')))).toBe('INVITE_INVALID');
    await server.identity.refresh();
    const before = server.identity.roster.sites.find((s) => s.siteId === 'north');
    const invite = await inviteSite(folder, 'south');
    const { kid } = await rotateSite(at('a', 'south'), invite);
    const renewed = openSite(at('a', 'south'));
    expect([renewed.keys.kid, renewed.enrolment.formerKeys]).toEqual([kid, [stolen.keys.kid]]);
    expect(existsSync(at('a', 'south', 'keys.next.json'))).toBe(false);
    expect(server.identity.roster.sites.find((s) => s.siteId === 'north')).toEqual(before);

    const fast = { backoff: { baseMs: 1, capMs: 5 } };
    const thief = connect({ ...stolen.enrolment, keys: stolen.keys, ...fast });
    expect((await until(thief, 'waiting')).error.code).toBe('SIGNATURE_INVALID');
    await thief.close();
    const link = connect({ ...renewed.enrolment, keys: renewed.keys, ...fast });
    await link.ready();
    await link.close();
  });

  test('interrupted after the coordinator has let the new keys in, the same invite finishes the change', async () => {
    const folder = await begin('hub-b');
    await using _ = await serving(folder);
    await joinSite(at('b'), await inviteSite(folder, 'north'));
    const old = readFileSync(at('b', 'keys.json'));
    const invite = await inviteSite(folder, 'north');
    const first = await rotateSite(at('b'), invite);
    // As a process leaves it that dies before the last rename.
    const fresh = readFileSync(at('b', 'keys.json'));
    writeFileSync(at('b', 'keys.next.json'), fresh, { mode: 0o600 });
    writeFileSync(at('b', 'keys.json'), old, { mode: 0o600 });
    expect(await rotateSite(at('b'), invite)).toEqual(first);
    expect(openSite(at('b')).keys.kid).toBe(first.kid);
    // A key file that is lost needs nothing else.
    rmSync(at('b', 'keys.json'));
    await rotateSite(at('b'), await inviteSite(folder, 'north'));
    expect(openSite(at('b')).enrolment.formerKeys).toContain(first.kid);
  });

  test('the coordinator’s key lost: nothing is made in its place by accident; by command it is, and pinned by hand', async () => {
    const folder = await begin('hub-c');
    {
      await using _ = await serving(folder);
      await joinSite(at('c'), await inviteSite(folder, 'north'));
    }
    rmSync(at('hub-c', 'keys.json'));
    expect(await codeOf(openIdentity(folder))).toBe('STORE_CORRUPT');
    expect(existsSync(at('hub-c', 'keys.json'))).toBe(false);
    expect(await codeOf(rotateCoordinatorKey(folder, { lost: false }))).toBe('PARAMETER_INVALID');
    const { key } = await rotateCoordinatorKey(folder, { lost: true });
    expect(await keyCard(openCoordinator(at('hub-c')))).toMatchObject({ key });
    await using _ = await serving(folder);
    const fast = { backoff: { baseMs: 1, capMs: 5 } };
    const before = openSite(at('c'));
    const old = connect({ ...before.enrolment, keys: before.keys, ...fast });
    expect((await until(old, 'waiting')).error.code).toBe('COORDINATOR_UNKNOWN');
    await old.close();
    expect(await codeOf(() => Promise.resolve().then(() => repinSite(at('c'), 'not a key')))).toBe('PARAMETER_INVALID');
    repinSite(at('c'), key);
    const { keys, enrolment: pinned } = openSite(at('c'));
    const link = connect({ ...pinned, keys, ...fast });
    await link.ready();
    await link.close();
    // A second loss does not bring the first key's statements back.
    rmSync(at('hub-c', 'keys.json'));
    const second = await rotateCoordinatorKey(folder, { lost: true });
    expect(second.key).not.toBe(key);
  });
});

test('withdrawal says plainly what stays, and check counts who is left out', async () => {
  const folder = await begin('hub-d');
  await using _ = await serving(folder);
  await joinSite(at('d'), await inviteSite(folder, 'north'));
  const site = openSite(at('d'));
  const report = withdrawPatient(site, { patient: 'north-3', ...consent }, 1);
  expect(withdrawalText(report)).toMatch(/left out from the next step on[^]*No run has used[^]*Nobody was told/);
  expect(withdrawalText(withdrawPatient(site, { patient: 'north-3', ...consent }, 2))).toMatch(/^Nothing changed/);
  const { policy, enrolment: e, dir, ledger } = site;
  const data = { data: at('north.npz'), onBadFile: 'refuse' } as const;
  const counted = await checkData(data, { policy, siteId: e.siteId, dir, ledger });
  expect([counted.patients, counted.findings.join()]).toEqual([
    39,
    expect.stringMatching(/^Withdrawn, and left out of what is counted here: 1\./),
  ]);
  withdrawPatient(site, { patient: 'north-3', ...consent, undo: true }, 3);
  expect((await checkData(data, { policy, siteId: e.siteId, dir, ledger })).patients).toBe(40);
});

test('a new key of the coordinator between two rounds: agents that run follow, and the run ends with all of them', async () => {
  const folder = await begin('hub');
  const coordinatorRun = (): Running =>
    startCli('coordinator', 'run', '--dir', at('hub'), '--json', '--threads', '1', '--linger', '20');
  let coordinator = coordinatorRun();
  await coordinator.until((e) => e['kind'] === 'listening');
  for (const site of SITES) await joinSite(at(site), await inviteSite(folder, site));
  const sites = SITES.map((s) => startCli('site', 'run', '--dir', at(s), '--data', at(`${s}.npz`), '--json', '--threads', '1')); // prettier-ignore
  await coordinator.until((e) => e['kind'] === 'round-closed');
  expect(await codeOf(rotateCoordinatorKey(folder, { lost: false })), 'not while it runs').toBe('PARAMETER_INVALID');
  coordinator.child.kill('SIGTERM');
  expect((await coordinator.ended).code).toBe(6);
  const { key, open } = await rotateCoordinatorKey(folder, { lost: false });
  expect(open).toBe(true);
  coordinator = coordinatorRun();
  const ended = await Promise.all([coordinator, ...sites].map((p) => p.ended));
  expect(ended.map((e) => e.code)).toEqual([0, 0, 0, 0]);
  for (const site of sites) expect(site.events.map((e) => e['kind'])).toContain('coordinator-key');
  for (const site of SITES) expect(enrolment(site).coordinator.x).toBe(key);
  const rounds = coordinator.events.filter((e) => e['kind'] === 'round-closed');
  expect((rounds.at(-1)!['contributors'] as string[]).toSorted()).toEqual(SITES);
  const late = withdrawPatient(openSite(at('north')), { patient: 'north-4', ...consent, reason: 'other-site' }, 1);
  expect(withdrawalText(late)).toMatch(/nothing can be taken out of them again[^]*epsilon [\d.]+ at delta[^]*The charge stays[^]*the other site spends/); // prettier-ignore
}, 240_000);
