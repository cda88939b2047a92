/**
 * A site's half of secure aggregation: the coordinator learns a sum of masked updates and nothing of one.
 *
 * Each site masks its update twice: with a mask of its own, and with one for every other site, which that site takes
 * off again. Seeds of the first and keys of the second are shared out (Shamir) among the sites, so that masks of sites
 * that vanish can still be taken off. For one site only one of the two may ever be opened, or its update lies bare: a site
 * reveals its shares once a step, over one survivor list, after enough sites have signed that very list.
 *
 * **Two lists a step.** With its upload each site signs the *whole* list of those that mask in the step; where somebody's
 * upload is missing, the sites sign another, the *agreed* list. The signatures are of two kinds, and an honest site gives
 * at most one of each. T = ⌊(n + c)/2⌋ + 1 signatures of one kind have to be under a list, and 2T > n + c: so of a step
 * there is at most one whole list and one agreed list that anybody reveals over. To open both masks of a site that is on
 * one of them only takes T shares of each kind, 2T in all; n - c honest holders reveal once, the c others both, which is
 * n + c at most. So one sum of honest updates comes out, or none: an honest site of which nothing was opened hides, by
 * its pair masks, all that mask with it. A second sum could differ by updates of colluders alone, which they know. This needs everybody to hold shares of everybody. In a graph T shares are of a
 * neighbourhood, and there the sites always agree first.
 *
 * **Who must work together to see one site's update.** The policy's `maxColluders` is c. The coordinator with c sites of a
 * round cannot, whatever it sends: with n sites invited, T must sign one list, and any two groups of so many share an
 * honest site, which signs once of a kind. Above `graphAboveSites` this holds except with probability 2^-40. What is needed
 * beyond: the roster (peers' signing keys), since whoever can put false keys in it is every peer. The operator compares the
 * roster's fingerprints by another channel. Sums of fewer than max(3, c + 2, `minSurvivors`) sites are never opened.
 *
 * **What it does not do.** It does not hide the sum; noise does that. It does not find a site that lies about its update,
 * or that sends shares that do not fit: the round is void then. It says who took part, and when. Nobody has audited it.
 *
 * @see Bonawitz et al. 2017, "Practical Secure Aggregation", figure 4; Bell et al. 2020 for the graph.
 *   Differs: steps of one round have masking keys of their own, all shared at once, so that opening a site's key of one
 *   step says nothing of its other steps; the log's checkpoint goes into keys and masks.
 */
import { createHash, randomInt } from 'node:crypto';
import { FedError } from '../../errors.ts';
import { thumbprint } from '../../identity/jwk.ts';
import { activeSite } from '../../identity/roster.ts';
import type { Roster } from '../../identity/roster.ts';
import { parseMessage } from '../../protocol/messages.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import { secureBytes } from '../../random.ts';
import type { RandomBytes } from '../../random.ts';
import type { SiteScheme, SiteSchemeParts, SiteUpdate, Uplink } from '../aggregation.ts';
import { packBits } from '../bit-pack.ts';
import { groupOf, holdersOf } from './group.ts';
import type { Group } from './group.ts';
import { SEED_BYTES } from './mask.ts';
import type { Mask } from './mask.ts';
import { MasksAhead } from './masks-ahead.ts';
import type { MaskedStep } from './masks-ahead.ts';
import { AgreeDownlink, bytesOf, KeysDownlink, RevealDownlink, signKeys, signList } from './messages.ts';
import { textOf, UploadDownlink, verifyList } from './messages.ts';
import type { KeysBody, ListKind, RevealBody, SharesBody, UploadBody } from './messages.ts';
import { phaseOf, secaggOrder, stepsOf } from './phases.ts';
import type { Phase } from './phases.ts';
import { pairSeed, seal, unseal } from './seeds.ts';
import { SecretMemory } from './secret.ts';
import type { Progress, Secret } from './secret.ts';
import { split } from './shamir.ts';
import { codecOf } from './values.ts';
import { agree, createSecret, publicOf } from './x25519.ts';
import { requireKeys } from './require-keys.ts';

/** One answer on the way: what belongs to it, in one place. */
interface Turn {
  readonly p: SiteSchemeParts;
  readonly random: RandomBytes;
  readonly plan: RoundPlan;
  readonly group: Group;
  readonly downlink: unknown;
  readonly memory: SecretMemory;
  readonly ahead: MasksAhead;
}
interface Made {
  readonly uplink: Uplink;
  readonly secret: Secret;
}

/** @param random - for keys, seeds, shares and rounding. */
export function secaggSite(p: SiteSchemeParts, random: RandomBytes = secureBytes): SiteScheme {
  const ahead = new MasksAhead();
  const memory = new SecretMemory();
  return {
    scheme: 'secagg',
    async answer({ phase, plan, downlink, secret, update }) {
      const turn: Turn = { p, random, plan, group: groupOf(p.policy, p.terms, plan), downlink, memory, ahead };
      const at = phaseOf(plan, phase);
      const made = await dispatch(turn, at, secret, update);
      const kept = memory.write(made.secret);
      if (at.kind === 'reveal' && at.step + 1 === stepsOf(plan)) memory.forget();
      return { uplink: made.uplink, secret: kept };
    },
    waiting({ phase, plan, secret }) {
      const at = phaseOf(plan, phase);
      const kept = memory.recent(secret);
      if (at.kind !== 'reveal' || at.step + 1 === stepsOf(plan) || kept === null) return;
      // Those in this step's sum are, as a rule, who masks in the next.
      const next = { plan, secret: kept, step: at.step + 1, sites: kept.sites };
      ahead.begin(next, () => masksOf(p, groupOf(p.policy, p.terms, plan), next));
    },
    updateStep(plan, phase) {
      const at = phaseOf(plan, phase);
      return at.kind === 'upload' ? at.step : null;
    },
    phasesBefore: secaggOrder(p.policy),
    async dispose() {
      ahead.forget();
      memory.forget();
    },
  };
}

function dispatch(turn: Turn, at: Phase, kept: Uint8Array | null, update: SiteUpdate | null): Promise<Made> {
  const { memory } = turn;
  switch (at.kind) {
    case 'keys':
      return advertise(turn);
    case 'shares':
      return shareOut(turn, memory.read(kept));
    case 'upload':
      return maskUpdate(turn, memory.read(kept), at.step, update);
    case 'agree':
      return agreeOnSurvivors(turn, memory.read(kept), at.step);
    case 'reveal':
      return reveal(turn, memory.read(kept), at.step);
    default:
      return at satisfies never;
  }
}

/** Fresh keys and seeds for this attempt alone, signed. */
async function advertise({ p, random, plan, group }: Turn): Promise<Made> {
  const steps = Array.from({ length: stepsOf(plan) });
  const sealing = createSecret(random);
  const masking = steps.map(() => createSecret(random));
  const seeds = steps.map(() => createSecret(random));
  const neighbours = group.graph === null ? null : drawNeighbours(group.sites, p.siteId, group.graph.degree);
  const keys = { sealing: publicOf(sealing), masking: masking.map(publicOf), neighbours };
  const signature = await signKeys(p.keys, p.siteId, plan, group.context, keys);
  const body: KeysBody = { ...keys, signature };
  const secret = { sealing, masking, seeds, own: body, peers: new Map(), held: new Map(), sites: [], progress: null };
  return { uplink: { body, tensor: null }, secret };
}

/** Different sites, all equally likely, ascending: nobody but this site has a say in who holds its shares. */
function drawNeighbours(sites: readonly string[], siteId: string, degree: number): number[] {
  const pool = sites.flatMap((id, index) => (id === siteId ? [] : [index]));
  for (let i = 0; i < degree; i++) {
    const j = randomInt(i, pool.length);
    [pool[i], pool[j]] = [pool[j], pool[i]];
  }
  return pool.slice(0, degree).sort((a, b) => a - b);
}

/** Checks who the others are, then shares out every step's seed and key, sealed to each holder. */
async function shareOut({ p, random, plan, group, downlink }: Turn, secret: Secret): Promise<Made> {
  const { keys: offered } = parseMessage(KeysDownlink, downlink);
  const roster = await rosterOf(p, plan);
  const peers = new Map<string, KeysBody>();
  for (const [siteId, body] of Object.entries(offered)) {
    if (siteId === p.siteId) throw new FedError('MESSAGE_INVALID', 'a key is offered under this site’s own name');
    await requireKeys(group, roster, siteId, plan, body);
    if (isNeighbour(group, p.siteId, secret.own, siteId, body)) peers.set(siteId, body);
  }
  const holders = holdersOf(group, secret.own.neighbours);
  const present = holders.filter((id) => id === p.siteId || peers.has(id));
  const known = group.graph === null ? peers.size + 1 : present.length;
  const needed = group.graph === null ? group.least : group.threshold;
  if (known < needed) throw new FedError('SURVIVORS_TOO_FEW', `${known} sites of at least ${needed} have keys`);

  const places = present.map((id) => holders.indexOf(id) + 1);
  const parts = secret.seeds.flatMap((seed, step) => [seed, secret.masking[step]]);
  const shared = parts.map((part) => split(part, group.threshold, places, random));
  const held = new Map<string, Uint8Array>();
  const shares: Record<string, string> = {};
  present.forEach((to, i) => {
    const plain = Buffer.concat(shared.map((perHolder) => perHolder[i]));
    if (to === p.siteId) held.set(to, plain);
    else {
      const peer = peers.get(to)!;
      const between = agree(secret.sealing, peer.sealing);
      const ends = [endOf(p.siteId, secret.own), endOf(to, peer)] as const;
      shares[to] = textOf(seal(between, group.context, ...ends, plain, random));
    }
  });
  const commitments = secret.seeds.map((seed) => createHash('sha256').update(seed).digest('hex'));
  const body: SharesBody = { shares, commitments };
  return { uplink: { body, tensor: null }, secret: { ...secret, peers, held } };
}

const isNeighbour = (group: Group, own: string, mine: KeysBody, other: string, theirs: KeysBody): boolean =>
  group.graph === null ||
  holdersOf(group, mine.neighbours).includes(other) ||
  holdersOf(group, theirs.neighbours).includes(own);

/** The roster of the plan, with this site in it under the key it signs with. */
async function rosterOf(p: SiteSchemeParts, plan: RoundPlan): Promise<Roster> {
  const roster = await p.roster(plan);
  if (thumbprint(activeSite(roster, p.siteId).signing) !== p.keys.kid)
    throw new FedError('ROUND_NOT_OPEN', 'this attempt’s roster has another key of this site');
  return roster;
}

const endOf = (siteId: string, { sealing: key }: KeysBody) => ({ siteId, key });

/**
 * The update as whole numbers under all masks, packed: from here on nobody can read it alone. With it, where everybody
 * masks with everybody, a signature over all who do.
 */
async function maskUpdate(turn: Turn, secret: Secret, step: number, update: SiteUpdate | null): Promise<Made> {
  const { p, random, plan, group } = turn;
  if (update === null) throw new FedError('PARAMETER_INVALID', `no update for step ${step}`);
  const { progress } = secret;
  const inTurn = progress === null ? step === 0 : progress.revealed && progress.step === step - 1;
  if (!inTurn) throw outOfTurn('upload', step, progress);
  const { sites, held } = openShares(turn, secret, step);
  const codec = codecOf(p.policy, plan);
  const words = codec.encode(update, random);
  const masked = { plan, secret, step, sites };
  await turn.ahead.add(words, masked, () => masksOf(p, group, masked));
  const signature = group.graph === null ? await signList(p.keys, 'whole', p.siteId, group.context, step, sites) : null;
  const body: UploadBody = signature === null ? null : { whole: signature };
  const next = { ...secret, sites, held, progress: { step, agreed: null, revealed: false } };
  return { uplink: { body, tensor: packBits(words, codec.width) }, secret: next };
}

/** The mask of its own and one for every other site that masks with it. */
function masksOf({ siteId }: SiteSchemeParts, { context }: Group, { secret, step, sites }: MaskedStep): Mask[] {
  const masks: Mask[] = [{ seed: secret.seeds[step], sign: 1 }];
  for (const other of sites) {
    const peer = secret.peers.get(other);
    if (peer === undefined) continue;
    const between = agree(secret.masking[step], peer.masking[step]);
    const ends = [
      { siteId, key: secret.own.masking[step] },
      { siteId: other, key: peer.masking[step] },
    ] as const;
    masks.push({ seed: pairSeed(between, context, step, ...ends), sign: siteId < other ? 1 : -1 });
  }
  return masks;
}

const outOfTurn = (kind: Phase['kind'], step: number, at: Progress | null): FedError => {
  const here = at === null ? 'no step' : `step ${at.step}${at.revealed ? ', which is opened' : ''}`;
  return new FedError('PHASE_OUT_OF_TURN', `${kind} of step ${step}; this site is at ${here}`);
};

/** Who takes part in this step, and, in the first, the shares that others sealed to this site. */
function openShares({ p, group, downlink }: Turn, secret: Secret, step: number) {
  const { sites, shares } = parseMessage(UploadDownlink, downlink);
  const before: readonly string[] = step === 0 ? group.sites : secret.sites;
  requireList(sites, p.siteId, before, group.least);
  const strangers = group.graph === null ? sites.filter((id) => id !== p.siteId && !secret.peers.has(id)) : [];
  if (strangers.length > 0) throw new FedError('KEY_UNKNOWN', `no key was shown for ${strangers.join(', ')}`);
  if ((shares !== null) !== (step === 0)) throw new FedError('MESSAGE_INVALID', `shares at step ${step}`);
  const held = new Map(secret.held);
  for (const [from, sealed] of Object.entries(shares ?? {})) {
    const peer = secret.peers.get(from);
    if (peer === undefined || from === p.siteId)
      throw new FedError('SHARE_INVALID', `from ${from}, who has no key here`);
    const between = agree(secret.sealing, peer.sealing);
    const ends = [endOf(from, peer), endOf(p.siteId, secret.own)] as const;
    const plain = unseal(between, group.context, ...ends, bytesOf(sealed));
    if (plain.length !== 2 * SEED_BYTES * secret.seeds.length)
      throw new FedError('SHARE_INVALID', `from ${from}: ${plain.length} bytes`);
    held.set(from, plain);
  }
  return { sites, held };
}

/** @throws {FedError} MESSAGE_INVALID, SURVIVORS_TOO_FEW */
function requireList(sites: readonly string[], own: string, among: readonly string[], least: number): void {
  const ascending = sites.every((id, i) => i === 0 || sites[i - 1] < id);
  const known = new Set(among);
  if (!ascending || !sites.includes(own) || !sites.every((id) => known.has(id)))
    throw new FedError('MESSAGE_INVALID', 'a list of sites that are not of this step, or without this site');
  if (sites.length < least) throw new FedError('SURVIVORS_TOO_FEW', `${sites.length} sites, at least ${least}`);
}

/** Signs, once a step and not after it has revealed, who is in the sum. */
async function agreeOnSurvivors({ p, group, downlink }: Turn, secret: Secret, step: number): Promise<Made> {
  const { survivors } = parseMessage(AgreeDownlink, downlink);
  const { progress } = secret;
  if (progress?.step !== step || progress.agreed !== null || progress.revealed)
    throw outOfTurn('agree', step, progress);
  requireList(survivors, p.siteId, secret.sites, group.least);
  const signature = await signList(p.keys, 'agreed', p.siteId, group.context, step, survivors);
  return {
    uplink: { body: { signature }, tensor: null },
    secret: { ...secret, progress: { ...progress, agreed: survivors } },
  };
}

/**
 * The list of this kind that a site would reveal over; null where there is none. Having signed an agreed list it reveals
 * over no other: more than the argument asks for.
 */
function signedList(group: Group, { sites, progress }: Secret, kind: ListKind): readonly string[] | null {
  if (progress === null) return null;
  if (kind === 'agreed') return progress.agreed;
  return group.graph === null && progress.agreed === null ? sites : null;
}

/**
 * Reveals, for every peer whose shares are here, one share of one kind: of the seed where the peer is in the sum, of the
 * masking key of this step where it is not.
 *
 * Guarantee: once a step, only over a list this site has signed in it, and only when enough others have signed the same
 * with the same kind of signature. The answer is stored before it is sent and never made a second time.
 */
async function reveal({ p, plan, group, downlink }: Turn, secret: Secret, step: number): Promise<Made> {
  const { signed, survivors, signatures } = parseMessage(RevealDownlink, downlink);
  const { progress } = secret;
  if (progress?.step !== step || progress.revealed) throw outOfTurn('reveal', step, progress);
  if (signedList(group, secret, signed)?.join() !== survivors.join())
    throw new FedError('SURVIVORS_DIFFER', `step ${step}: this site has signed another list as ${signed}`);
  const roster = await rosterOf(p, plan);
  const signers = Object.entries(signatures);
  const known = new Set(survivors);
  for (const [siteId] of signers)
    if (!known.has(siteId)) throw new FedError('SIGNATURE_INVALID', `${siteId} signs for a sum it is not in`);
  await Promise.all(
    signers.map(([siteId, signature]) =>
      verifyList(roster, signed, siteId, plan, group.context, step, survivors, signature),
    ),
  );
  const agreeing = new Set([p.siteId, ...signers.map(([siteId]) => siteId)]).size;
  if (agreeing < group.agreeing)
    throw new FedError('SURVIVORS_TOO_FEW', `${agreeing} sites have signed the list, at least ${group.agreeing} must`);
  const body: RevealBody = { seeds: {}, keys: {} };
  for (const peer of secret.sites) {
    const share = secret.held.get(peer);
    if (share === undefined) continue;
    const [kind, offset] = known.has(peer) ? (['seeds', 0] as const) : (['keys', SEED_BYTES] as const);
    const start = 2 * SEED_BYTES * step + offset;
    body[kind][peer] = textOf(share.subarray(start, start + SEED_BYTES));
  }
  return {
    uplink: { body, tensor: null },
    secret: { ...secret, sites: survivors, progress: { ...progress, revealed: true } },
  };
}
