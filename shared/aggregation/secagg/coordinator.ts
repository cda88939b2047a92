/**
 * The coordinator's half of secure aggregation: it relays keys and sealed shares, adds up masked updates, and takes the
 * masks off the sum with what the sites reveal. It trusts itself with liveness alone: everything it could lie about is
 * checked again at the sites (`site.ts`, where the security model is). Nobody has audited it.
 */
import { FedError } from '../../errors.ts';
import { parseMessage } from '../../protocol/messages.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import type { CoordinatorScheme, CoordinatorSchemeParts, NextPhase, PhaseAnswer, PhaseResult } from '../aggregation.ts';
import { packedBytes } from '../bit-pack.ts';
import { groupOf, holdersOf, neighboursOf } from './group.ts';
import type { Group } from './group.ts';
import { AgreeBody, KeysBody, RevealBody, SharesBody, UploadBody, verifyList } from './messages.ts';
import type { ListKind } from './messages.ts';
import { beforeStep, numberOf, phaseOf, secaggOrder, stepsOf } from './phases.ts';
import { requireKeys } from './require-keys.ts';
import { SEALING_BYTES } from './seeds.ts';
import { SEED_BYTES } from './mask.ts';
import { maskedSum, unmaskedSum } from './unmask.ts';
import { codecOf } from './values.ts';
import { agree, createSecret } from './x25519.ts';
import { secureBytes } from '../../random.ts';

type Answers = ReadonlyMap<string, PhaseAnswer>;
type Check = Parameters<CoordinatorScheme['check']>[0];
type Close = Parameters<CoordinatorScheme['close']>[0];

/** What checks of one phase ask for again and again, read once; holds no state that a restart would miss. */
type Recall = <T>(name: string, load: () => Promise<T>) => Promise<T>;

export function secaggCoordinator(p: CoordinatorSchemeParts): CoordinatorScheme {
  const group = (plan: RoundPlan) => groupOf(p.policy, p.terms, plan);
  const recall = createRecall();
  const ahead = new SummedAhead();
  return {
    scheme: 'secagg',
    goesOnWithoutAbsent: true,
    open: (plan) => new Map(plan.invited.map((siteId) => [siteId, null])),
    firstQuorum: (plan) => group(plan).least,
    check: (c) => check(p, group(c.plan), recall, c),
    close: (c) => close(group(c.plan), c, p, { recall, ahead }),
    phasesBefore: secaggOrder(p.policy),
  };
}

/** Keys and shares of an attempt, and of two steps in a row who masked and who uploaded. */
const RECALLED = 6;
function createRecall(): Recall {
  const kept = new Map<string, Promise<unknown>>();
  return async <T>(name: string, load: () => Promise<T>) => {
    // Under one name there is always one type.
    const known = kept.get(name) as Promise<T> | undefined;
    const loading = known ?? load();
    // What is asked for again stays longest.
    kept.delete(name);
    kept.set(name, loading);
    if (known !== undefined) return known;
    if (kept.size > RECALLED) kept.delete([...kept.keys()][0]);
    return loading.catch((error: unknown) => {
      kept.delete(name);
      throw error;
    });
  };
}

/** The uploads of one step, added up while the sites agree on them or reveal. A restart adds them up again. */
class SummedAhead {
  #at: { readonly name: string; readonly sum: Promise<Uint32Array | null> } | null = null;

  begin(c: Close, step: number, width: number): void {
    const { length, answers: uploads } = c;
    // Whatever goes wrong is met again, and heard of, when the sum is needed.
    const sum = maskedSum({ uploads, length, width }).catch(() => null);
    this.#at = { name: nameOf(c, step, uploads), sum };
  }

  /** What was begun for these uploads, once: it is changed by whoever takes it. Null where there is nothing. */
  async take(c: Close, step: number, uploads: Answers): Promise<Uint32Array | null> {
    const at = this.#at;
    this.#at = null;
    return at?.name === nameOf(c, step, uploads) ? at.sum : null;
  }
}
const nameOf = ({ plan, length }: Close, step: number, uploads: Answers): string =>
  [plan.runId, plan.round, plan.attempt, step, length, ...sorted(uploads.keys())].join(' ');

/** All that can be seen of one answer: its form, its signatures, its size. What is masked shows nothing else. */
async function check(p: CoordinatorSchemeParts, group: Group, recall: Recall, c: Check): Promise<void> {
  const { plan, phase, siteId, body, tensor } = c;
  const at = phaseOf(plan, phase);
  const keysOf = () => recall(`${attemptOf(plan)} keys`, async () => bodies(KeysBody, await c.earlier(0)));
  const idsOf = (of: number) => recall(`${attemptOf(plan)} ${of}`, async () => sorted((await c.earlier(of)).keys()));
  if (at.kind !== 'upload' && tensor !== null)
    throw new FedError('MESSAGE_INVALID', `site=${siteId}: a tensor where none belongs`);
  switch (at.kind) {
    case 'keys':
      return checkKeys(p, group, c);
    case 'shares':
      return checkShares(group, c, await keysOf());
    case 'upload': {
      const wanted = packedBytes(c.length, codecOf(p.policy, plan).width);
      const signed = parseMessage(UploadBody, body);
      if ((signed === null) !== (group.graph !== null))
        throw new FedError('MESSAGE_INVALID', `site=${siteId}: the whole list is signed where there is no graph`);
      if (tensor?.bytes !== wanted)
        throw new FedError('UPDATE_SHAPE', `site=${siteId}: ${tensor?.bytes ?? 'no'} bytes, wanted ${wanted}`);
      if (signed === null) return;
      const sites = await idsOf(beforeStep(at.step));
      return verifyList(p.roster(), 'whole', siteId, plan, group.context, at.step, sites, signed.whole);
    }
    case 'agree': {
      const { signature } = parseMessage(AgreeBody, body);
      const survivors = await idsOf(numberOf('upload', at.step));
      return verifyList(p.roster(), 'agreed', siteId, plan, group.context, at.step, survivors, signature);
    }
    case 'reveal': {
      const sites = await idsOf(beforeStep(at.step));
      const survivors = new Set(await idsOf(numberOf('upload', at.step)));
      return checkReveal(group, c, await keysOf(), sites, survivors);
    }
    default:
      return at satisfies never;
  }
}

async function checkKeys(p: CoordinatorSchemeParts, group: Group, { plan, siteId, body }: Check): Promise<void> {
  const keys = parseMessage(KeysBody, body);
  await requireKeys(group, p.roster(), siteId, plan, keys);
  // A key of low order would stop every peer; here it stops its own site alone.
  const probe = createSecret(secureBytes);
  for (const key of [keys.sealing, ...keys.masking]) agree(probe, key);
}

/** One sealed share for every holder that has keys, and for nobody else. */
function checkShares(group: Group, { plan, siteId, body }: Check, keys: ReadonlyMap<string, KeysBody>): void {
  const { shares, commitments } = parseMessage(SharesBody, body);
  const characters = Math.ceil(((SEALING_BYTES + 2 * SEED_BYTES * stepsOf(plan)) * 4) / 3);
  const fits = Object.values(shares).every((sealed) => sealed.length === characters);
  const holders = holdersOf(group, keys.get(siteId)?.neighbours ?? null);
  const wanted = holders.filter((id) => id !== siteId && keys.has(id));
  if (!fits || commitments.length !== stepsOf(plan) || wanted.join() !== sorted(Object.keys(shares)).join())
    throw new FedError('MESSAGE_INVALID', `site=${siteId}: not one share for each holder`);
}

/** One share of the right kind for every site whose shares it holds, and no other. */
function checkReveal(
  group: Group,
  { siteId, body }: Check,
  keys: ReadonlyMap<string, KeysBody>,
  sites: readonly string[],
  survivors: ReadonlySet<string>,
): void {
  const { seeds, keys: ofGone } = parseMessage(RevealBody, body);
  const held = sites.filter((id) => holdersOf(group, keys.get(id)?.neighbours ?? null).includes(siteId));
  const wanted = [held.filter((id) => survivors.has(id)), held.filter((id) => !survivors.has(id))];
  const given = [seeds, ofGone].map((shares) => sorted(Object.keys(shares)));
  if (wanted.map((ids) => ids.join()).join(' ') !== given.map((ids) => ids.join()).join(' '))
    throw new FedError('MESSAGE_INVALID', `site=${siteId}: not one share of each site it holds shares of`);
}

const attemptOf = ({ runId, round, attempt }: RoundPlan): string => `${runId} ${round} ${attempt}`;

/** What is kept between two phases, and would be read or worked out again after a restart. */
interface Kept {
  readonly recall: Recall;
  readonly ahead: SummedAhead;
}

async function close(group: Group, c: Close, p: CoordinatorSchemeParts, kept: Kept): Promise<PhaseResult> {
  const { ahead } = kept;
  const at = phaseOf(c.plan, c.phase);
  switch (at.kind) {
    case 'keys':
      return { next: relayKeys(group, bodies(KeysBody, c.answers)) };
    case 'shares':
      return { next: relayShares(group, bodies(SharesBody, c.answers)) };
    case 'upload': {
      const survivors = sorted(c.answers.keys());
      ahead.begin(c, at.step, codecOf(p.policy, c.plan).width);
      const asked = await c.earlier(beforeStep(at.step));
      // Decided by the answers of two phases that are sealed: the same after every restart.
      if (group.graph !== null || survivors.length < asked.size)
        return { next: toAll(survivors, numberOf('agree', at.step), group.least, { survivors }) };
      const signed = [...bodies(UploadBody, c.answers)].map(([id, body]) => [id, body?.whole ?? ''] as const);
      return { next: relaySignatures(group, 'whole', survivors, new Map(signed), at.step) };
    }
    case 'agree': {
      const survivors = sorted((await c.earlier(numberOf('upload', at.step))).keys());
      const signed = [...bodies(AgreeBody, c.answers)].map(([id, { signature }]) => [id, signature] as const);
      return { next: relaySignatures(group, 'agreed', survivors, new Map(signed), at.step) };
    }
    case 'reveal':
      return openSum(p, group, c, at.step, kept);
    default:
      return at satisfies never;
  }
}

/** Every site gets the keys of those it masks with. */
function relayKeys(group: Group, keys: ReadonlyMap<string, KeysBody>): NextPhase {
  const neighbours = neighboursOf(group, drawsOf(keys));
  const downlinks = new Map(
    [...keys.keys()].map((siteId) => {
      const others = sorted(neighbours.get(siteId) ?? []);
      return [siteId, { keys: Object.fromEntries(others.map((id) => [id, keys.get(id)])) }] as const;
    }),
  );
  return { phase: 1, downlinks, quorum: group.least };
}

function relayShares({ least }: Group, shares: ReadonlyMap<string, SharesBody>): NextPhase {
  const sites = sorted(shares.keys());
  const boxes = new Map<string, Record<string, string>>(sites.map((siteId) => [siteId, {}]));
  for (const [from, { shares: sealed }] of shares)
    for (const [to, text] of Object.entries(sealed)) {
      const box = boxes.get(to);
      if (box !== undefined) box[from] = text;
    }
  const downlinks = new Map(sites.map((siteId) => [siteId, { sites, shares: boxes.get(siteId) }]));
  return { phase: numberOf('upload', 0), downlinks, quorum: least };
}

/** Everybody who has signed the list goes on; of the signatures, as many as each site asks for. */
function relaySignatures(
  { agreeing }: Group,
  kind: ListKind,
  survivors: readonly string[],
  signed: ReadonlyMap<string, string>,
  step: number,
): NextPhase {
  const sites = sorted(signed.keys());
  const signatures = Object.fromEntries(sites.slice(0, agreeing).map((siteId) => [siteId, signed.get(siteId)]));
  return toAll(sites, numberOf('reveal', step), agreeing, { signed: kind, survivors, signatures });
}

async function openSum(
  p: CoordinatorSchemeParts,
  group: Group,
  c: Close,
  step: number,
  { recall, ahead }: Kept,
): Promise<PhaseResult> {
  const attempt = attemptOf(c.plan);
  // Of phases that are sealed: the same at every step.
  const keys = await recall(`${attempt} keys`, async () => bodies(KeysBody, await c.earlier(0)));
  const shares = await recall(`${attempt} shares`, async () => bodies(SharesBody, await c.earlier(1)));
  const before = await c.earlier(beforeStep(step));
  const uploads = await c.earlier(numberOf('upload', step));
  const codec = codecOf(p.policy, c.plan);
  const words = await unmaskedSum({
    group,
    step,
    length: c.length,
    width: codec.width,
    sites: sorted(before.keys()),
    keys,
    shares,
    uploads,
    reveals: bodies(RevealBody, c.answers),
    summed: await ahead.take(c, step, uploads),
  });
  const contributors = sorted(uploads.keys());
  const sum = codec.decode(words, contributors.length);
  if (c.plan.kind !== 'discriminator') return { sum, contributors };
  const sites = sorted(c.answers.keys());
  const last = step + 1 === stepsOf(c.plan);
  const next = last ? null : toAll(sites, numberOf('upload', step + 1), group.least, { sites, shares: null });
  return { step: { index: step, sum, contributors }, next };
}

const drawsOf = (keys: ReadonlyMap<string, KeysBody>) =>
  new Map([...keys].map(([siteId, { neighbours }]) => [siteId, neighbours]));

const toAll = (sites: readonly string[], phase: number, quorum: number, downlink: unknown): NextPhase => ({
  phase,
  quorum,
  downlinks: new Map(sites.map((siteId) => [siteId, downlink])),
});

const sorted = (ids: Iterable<string>): string[] => [...ids].sort();

/** The bodies of a phase, which were checked when they came. */
function bodies<T>(schema: Parameters<typeof parseMessage<T>>[0], answers: Answers): Map<string, T> {
  return new Map([...answers].map(([siteId, { body }]) => [siteId, parseMessage(schema, body)]));
}
