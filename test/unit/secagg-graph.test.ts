/** More sites than mask with everybody: each draws its neighbours itself. */
import { expect, test } from 'vitest';
import { checkedGraph } from '../../shared/aggregation/secagg/graph.ts';
import { groupOf, holdersOf, neighboursOf } from '../../shared/aggregation/secagg/group.ts';
import type { KeysBody } from '../../shared/aggregation/secagg/messages.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import { LENGTH, ask, maskedPolicy, play, sceneOf, updateOf } from '../support/secagg-rig.ts';
import type { Direction } from '../support/secagg-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

const SITES = 32;
const FIFTH = 6;
const policy = maskedPolicy({
  minSites: SITES,
  maxSites: SITES,
  quorum: 8,
  maxColluders: FIFTH,
  maxDropouts: FIFTH,
  graphAboveSites: 10,
});
const { degree, threshold } = checkedGraph({ sites: SITES, colluders: FIFTH, dropouts: FIFTH });
const update = (index: number) => updateOf(index).map((v) => v / 10);

test('32 sites of which 6 vanish before their upload: the sum of the others', async () => {
  const scene = sceneOf(SITES, policy);
  const away = scene.plan.invited.slice(-FIFTH);
  const gone: NonNullable<Direction['gone']> = (at, siteId) => at.kind === 'upload' && away.includes(siteId);
  const played = await play(scene, { gone, update });
  expect(played.failed).toBeNull();
  expect([...played.refused]).toEqual([]);
  const here = scene.plan.invited.filter((id) => !away.includes(id));
  expect(played.contributors).toEqual(here);
  const step = 2 / 65535;
  for (let i = 0; i < LENGTH; i++) {
    const exact = here.reduce((sum, id) => sum + update(scene.plan.invited.indexOf(id))[i], 0);
    expect(Math.abs(played.sum![i] - exact)).toBeLessThanOrEqual(here.length * step);
  }
  // What each has drawn, and to whom it has sealed shares.
  const group = groupOf(policy, roundTermsOf(policy), scene.plan);
  const keys = played.said.filter((s) => s.at.kind === 'keys').map((s) => [s.siteId, s.body as KeysBody] as const);
  const around = neighboursOf(group, new Map(keys.map(([id, body]) => [id, body.neighbours])));
  for (const [siteId, body] of keys) {
    const holders = holdersOf(group, body.neighbours);
    expect(holders.length).toBe(degree);
    expect(holders).not.toContain(siteId);
    const shared = played.said.find((s) => s.siteId === siteId && s.at.kind === 'shares')!;
    expect(Object.keys((shared.body as { shares: object }).shares).sort()).toEqual([...holders].sort());
    for (const other of around.get(siteId)!) expect(around.get(other)!.has(siteId)).toBe(true);
  }
  // Drawn by each for itself: not everybody has the same.
  expect(new Set(keys.map(([, body]) => body.neighbours!.join())).size).toBeGreaterThan(SITES / 2);
}, 30_000);

test('a coordinator that hides a site’s holders gets no shares of it', async () => {
  const scene = sceneOf(SITES, policy);
  const [victim] = scene.plan.invited;
  let left: string[] = [];
  const show: NonNullable<Direction['show']> = (at, siteId, downlink) => {
    if (siteId !== victim || at.kind !== 'shares') return undefined;
    const { keys } = downlink as { keys: Record<string, KeysBody> };
    left = Object.keys(keys).slice(0, threshold - 1);
    return { keys: Object.fromEntries(left.map((id) => [id, keys[id]])) };
  };
  const played = await play(scene, { show, update, gone: (at) => at.kind === 'upload' });
  expect(left.length).toBe(threshold - 1);
  expect(played.refused.get(`${victim} shares`)).toBe('SURVIVORS_TOO_FEW');
}, 30_000);

test('nobody signs a whole list, and nobody opens one: the sites agree though all have uploaded', async () => {
  const scene = sceneOf(SITES, policy);
  const played = await play(scene, { update, gone: (at) => at.kind === 'reveal' });
  expect(played.said.filter((s) => s.at.kind === 'agree').length).toBe(SITES);
  expect(played.said.filter((s) => s.at.kind === 'upload').every((s) => s.body === null)).toBe(true);
  // Nor does the coordinator take such a signature, or a site open by it.
  const [own, other] = scene.plan.invited;
  const signs = await play(scene, {
    update,
    send: (at, siteId) => (at.kind === 'upload' && siteId === other ? { whole: 'a..b' } : undefined),
    gone: (at) => at.kind === 'agree',
  });
  expect(signs.refused.get(`${other} upload`)).toBe('MESSAGE_INVALID');
  const shown = { signed: 'whole', survivors: scene.plan.invited, signatures: {} };
  expect(await codeOf(ask(scene, own, 'reveal', shown, signs.secrets.get(own)!))).toBe('SURVIVORS_DIFFER');
}, 30_000);
