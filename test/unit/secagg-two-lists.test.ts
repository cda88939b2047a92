/**
 * The two lists a site signs in a step: the whole one, over which masks are opened at once where nobody is missing, and
 * the one that is agreed on. What a site refuses of them, and an attack that works on sites which refuse less.
 */
import { expect, test } from 'vitest';
import { addPacked } from '../../shared/aggregation/bit-pack.ts';
import { groupOf } from '../../shared/aggregation/secagg/group.ts';
import { addMasks } from '../../shared/aggregation/secagg/mask.ts';
import { bytesOf, KeysBody, RevealBody, SharesBody, UploadBody } from '../../shared/aggregation/secagg/messages.ts';
import type { ListKind } from '../../shared/aggregation/secagg/messages.ts';
import { pairSeed } from '../../shared/aggregation/secagg/seeds.ts';
import { combine } from '../../shared/aggregation/secagg/shamir.ts';
import { unmaskedSum } from '../../shared/aggregation/secagg/unmask.ts';
import { codecOf } from '../../shared/aggregation/secagg/values.ts';
import { agree, publicOf } from '../../shared/aggregation/secagg/x25519.ts';
import { FedError } from '../../shared/errors.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import { pooledPolicy } from '../support/pooled-rig.ts';
import { ask, LENGTH, maskedPolicy, play, sceneOf, siteOf, spooled, updateOf } from '../support/secagg-rig.ts';
import type { Direction, Played, Scene } from '../support/secagg-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

/** Three may be enough of five; with one colluder four have to sign. */
const five = (maxColluders = 0) =>
  sceneOf(5, maskedPolicy({ minSites: 5, maxSites: 5, maxColluders, maxDropouts: maxColluders === 0 ? 2 : 1 }));
const ALL = ['site-a', 'site-b', 'site-c', 'site-d', 'site-e'];
const FOUR = ALL.slice(0, 4);

type Signatures = Record<string, string>;
type Shown = { signed: ListKind; survivors: string[]; signatures: Signatures };
const pick = (signatures: Signatures, ids: readonly string[]): Signatures =>
  Object.fromEntries(ids.map((id) => [id, signatures[id]]));

/** Everybody has uploaded and nobody has revealed: from here on a coordinator of ill will asks what it likes. */
async function uploaded(scene: Scene, d: Direction = {}) {
  const played = await play(scene, { ...d, gone: (at) => at.kind === 'reveal' });
  const whole = Object.fromEntries(
    played.said.filter((s) => s.at.kind === 'upload').map((s) => [s.siteId, UploadBody.parse(s.body)?.whole ?? 'none']),
  );
  return { played, whole, kept: (siteId: string) => played.secrets.get(siteId)! };
}
/** A site's signature under an agreed list, and what it keeps then. */
async function agreed(scene: Scene, siteId: string, survivors: readonly string[], kept: Uint8Array) {
  const made = await ask(scene, siteId, 'agree', { survivors }, kept);
  return { signature: (made.uplink.body as { signature: string }).signature, kept: made.secret! };
}

test('with everybody there masks are opened over the whole list, in one exchange less', async () => {
  const scene = five();
  const played = await play(scene);
  expect(played.contributors).toEqual(ALL);
  expect(played.said.map((s) => s.at.kind)).toEqual(
    ['keys', 'shares', 'upload', 'reveal'].flatMap((kind) => ALL.map(() => kind)),
  );
  const shown = played.said.at(-1)!.downlink as Shown;
  expect([shown.signed, shown.survivors, Object.keys(shown.signatures)]).toEqual(['whole', ALL, ALL.slice(0, 3)]);
  // Without one of them, there is the exchange that decides who is in.
  const missing = await play(scene, { gone: (at, siteId) => at.kind === 'upload' && siteId === 'site-e' });
  expect(missing.contributors).toEqual(FOUR);
  expect(missing.said.filter((s) => s.at.kind === 'agree').map((s) => s.siteId)).toEqual(FOUR);
  expect((missing.said.at(-1)!.downlink as Shown).signed).toBe('agreed');
});

test('fewer signatures than it takes, or none of the kind that is claimed, open nothing', async () => {
  const scene = five(1);
  const { whole, kept } = await uploaded(scene);
  const reveal = (signed: ListKind, signatures: Signatures, secret = kept('site-a')) =>
    codeOf(ask(scene, 'site-a', 'reveal', { signed, survivors: ALL, signatures }, secret));
  // Its own counts, whether it is shown or not: three and its own are enough, two are not.
  expect(await reveal('whole', pick(whole, ['site-b', 'site-c']))).toBe('SURVIVORS_TOO_FEW');
  expect(await reveal('whole', pick(whole, ['site-a', 'site-b', 'site-c']))).toBe('SURVIVORS_TOO_FEW');
  expect(await reveal('whole', {})).toBe('SURVIVORS_TOO_FEW');
  // The same list, signed to be agreed on, is not signed as the whole one; nor the other way round.
  const others: Signatures = {};
  for (const siteId of ALL) others[siteId] = (await agreed(scene, siteId, ALL, kept(siteId))).signature;
  expect(await reveal('whole', pick(others, FOUR))).toBe('SIGNATURE_INVALID');
  expect(await reveal('whole', { ...pick(whole, ['site-a', 'site-b', 'site-c']), 'site-d': others['site-d'] })).toBe(
    'SIGNATURE_INVALID',
  );
  const own = await agreed(scene, 'site-a', ALL, kept('site-a'));
  expect(await reveal('agreed', pick(whole, FOUR), own.kept)).toBe('SIGNATURE_INVALID');
  // Another site's, or one of somebody who is not on it.
  expect(await reveal('whole', { ...pick(whole, ALL.slice(0, 3)), 'site-d': whole['site-e'] })).toBe(
    'SIGNATURE_INVALID',
  );
  expect(await reveal('whole', { ...pick(whole, FOUR), 'site-z': whole['site-e'] })).toBe('SIGNATURE_INVALID');
  // Controls: what was refused is one signature, or one word, from being answered.
  const answers = (signed: ListKind, signatures: Signatures, secret: Uint8Array) =>
    ask(scene, 'site-a', 'reveal', { signed, survivors: ALL, signatures }, secret);
  const opened = await answers('whole', pick(whole, ['site-b', 'site-c', 'site-d']), kept('site-a'));
  expect(Object.keys(RevealBody.parse(opened.uplink.body).seeds)).toEqual(ALL);
  expect((await answers('agreed', pick(others, FOUR), own.kept)).uplink.tensor).toBeNull();
});

test('a whole list that this site did not sign is not opened by it', async () => {
  const scene = five();
  // Site a is told of four that mask; the others of five. Its own signature does not fit, so it is out of the uploads.
  const show: NonNullable<Direction['show']> = (at, siteId, downlink) => {
    if (siteId !== 'site-a' || at.kind !== 'upload') return undefined;
    const { 'site-e': _, ...shares } = (downlink as { shares: Signatures }).shares;
    return { sites: FOUR, shares };
  };
  const { played, whole, kept } = await uploaded(scene, { show });
  expect(played.refused.get('site-a upload')).toBe('SIGNATURE_INVALID');
  const rest = ALL.slice(1);
  for (const survivors of [ALL, rest, ALL.slice(0, 3)]) {
    const shown: Shown = { signed: 'whole', survivors, signatures: pick(whole, rest) };
    expect(await codeOf(ask(scene, 'site-a', 'reveal', shown, kept('site-a')))).toBe('SURVIVORS_DIFFER');
  }
  // Having masked with four it opens those four, once so many have signed the same four: here it alone has.
  const own: Shown = { signed: 'whole', survivors: FOUR, signatures: {} };
  expect(await codeOf(ask(scene, 'site-a', 'reveal', own, kept('site-a')))).toBe('SURVIVORS_TOO_FEW');
});

test('after it has signed what was agreed a site opens no whole list; after it has opened one it agrees to nothing', async () => {
  const scene = five();
  const { whole, kept } = await uploaded(scene);
  const shown: Shown = { signed: 'whole', survivors: ALL, signatures: pick(whole, FOUR) };
  for (const survivors of [ALL, FOUR]) {
    const { kept: after } = await agreed(scene, 'site-a', survivors, kept('site-a'));
    expect(await codeOf(ask(scene, 'site-a', 'reveal', shown, after))).toBe('SURVIVORS_DIFFER');
    // Nor does it sign a second list, or the same one anew.
    for (const again of [ALL, FOUR])
      expect(await codeOf(ask(scene, 'site-a', 'agree', { survivors: again }, after))).toBe('PHASE_OUT_OF_TURN');
  }
  const opened = await ask(scene, 'site-a', 'reveal', shown, kept('site-a'));
  for (const survivors of [ALL, FOUR])
    expect(await codeOf(ask(scene, 'site-a', 'agree', { survivors }, opened.secret))).toBe('PHASE_OUT_OF_TURN');
  expect(await codeOf(ask(scene, 'site-a', 'reveal', shown, opened.secret))).toBe('PHASE_OUT_OF_TURN');
  // A second masked update of the same step would be the first one under the same masks.
  const upload = { sites: ALL, shares: null };
  for (const secret of [kept('site-a'), opened.secret])
    expect(await codeOf(ask(scene, 'site-a', 'upload', upload, secret))).toBe('PHASE_OUT_OF_TURN');
});

test('a whole list of another step is none of this one', async () => {
  const policy = pooledPolicy({
    secure: true,
    training: { rounds: 2, discriminatorSteps: 2, warmupDiscriminatorSteps: 0 },
    pooled: { maxDropouts: 1 },
    aggregation: { minSites: 5, minSurvivors: 4, maxDropouts: 1, maxColluders: 1, maxSites: 5 },
  });
  const update = () => new Int32Array(LENGTH).fill(3);
  let first: unknown = null;
  const replayed: NonNullable<Direction['show']> = (at, siteId, downlink) => {
    if (siteId !== 'site-a' || at.kind !== 'reveal') return undefined;
    first ??= downlink;
    return at.step === 1 ? first : undefined;
  };
  const played = await play(sceneOf(5, policy), { update, show: replayed });
  expect(played.refused.get('site-a reveal')).toBe('SIGNATURE_INVALID');
  // The others open the step without it.
  expect(played.steps.map((s) => s.contributors.length)).toEqual([5, 5]);
  // Among the four that are left the list of five is of another step, too.
  first = null;
  const gone: NonNullable<Direction['gone']> = (at, siteId) =>
    siteId === 'site-e' && at.kind === 'reveal' && at.step === 0;
  const fewer = await play(sceneOf(5, policy), { update, show: replayed, gone });
  expect(fewer.refused.get('site-a reveal')).toBe('SURVIVORS_DIFFER');
  // A step's opening that was not answered is not stepped over.
  const scene = sceneOf(5, policy);
  const skipping = await play(scene, { update, gone: (at) => at.kind === 'reveal' });
  const secret = skipping.secrets.get('site-a')!;
  const downlink = { sites: ALL, shares: null };
  const early = { phase: 5, siteId: 'site-a', plan: scene.plan, downlink, secret, update: update() };
  expect(await codeOf(siteOf(scene, 'site-a').answer(early))).toBe('PHASE_OUT_OF_TURN');
});

/** Shares that a coordinator has been given. */
interface Haul {
  readonly seeds: Map<string, string>;
  readonly keys: Map<string, string>;
}
/** What `siteId` reveals of `target`, where it does; a refusal is a refusal. */
async function take(haul: Haul, target: string, siteId: string, answer: ReturnType<typeof ask>): Promise<boolean> {
  try {
    const { seeds, keys } = RevealBody.parse((await answer).uplink.body);
    if (seeds[target] !== undefined) haul.seeds.set(siteId, seeds[target]);
    if (keys[target] !== undefined) haul.keys.set(siteId, keys[target]);
    return true;
  } catch (error) {
    if (!(error instanceof FedError)) throw error;
    return false;
  }
}

/** The target's update, from its upload and from shares of both its secrets. */
async function openUpdate(scene: Scene, played: Played, target: string, haul: Haul, threshold: number) {
  const bodies = (kind: string) => played.said.filter((s) => s.at.kind === kind);
  const keys = new Map(bodies('keys').map((s) => [s.siteId, KeysBody.parse(s.body)]));
  const secretFrom = (shares: Map<string, string>) =>
    combine([...shares].slice(0, threshold).map(([id, text]) => ({ x: ALL.indexOf(id) + 1, bytes: bytesOf(text) })));
  const opened = secretFrom(haul.keys);
  expect(publicOf(opened)).toBe(keys.get(target)!.masking[0]);
  const { context } = groupOf(scene.policy, roundTermsOf(scene.policy), scene.plan);
  const pairs = ALL.filter((id) => id !== target).map((siteId) => {
    const ends = [target, siteId].map((id) => ({ siteId: id, key: keys.get(id)!.masking[0] }));
    const seed = pairSeed(agree(opened, keys.get(siteId)!.masking[0]), context, 0, ends[0], ends[1]);
    return { seed, sign: target < siteId ? (-1 as const) : (1 as const) };
  });
  const words = new Uint32Array(LENGTH);
  const codec = codecOf(scene.policy, scene.plan);
  await addPacked(words, spooled(bodies('upload').find((s) => s.siteId === target)!.tensor!), codec.width);
  addMasks(words, [{ seed: secretFrom(haul.seeds), sign: -1 }, ...pairs]);
  return codec.decode(
    words.map((w) => (w & (2 ** codec.width - 1)) >>> 0),
    1,
  );
}
const isUpdateOf = (values: Float64Array, index: number): boolean =>
  values.every((v, i) => Math.abs(v - updateOf(index)[i]) <= 2 / 65535);

/**
 * The attack: site e is on the whole list and not on the agreed one. Some reveal over the first, which gives shares of the
 * seed of e; some agree on the list without e and reveal over that, which gives shares of its key. Site d works with the
 * coordinator and says whatever helps. T = 4, n = 5, c = 1.
 */
const COLLUDER = 'site-d';
const TARGET = 'site-e';
const T = 4;

test('control: sites that do not keep what they have said let one update be opened', async () => {
  const scene = five(1);
  const { played, whole, kept } = await uploaded(scene);
  const haul: Haul = { seeds: new Map(), keys: new Map() };
  const list: Signatures = {};
  const after = new Map<string, Uint8Array>();
  for (const siteId of FOUR) {
    const made = await agreed(scene, siteId, FOUR, kept(siteId));
    list[siteId] = made.signature;
    after.set(siteId, made.kept);
  }
  // Each answers from the copy it had after its upload, and once more from the one after it had agreed.
  for (const siteId of FOUR) {
    const first: Shown = { signed: 'whole', survivors: ALL, signatures: pick(whole, FOUR) };
    const second: Shown = { signed: 'agreed', survivors: FOUR, signatures: list };
    expect(await take(haul, TARGET, siteId, ask(scene, siteId, 'reveal', first, kept(siteId)))).toBe(true);
    expect(await take(haul, TARGET, siteId, ask(scene, siteId, 'reveal', second, after.get(siteId)!))).toBe(true);
  }
  expect([haul.seeds.size, haul.keys.size]).toEqual([T, T]);
  expect(isUpdateOf(await openUpdate(scene, played, TARGET, haul, T), 4)).toBe(true);
  // With one share from another place it is noise.
  const wrong = new Map([...haul.seeds].map(([id, text], i) => [id, i === 0 ? haul.seeds.get('site-b')! : text]));
  expect(await codeOf(openUpdate(scene, played, TARGET, { ...haul, seeds: wrong }, T))).toBe('SUM_TOO_LARGE');
});

test('whatever order they are asked in, sites that keep what they have said do not', async () => {
  const scene = five(1);
  const { whole, kept } = await uploaded(scene);
  const honest = ['site-a', 'site-b', 'site-c', TARGET];
  const shownWhole: Shown = { signed: 'whole', survivors: ALL, signatures: pick(whole, FOUR) };
  const most = { seeds: 0, keys: 0, both: 0 };
  for (let bits = 0; bits < 2 ** honest.length; bits++) {
    const haul: Haul = { seeds: new Map(), keys: new Map() };
    const state = new Map(honest.map((id) => [id, kept(id)]));
    const told: Signatures = {};
    const wholeFirst = honest.filter((_, i) => bits & (1 << i));
    const reveal = async (siteId: string, shown: Shown) => {
      const answer = ask(scene, siteId, 'reveal', shown, state.get(siteId)!);
      if (await take(haul, TARGET, siteId, answer)) state.set(siteId, (await answer).secret!);
    };
    for (const siteId of wholeFirst) await reveal(siteId, shownWhole);
    for (const siteId of honest) {
      const made = await agreed(scene, siteId, FOUR, state.get(siteId)!).catch((error: unknown) => {
        if (!(error instanceof FedError)) throw error;
        return null;
      });
      if (made === null) continue;
      told[siteId] = made.signature;
      state.set(siteId, made.kept);
    }
    // The colluder has two copies of itself, and tells of both.
    const bad = await agreed(scene, COLLUDER, FOUR, kept(COLLUDER));
    told[COLLUDER] = bad.signature;
    const shownAgreed: Shown = { signed: 'agreed', survivors: FOUR, signatures: told };
    for (const siteId of honest) {
      await reveal(siteId, shownAgreed);
      await reveal(siteId, shownWhole);
    }
    // Its shares of the target it has anyway, whatever it is asked.
    const all = { signed: 'whole' as const, survivors: ALL, signatures: pick(whole, FOUR) };
    await take(haul, TARGET, COLLUDER, ask(scene, COLLUDER, 'reveal', all, kept(COLLUDER)));
    haul.keys.set(COLLUDER, 'its own');
    most.seeds = Math.max(most.seeds, haul.seeds.size);
    most.keys = Math.max(most.keys, haul.keys.size);
    most.both = Math.max(most.both, Math.min(haul.seeds.size, haul.keys.size));
    // n + c = 6 shares at most, where 2T = 8 are needed.
    expect(haul.seeds.size + haul.keys.size).toBeLessThanOrEqual(6);
  }
  // Either is to be had, one at a time.
  expect(most.seeds).toBeGreaterThanOrEqual(T);
  expect(most.keys).toBe(T);
  expect(most.both).toBeLessThan(T);
});

test('control: sites that sign as many lists as they are asked for open a sum of too few, though each reveals once', async () => {
  // n = 5, c = 0, T = 3. Three lists of three; every one is signed by all that are on it.
  const scene = five(0);
  const { played, kept } = await uploaded(scene);
  const lists = [
    ['site-c', 'site-d', 'site-e'],
    ['site-a', 'site-d', 'site-e'],
    ['site-b', 'site-d', 'site-e'],
  ];
  const over: Record<string, number> = { 'site-a': 1, 'site-b': 2, 'site-c': 0, 'site-d': 0, 'site-e': 2 };
  const reveals = new Map<string, RevealBody>();
  for (const siteId of ALL) {
    const survivors = lists[over[siteId]];
    const signatures: Signatures = {};
    let own: Uint8Array | null = null;
    for (const signer of survivors) {
      // Sites d and e sign all three: each time as if it were the first.
      const made = await agreed(scene, signer, survivors, kept(signer));
      signatures[signer] = made.signature;
      if (signer === siteId) own = made.kept;
    }
    const made = await ask(scene, siteId, 'reveal', { signed: 'agreed', survivors, signatures }, own);
    reveals.set(siteId, RevealBody.parse(made.uplink.body));
  }
  const two = ['site-d', 'site-e'];
  const bodiesOf = <V>(kind: string, parse: (body: unknown) => V) =>
    new Map(played.said.filter((s) => s.at.kind === kind).map((s) => [s.siteId, parse(s.body)]));
  const group = groupOf(scene.policy, roundTermsOf(scene.policy), scene.plan);
  const codec = codecOf(scene.policy, scene.plan);
  const uploads = played.said.filter((s) => s.at.kind === 'upload' && two.includes(s.siteId));
  const words = await unmaskedSum({
    ...{ group, step: 0, length: LENGTH, width: codec.width, sites: ALL, summed: null, reveals },
    keys: bodiesOf('keys', (body) => KeysBody.parse(body)),
    shares: bodiesOf('shares', (body) => SharesBody.parse(body)),
    uploads: new Map(uploads.map((s) => [s.siteId, { body: null, tensor: spooled(s.tensor!) }])),
  });
  const sum = codec.decode(words, 2);
  expect(group.least).toBe(3);
  expect(sum.every((v, i) => Math.abs(v - updateOf(3)[i] - updateOf(4)[i]) <= 4 / 65535)).toBe(true);
  // The real site signs one.
  const { kept: after } = await agreed(scene, 'site-d', lists[0], kept('site-d'));
  for (const list of lists)
    expect(await codeOf(ask(scene, 'site-d', 'agree', { survivors: list }, after))).toBe('PHASE_OUT_OF_TURN');
});
