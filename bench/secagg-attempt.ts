/** One attempt under secagg, both halves in this process, with a clock on each: no network, no training. */
import { readFileSync } from 'node:fs';
import { makePlan } from '../coordinator/core/make-plan.ts';
import type { NextPhase, PhaseAnswer, SpooledTensor } from '../shared/aggregation/aggregation.ts';
import { secaggCoordinator } from '../shared/aggregation/secagg/coordinator.ts';
import { groupOf, holdersOf, neighboursOf } from '../shared/aggregation/secagg/group.ts';
import { signList } from '../shared/aggregation/secagg/messages.ts';
import type { KeysBody, SharesBody } from '../shared/aggregation/secagg/messages.ts';
import { numberOf, phaseOf } from '../shared/aggregation/secagg/phases.ts';
import { secaggSite } from '../shared/aggregation/secagg/site.ts';
import { sha256Hex } from '../shared/audit/canonical.ts';
import { EMPTY_LOG } from '../shared/audit/log.ts';
import { createSiteKeys, publicKeys } from '../shared/identity/keys.ts';
import type { SiteKeys } from '../shared/identity/keys.ts';
import { EMPTY_ROSTER, rosterSeen } from '../shared/identity/roster.ts';
import type { Roster } from '../shared/identity/roster.ts';
import { loadPolicy } from '../shared/policy/load.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { roundTermsOf } from '../shared/policy/views.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';

export interface Setting {
  readonly sites: number;
  readonly bits: number;
  readonly length: number;
  readonly colluders: number;
  readonly dropouts: number;
  readonly graphAbove: number;
}
interface Scene {
  readonly o: Setting;
  readonly policy: CheckedPolicy;
  readonly plan: RoundPlan;
  readonly roster: Roster;
  readonly keys: ReadonlyMap<string, SiteKeys>;
}

/** The hospitals' policy, for so many sites. */
function policyOf(o: Setting): CheckedPolicy {
  const file = JSON.parse(
    readFileSync(new URL('../policies/hospital-consortium.json', import.meta.url), 'utf8'),
  ) as Record<string, unknown>;
  const aggregation = {
    scheme: 'secagg',
    minSites: o.sites,
    minSurvivors: Math.max(3, o.colluders + 2),
    deadlineSeconds: 600,
    bits: o.bits,
    maxSites: o.sites,
    maxColluders: o.colluders,
    maxDropouts: o.dropouts,
    graphAboveSites: o.graphAbove,
  };
  return loadPolicy({ ...file, aggregation }, { availableSchemes: ['secagg'] });
}

export function sceneOf(o: Setting): Scene {
  const policy = policyOf(o);
  const ids = Array.from({ length: o.sites }, (_, i) => `site-${String(i).padStart(4, '0')}`);
  const keys = new Map(ids.map((id) => [id, createSiteKeys()]));
  const entries = [...keys].map(([siteId, own]) => ({
    siteId,
    status: 'active' as const,
    ...publicKeys(own),
    since: 1,
  }));
  const roster: Roster = { ...EMPTY_ROSTER, version: 1, sites: entries };
  const terms = roundTermsOf(policy);
  const plan = makePlan({
    terms,
    runId: '6f9b2c1e-3c55-4e0f-9a53-0d5e7a1f2b3c',
    // The first of a generator's gradient.
    round: terms.momentRounds,
    invited: ids,
    generatorSha256: 'ab'.repeat(32),
    criticSha256: null,
    checkpoint: EMPTY_LOG,
    witnessed: null,
    roster: rosterSeen(roster),
    before: null,
  });
  return { o, policy, plan, roster, keys };
}

const siteOf = ({ policy, roster, keys }: Scene, siteId: string) =>
  secaggSite({
    siteId,
    keys: keys.get(siteId)!,
    policy,
    terms: roundTermsOf(policy),
    roster: async () => roster,
    nowMs: () => 0,
  });

export function updateOf(index: number, length: number): Float32Array {
  const update = new Float32Array(length);
  for (let i = 0; i < length; i++) update[i] = Math.sin(i * 0.37 + index) / 1000;
  return update;
}

const spooled = (bytes: Uint8Array): SpooledTensor => ({
  bytes: bytes.length,
  async *chunks() {
    for (let at = 0; at < bytes.length; at += 262_144) yield bytes.subarray(at, at + 262_144);
  },
});

/** Milliseconds of work. */
export interface Timed {
  /** By phase, of the first site, the upload's hash among it. */
  readonly site: ReadonlyMap<string, number>;
  /** Of the first site, all phases: what the processor was busy with it, on all threads. */
  readonly processor: number;
  /** The same of the coordinator, and of its last phase: unmasking. */
  readonly coordinating: number;
  readonly unmasking: number;
  /** By phase, for all sites together. */
  readonly coordinator: ReadonlyMap<string, number>;
  /** Bytes the first site sends, and is shown. */
  readonly up: number;
  readonly down: number;
  readonly sum: Float64Array;
  readonly contributors: readonly string[];
}

/** A whole attempt. @param gone - how many of the last sites vanish after they have shared. */
export async function wholeAttempt(o: Setting, gone = 0): Promise<Timed> {
  const scene = sceneOf(o);
  const { plan, policy, roster } = scene;
  const ids = plan.invited;
  const hub = secaggCoordinator({ policy, terms: roundTermsOf(policy), roster: () => roster });
  const schemes = new Map(ids.map((id) => [id, siteOf(scene, id)]));
  const secrets = new Map<string, Uint8Array | null>();
  const past = new Map<number, Map<string, PhaseAnswer>>();
  const earlier = async (phase: number) => past.get(phase) ?? new Map<string, PhaseAnswer>();
  const site = new Map<string, number>();
  let [processor, coordinating] = [0, 0];
  const coordinator = new Map<string, number>();
  const add = (to: Map<string, number>, kind: string, since: number) =>
    to.set(kind, (to.get(kind) ?? 0) + performance.now() - since);
  let [up, down] = [0, 0];
  let downlinks = hub.open(plan);
  for (let phase = 0; ;) {
    const { kind } = phaseOf(plan, phase);
    const answers = new Map<string, PhaseAnswer>();
    for (const [siteId, shown] of downlinks) {
      const index = ids.indexOf(siteId);
      if (kind === 'upload' && index >= ids.length - gone) continue;
      const update = updateOf(index, o.length);
      const text = JSON.stringify(shown ?? null);
      const busy = process.cpuUsage();
      const began = performance.now();
      const made = await schemes.get(siteId)!.answer({
        phase,
        siteId,
        plan,
        downlink: JSON.parse(text),
        secret: secrets.get(siteId) ?? null,
        update,
      });
      const { tensor } = made.uplink;
      if (tensor !== null) sha256Hex(tensor);
      const body: unknown = JSON.parse(JSON.stringify(made.uplink.body ?? null));
      if (index === 0) {
        add(site, kind, began);
        processor += millisecondsOf(process.cpuUsage(busy));
        up += (tensor?.length ?? 0) + JSON.stringify(body).length;
        down += text.length;
      }
      secrets.set(siteId, made.secret);
      const answer = { body, tensor: tensor === null ? null : spooled(tensor) };
      const before = process.cpuUsage();
      const checking = performance.now();
      await hub.check({
        plan,
        phase,
        siteId,
        ...answer,
        length: o.length,
        clipNorm: 1,
        integerLimit: null,
        earlier,
      });
      add(coordinator, kind, checking);
      coordinating += millisecondsOf(process.cpuUsage(before));
      answers.set(siteId, answer);
    }
    past.set(phase, answers);
    const busy = process.cpuUsage();
    const closing = performance.now();
    const result = await hub.close({ plan, phase, length: o.length, integers: false, answers, earlier });
    add(coordinator, kind, closing);
    const unmasking = millisecondsOf(process.cpuUsage(busy));
    coordinating += unmasking;
    if ('sum' in result) return { site, processor, coordinating, unmasking, coordinator, up, down, ...result };
    ({ phase, downlinks } = result.next as NextPhase);
  }
}

const millisecondsOf = ({ user, system }: { user: number; system: number }): number => (user + system) / 1000;

export interface SiteWork {
  /** Neighbours it draws, and those it masks with. */
  readonly drawn: number;
  readonly neighbours: number;
  readonly threshold: number;
  readonly ms: number;
  readonly processor: number;
  readonly up: number;
  readonly down: number;
}

/**
 * The whole work of one of many sites. Of the others only what that one site is shown is made: their keys, the shares they
 * seal to it, and as many signatures as it asks for.
 */
export async function oneSiteOf(o: Setting): Promise<SiteWork> {
  const scene = sceneOf(o);
  const { plan, policy, keys } = scene;
  const group = groupOf(policy, roundTermsOf(policy), plan);
  const [own] = plan.invited;
  const ask = async (siteId: string, phase: number, downlink: unknown, secret: Uint8Array | null) => {
    const update = phase === 2 ? updateOf(0, o.length) : null;
    const busy = process.cpuUsage();
    const began = performance.now();
    const made = await siteOf(scene, siteId).answer({ phase, siteId, plan, downlink, secret, update });
    if (made.uplink.tensor !== null) sha256Hex(made.uplink.tensor);
    return { ...made, ms: performance.now() - began, processor: millisecondsOf(process.cpuUsage(busy)) };
  };
  const advertised = new Map<string, KeysBody>();
  const kept = new Map<string, Uint8Array | null>();
  let [ms, processor] = [0, 0];
  for (const siteId of plan.invited) {
    const made = await ask(siteId, 0, null, null);
    advertised.set(siteId, made.uplink.body as KeysBody);
    kept.set(siteId, made.secret);
    if (siteId !== own) continue;
    ms += made.ms;
    processor += made.processor;
  }
  const around = neighboursOf(group, new Map([...advertised].map(([id, body]) => [id, body.neighbours])));
  const keysFor = (siteId: string) => ({
    keys: Object.fromEntries([...(around.get(siteId) ?? [])].map((id) => [id, advertised.get(id)])),
  });
  let [up, down] = [JSON.stringify(advertised.get(own)).length, 0];
  const step = async (phase: number, downlink: unknown) => {
    const text = JSON.stringify(downlink);
    const made = await ask(own, phase, JSON.parse(text), kept.get(own) ?? null);
    kept.set(own, made.secret);
    ms += made.ms;
    processor += made.processor;
    down += text.length;
    up += JSON.stringify(made.uplink.body).length + (made.uplink.tensor?.length ?? 0);
    return made;
  };
  await step(1, keysFor(own));
  const shares: Record<string, string> = {};
  for (const siteId of around.get(own) ?? []) {
    if (!holdersOf(group, advertised.get(siteId)?.neighbours ?? null).includes(own)) continue;
    const made = await ask(siteId, 1, keysFor(siteId), kept.get(siteId) ?? null);
    shares[siteId] = (made.uplink.body as SharesBody).shares[own];
  }
  const sites = [...group.sites];
  await step(2, { sites, shares });
  await step(3, { survivors: sites });
  const signatures: Record<string, string> = {};
  for (const siteId of sites.slice(0, group.agreeing))
    signatures[siteId] = await signList(keys.get(siteId)!, 'agreed', siteId, group.context, 0, sites);
  await step(numberOf('reveal', 0), { signed: 'agreed', survivors: sites, signatures });
  return {
    drawn: group.graph?.degree ?? o.sites - 1,
    neighbours: around.get(own)?.size ?? 0,
    threshold: group.threshold,
    ms,
    processor,
    up,
    down,
  };
}
