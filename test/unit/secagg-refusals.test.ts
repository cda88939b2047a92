/** A coordinator of ill will, and sites of ill will: what each tries is refused, by a code, where it can be seen. */
import { expect, test } from 'vitest';
import { verifyKeys } from '../../shared/aggregation/secagg/messages.ts';
import type { KeysBody, RevealBody, SharesBody } from '../../shared/aggregation/secagg/messages.ts';
import { createSecret, publicOf } from '../../shared/aggregation/secagg/x25519.ts';
import { secureBytes } from '../../shared/random.ts';
import { LENGTH, ask, maskedPolicy, play, sceneOf, siteOf, updateOf } from '../support/secagg-rig.ts';
import type { Direction } from '../support/secagg-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

type KeysShown = { keys: Record<string, KeysBody> };
type SharesShown = { sites: string[]; shares: Record<string, string> };
type RevealShown = { signed: 'whole' | 'agreed'; survivors: string[]; signatures: Record<string, string> };
const freshKey = () => publicOf(createSecret(secureBytes));

/** Three may be enough of five; with one colluder four have to agree. */
const five = (maxColluders = 0) =>
  sceneOf(5, maskedPolicy({ minSites: 5, maxSites: 5, maxColluders, maxDropouts: maxColluders === 0 ? 2 : 1 }));
const only = (siteId: string, kind: string, change: (shown: never) => unknown): NonNullable<Direction['show']> => {
  return (at, id, downlink) => (id === siteId && at.kind === kind ? change(downlink as never) : undefined);
};

test('a substituted key is refused by the site it is shown to, and nothing is sealed to it', async () => {
  for (const field of ['sealing', 'masking'] as const) {
    const show = only('site-a', 'shares', ({ keys }: KeysShown) => {
      const fake = field === 'sealing' ? { sealing: freshKey() } : { masking: [freshKey()] };
      return { keys: { ...keys, 'site-b': { ...keys['site-b'], ...fake } } };
    });
    const played = await play(five(), { show });
    expect(played.refused.get('site-a shares')).toBe('SIGNATURE_INVALID');
    expect(played.contributors).toEqual(['site-b', 'site-c', 'site-d', 'site-e']);
    expect(played.said.some((s) => s.siteId === 'site-a' && s.at.kind === 'shares')).toBe(false);
  }
});

test('a key of another attempt, round, plan, log or site is refused: a replayed key', async () => {
  const scene = five();
  const { cast, policy, plan } = scene;
  const others = [
    { attempt: 1 },
    { round: 2 },
    { runId: '00000000-0000-4000-8000-000000000001' },
    { checkpoint: { size: 1, root: '5'.repeat(64) } },
    { policySha256: '6'.repeat(64) },
    { deadlineMs: plan.deadlineMs + 1 },
  ];
  for (const over of others) {
    const old = await play(sceneOf(5, policy, over, cast));
    const replayed = old.said.find((s) => s.siteId === 'site-b' && s.at.kind === 'keys')!.body as KeysBody;
    const show = only('site-a', 'shares', ({ keys }: KeysShown) => ({ keys: { ...keys, 'site-b': replayed } }));
    expect((await play(scene, { show })).refused.get('site-a shares')).toBe('SIGNATURE_INVALID');
  }
  // Another site's key under this name, and a key of somebody who was not invited.
  const swapped = only('site-a', 'shares', ({ keys }: KeysShown) => ({ keys: { ...keys, 'site-b': keys['site-c'] } }));
  expect((await play(scene, { show: swapped })).refused.get('site-a shares')).toBe('SIGNATURE_INVALID');
  const stranger = only('site-a', 'shares', ({ keys }: KeysShown) => ({ keys: { ...keys, 'site-z': keys['site-c'] } }));
  expect((await play(scene, { show: stranger })).refused.get('site-a shares')).toBe('KEY_UNKNOWN');
  const own = only('site-a', 'shares', ({ keys }: KeysShown) => ({ keys: { ...keys, 'site-a': keys['site-c'] } }));
  expect((await play(scene, { show: own })).refused.get('site-a shares')).toBe('MESSAGE_INVALID');
});

test('a share that is replayed, readdressed or changed is refused', async () => {
  const scene = five();
  const earlier = await play(sceneOf(5, scene.policy, { attempt: 1 }, scene.cast));
  const old = earlier.said.find((s) => s.siteId === 'site-b' && s.at.kind === 'shares')!.body as SharesBody;
  const changes: ((shares: Record<string, string>) => Record<string, string>)[] = [
    (shares) => ({ ...shares, 'site-b': old.shares['site-a'] }),
    (shares) => ({ ...shares, 'site-b': shares['site-c'] }),
    (shares) => ({ ...shares, 'site-b': `${shares['site-b'].slice(0, -2)}AA` }),
    (shares) => ({ ...shares, 'site-b': 'AAAA' }),
    (shares) => ({ ...shares, 'site-z': shares['site-b'] }),
    (shares) => ({ ...shares, 'site-a': shares['site-b'] }),
  ];
  for (const change of changes) {
    const show = only('site-a', 'upload', (d: SharesShown) => ({ ...d, shares: change(d.shares) }));
    const played = await play(scene, { show });
    expect(played.refused.get('site-a upload')).toBe('SHARE_INVALID');
    expect(played.contributors).toEqual(['site-b', 'site-c', 'site-d', 'site-e']);
  }
});

/** Site e's upload does not come: the others agree on a list without it. */
const eMissing: NonNullable<Direction['gone']> = (at, siteId) => at.kind === 'upload' && siteId === 'site-e';

test('a coordinator that asks for both kinds of share of one site gets one', async () => {
  // With everybody there over the whole list, with site e missing over the agreed one.
  for (const [gone, last] of [[undefined, 'site-e'] as const, [eMissing, 'site-d'] as const]) {
    const scene = five();
    const direction: Direction = gone === undefined ? {} : { gone };
    // The last site has sent its update and is said to be in; then the others are asked to open its masking key as well.
    const without = (d: RevealShown) => ({ ...d, survivors: d.survivors.filter((s) => s !== last) });
    const played = await play(scene, { ...direction, show: only('site-a', 'reveal', without) });
    expect(played.refused.get('site-a reveal')).toBe('SURVIVORS_DIFFER');
    // Asked again with what it kept after it has answered, for the other list or the same: there is no second answer.
    const honest = await play(scene, direction);
    const asked = honest.said.find((s) => s.siteId === 'site-a' && s.at.kind === 'reveal')!;
    const shown = asked.downlink as RevealShown;
    expect(shown.signed).toBe(gone === undefined ? 'whole' : 'agreed');
    for (const second of [without(shown), shown])
      expect(await codeOf(ask(scene, 'site-a', 'reveal', second, honest.secrets.get('site-a')!))).toBe(
        'PHASE_OUT_OF_TURN',
      );
    const body = asked.body as RevealBody;
    expect(Object.keys(body.keys)).toEqual(gone === undefined ? [] : ['site-e']);
    expect(Object.keys(body.seeds)).toEqual(shown.survivors);
  }
});

test('a coordinator that shows two survivor lists opens neither', async () => {
  // Four of five must sign one list; three are shown all, two are shown a list without e.
  const scene = five(1);
  const some = ['site-a', 'site-b'];
  const survivors = scene.plan.invited;
  const shorter = (ids: string[]) => ids.filter((id) => id !== 'site-e');
  // All have uploaded; a coordinator of ill will has them agree all the same.
  const played = await play(scene, { gone: (at) => at.kind === 'reveal' });
  const agreed = new Map<string, { signature: string; secret: Uint8Array | null }>();
  for (const siteId of survivors) {
    const list = some.includes(siteId) ? shorter([...survivors]) : survivors;
    const made = await ask(scene, siteId, 'agree', { survivors: list }, played.secrets.get(siteId)!);
    agreed.set(siteId, { signature: (made.uplink.body as { signature: string }).signature, secret: made.secret });
  }
  const reveal = (siteId: string, list: readonly string[], from: readonly string[]) => {
    const signatures = Object.fromEntries(from.map((id) => [id, agreed.get(id)?.signature]));
    return ask(scene, siteId, 'reveal', { signed: 'agreed', survivors: list, signatures }, agreed.get(siteId)!.secret);
  };
  // Those who signed the long list see three names under it, those who signed the short one see two.
  expect(await codeOf(reveal('site-c', survivors, ['site-c', 'site-d', 'site-e']))).toBe('SURVIVORS_TOO_FEW');
  expect(await codeOf(reveal('site-a', shorter([...survivors]), some))).toBe('SURVIVORS_TOO_FEW');
  // Signatures under the other list do not count.
  expect(await codeOf(reveal('site-c', survivors, ['site-a', 'site-b', 'site-d']))).toBe('SIGNATURE_INVALID');
  expect(await codeOf(reveal('site-c', shorter([...survivors]), some))).toBe('SURVIVORS_DIFFER');
});

test('a list of too few is signed by nobody, and masks are made with no fewer', async () => {
  for (const [kind, code] of [
    ['upload', 'SURVIVORS_TOO_FEW'],
    ['agree', 'SURVIVORS_TOO_FEW'],
  ] as const) {
    const cut = (ids: string[]) => ids.slice(0, 2);
    const show = only('site-a', kind, (d: { survivors?: string[]; sites?: string[]; shares?: unknown }) => ({
      ...d,
      ...(d.survivors && { survivors: cut(d.survivors) }),
      ...(d.sites && { sites: cut(d.sites) }),
    }));
    expect((await play(five(), { show, gone: eMissing })).refused.get(`site-a ${kind}`)).toBe(code);
  }
  const fewKeys = only('site-a', 'shares', ({ keys }: KeysShown) => ({ keys: { 'site-b': keys['site-b'] } }));
  expect((await play(five(), { show: fewKeys })).refused.get('site-a shares')).toBe('SURVIVORS_TOO_FEW');
  // Without the site itself, out of order, or with a stranger.
  for (const survivors of [
    ['site-b', 'site-c', 'site-d'],
    ['site-b', 'site-a', 'site-c', 'site-d'],
    ['site-a', 'site-a', 'site-b', 'site-c'],
    ['site-a', 'site-b', 'site-c', 'site-z'],
  ]) {
    const show = only('site-a', 'agree', () => ({ survivors }));
    expect((await play(five(), { show, gone: eMissing })).refused.get('site-a agree')).toBe('MESSAGE_INVALID');
  }
});

test('a site without its secret, or asked out of turn, answers nothing', async () => {
  const scene = five();
  const asked = (phase: number, downlink: unknown, secret: Uint8Array | null) =>
    siteOf(scene, 'site-a').answer({
      phase,
      siteId: 'site-a',
      plan: scene.plan,
      downlink,
      secret,
      update: updateOf(0),
    });
  expect(await codeOf(asked(1, { keys: {} }, null))).toBe('STORE_CORRUPT');
  expect(await codeOf(asked(5, null, null))).toBe('MESSAGE_INVALID');
  // Reveal straight after the upload, over a list that others have agreed on and this site has not signed.
  const agreed = await play(scene, { gone: eMissing });
  const shown = agreed.said.find((s) => s.siteId === 'site-a' && s.at.kind === 'reveal')!.downlink;
  const before = await play(scene, { gone: (at, siteId) => eMissing(at, siteId) || at.kind === 'agree' });
  expect(await codeOf(asked(4, shown, before.secrets.get('site-a')!))).toBe('SURVIVORS_DIFFER');
  // Agreement or opening before the upload.
  const early = await play(scene, { gone: (at) => at.kind === 'upload' });
  for (const [phase, downlink] of [[3, { survivors: scene.plan.invited }] as const, [4, shown] as const])
    expect(await codeOf(asked(phase, downlink, early.secrets.get('site-a')!))).toBe('PHASE_OUT_OF_TURN');
});

const send = (siteId: string, kind: string, change: (body: never) => unknown): NonNullable<Direction['send']> => {
  return (at, id, body) => (id === siteId && at.kind === kind ? change(body as never) : undefined);
};

test('a site’s own offences are refused by the coordinator, and the round closes without it', async () => {
  const low = Buffer.alloc(32).toString('base64url');
  const cases: [string, (body: never) => unknown, string][] = [
    ['keys', (b: KeysBody) => ({ ...b, masking: [freshKey()] }), 'SIGNATURE_INVALID'],
    ['keys', (b: KeysBody) => ({ ...b, masking: [] }), 'MESSAGE_INVALID'],
    ['keys', (b: KeysBody) => ({ ...b, neighbours: [1] }), 'MESSAGE_INVALID'],
    ['keys', (b: KeysBody) => ({ ...b, masking: [low] }), 'SIGNATURE_INVALID'],
    ['shares', (b: SharesBody) => ({ ...b, commitments: [] }), 'MESSAGE_INVALID'],
    ['shares', ({ shares: { 'site-b': _, ...rest }, ...b }: SharesBody) => ({ ...b, shares: rest }), 'MESSAGE_INVALID'],
    ['shares', (b: SharesBody) => ({ ...b, shares: { ...b.shares, 'site-b': 'AAAA' } }), 'MESSAGE_INVALID'],
    ['upload', () => ({ also: 1 }), 'MESSAGE_INVALID'],
    ['upload', () => null, 'MESSAGE_INVALID'],
    ['upload', () => ({ whole: 'a..b' }), 'SIGNATURE_INVALID'],
    ['agree', () => ({ signature: 'a..b' }), 'SIGNATURE_INVALID'],
    ['reveal', (b: RevealBody) => ({ ...b, keys: b.seeds }), 'MESSAGE_INVALID'],
    ['reveal', (b: RevealBody) => ({ ...b, seeds: {} }), 'MESSAGE_INVALID'],
  ];
  for (const [kind, change, code] of cases) {
    // There is an agreement where somebody is missing.
    const direction: Direction = kind === 'agree' ? { gone: eMissing } : {};
    const played = await play(five(), { ...direction, send: send('site-a', kind, change) });
    expect([kind, played.refused.get(`site-a ${kind}`)]).toEqual([kind, code]);
    expect(played.failed).toBeNull();
  }
  const long = await play(five(), { update: (index) => updateOf(index, index === 0 ? LENGTH + 9 : LENGTH) });
  expect(long.refused.get('site-a upload')).toBe('UPDATE_SHAPE');
});

test('a key of low order is refused, though its owner has signed it', async () => {
  const scene = five();
  const { signKeys } = await import('../../shared/aggregation/secagg/messages.ts');
  const { groupOf } = await import('../../shared/aggregation/secagg/group.ts');
  const { roundTermsOf } = await import('../../shared/policy/views.ts');
  const { context } = groupOf(scene.policy, roundTermsOf(scene.policy), scene.plan);
  const keys = scene.cast.sites.get('site-a')!;
  const unsigned = { sealing: freshKey(), masking: [Buffer.alloc(32).toString('base64url')], neighbours: null };
  const body = { ...unsigned, signature: await signKeys(keys, 'site-a', scene.plan, context, unsigned) };
  await verifyKeys(scene.cast.roster, 'site-a', scene.plan, context, body);
  const played = await play(scene, { send: send('site-a', 'keys', () => body) });
  expect(played.refused.get('site-a keys')).toBe('MESSAGE_INVALID');
  expect(played.contributors).toEqual(['site-b', 'site-c', 'site-d', 'site-e']);
});

test('a holder that reveals nonsense stops nothing while others suffice; where they do not, the round is void', async () => {
  const nonsense = Buffer.alloc(32, 9).toString('base64url');
  const lie = (b: RevealBody) => ({
    seeds: Object.fromEntries(Object.keys(b.seeds).map((id) => [id, nonsense])),
    keys: Object.fromEntries(Object.keys(b.keys).map((id) => [id, nonsense])),
  });
  const played = await play(five(), { gone: eMissing, send: send('site-b', 'reveal', lie) });
  expect(played.failed).toBeNull();
  expect(played.contributors.length).toBe(4);
  const bare = await play(five(), {
    gone: (at, siteId) => at.kind === 'reveal' && ['site-d', 'site-e'].includes(siteId),
    send: send('site-b', 'reveal', lie),
  });
  expect(bare.failed).toBe('SHARE_INVALID');
});

test('an update beyond its clip shows in the sum, which is then not given', async () => {
  const played = await play(five(), {
    update: (index) => (index === 0 ? new Float32Array(LENGTH).fill(1) : updateOf(index).map((v) => v / 100)),
  });
  expect(played.failed).toBe('SUM_TOO_LARGE');
  expect(played.sum).toBeNull();
  // Positive control: the same within its clip, which is 1.
  const within = new Float32Array(LENGTH).fill(1 / Math.sqrt(LENGTH));
  const fine = await play(five(), { update: (index) => (index === 0 ? within : updateOf(index).map((v) => v / 100)) });
  expect(fine.failed).toBeNull();
});
