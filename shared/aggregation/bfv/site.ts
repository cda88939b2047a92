/** A site's half of scheme `bfv`; `phases.ts` says what happens when, and why. */
import { z } from 'zod';
import { sha256Hex } from '../../audit/canonical.ts';
import { FedError } from '../../errors.ts';
import { parseMessage } from '../../protocol/messages.ts';
import { Sha256Hex } from '../../protocol/plan.ts';
import { secureBytes } from '../../random.ts';
import type { SiteScheme, SiteSchemeParts, SiteUpdate, SpooledTensor, Uplink } from '../aggregation.ts';
import { packBits } from '../bit-pack.ts';
import { inOrder } from '../phase-order.ts';
import { codecOf } from '../secagg/values.ts';
import { CHECK_SECRET_BYTES, REFUSED } from './checks.ts';
import { readEnvelope, writeEnvelope } from './envelope.ts';
import { type KeyShown, stewardOf, unwrapKey, wrapKey } from './key-bundle.ts';
import { chunksOf } from './parameters.ts';
import type { BfvParameters } from './parameters.ts';
import { AgreeDown, OpenDown, parametersOf, PHASE, placeOf, UploadDown } from './phases.ts';
import type { ConsortiumKey, Frame } from './seal-core.ts';
import { CHUNKS_A_CALL, SealWorker } from './seal-worker.ts';
import type { StatementContext } from './statements.ts';
import {
  consentsNeeded,
  requireSites,
  signConsent,
  signContribution,
  verifyConsent,
  verifyList,
} from './statements.ts';

type Answer = Parameters<SiteScheme['answer']>[0];
type Made = { uplink: Uplink; secret: Uint8Array | null };

/** What a site keeps from one phase to the next: what it sent, and then also what it agreed to. */
const Secret = z.strictObject({ tensorSha256: Sha256Hex, listSha256: Sha256Hex.optional() });
type Secret = z.infer<typeof Secret>;

/** @throws {FedError} PARAMETER_INVALID when the policy's numbers make no safe parameters. */
export function bfvSite(parts: SiteSchemeParts): SiteScheme {
  const parameters = parametersOf(parts.policy);
  const half = new SiteHalf(parts, parameters, new SealWorker(parameters));
  return {
    scheme: 'bfv',
    answer: (p) => half.answer(p),
    // Pooled steps are not for this scheme: a policy that asks for both does not load.
    updateStep: () => null,
    phasesBefore: inOrder,
    dispose: () => half.worker.dispose(),
  };
}

class SiteHalf {
  readonly worker: SealWorker;
  readonly #parts: SiteSchemeParts;
  readonly #parameters: BfvParameters;

  constructor(parts: SiteSchemeParts, parameters: BfvParameters, worker: SealWorker) {
    this.#parts = parts;
    this.#parameters = parameters;
    this.worker = worker;
  }

  async answer(p: Answer): Promise<Made> {
    const { invited } = p.plan;
    if (invited.length > this.#parameters.maxSites)
      throw new FedError('POLICY_MISMATCH', `${invited.length} sites; sums are safe for ${this.#parameters.maxSites}`);
    switch (p.phase) {
      case PHASE.key:
        return this.#offerKey(p);
      case PHASE.upload:
        return this.#upload(p);
      case PHASE.agree:
        return this.#agree(p);
      case PHASE.open:
        return this.#open(p);
      default:
        throw new FedError('MESSAGE_INVALID', `bfv has no phase ${p.phase}`);
    }
  }

  /** Key set-up. A new key for every attempt: nothing of it is kept, by the steward either, but what comes back wrapped. */
  async #offerKey({ plan, siteId }: Answer): Promise<Made> {
    if (siteId !== this.#steward(plan)) return { uplink: { body: { here: true }, tensor: null }, secret: null };
    const { keys, nowMs } = this.#parts;
    const checkSecret = new Uint8Array(CHECK_SECRET_BYTES);
    secureBytes(checkSecret);
    const key = { secretKey: await this.worker.call('createSecretKey'), checkSecret };
    const o = { plan, parameters: this.#parameters, roster: await this.#parts.roster(plan), steward: keys };
    return { uplink: { body: await wrapKey(key, { ...o, nowMs: nowMs() }), tensor: null }, secret: null };
  }

  /** Encrypt. */
  async #upload(p: Answer): Promise<Made> {
    const { plan, siteId } = p;
    const { keys, policy, nowMs } = this.#parts;
    const key = await this.#key(p, parseMessage(UploadDown, p.downlink).key);
    const values = codecOf(policy, plan).encode(floatsOf(p.update), secureBytes);
    const frames: Frame[] = [];
    const run = CHUNKS_A_CALL * this.#parameters.valuesPerChunk;
    for (let at = 0; at < values.length; at += run) {
      const part = values.slice(at, at + run);
      frames.push(...(await this.worker.call('encrypt', key, placeOf(plan), siteId, frames.length, part)));
    }
    const tensor = writeEnvelope('update', this.#parameters, values.length, frames);
    const tensorSha256 = sha256Hex(tensor);
    const contribution = await signContribution(keys, await this.#context(p), siteId, tensorSha256, nowMs());
    return { uplink: { body: { contribution }, tensor }, secret: packed({ tensorSha256 }) };
  }

  /** Consent: to one list an attempt, in which this site's ciphertext is the one it sent. */
  async #agree(p: Answer): Promise<Made> {
    const { siteId } = p;
    const { keys, terms, nowMs } = this.#parts;
    const kept = unpacked(p.secret);
    const { contributors } = parseMessage(AgreeDown, p.downlink);
    const context = await this.#context(p);
    const { listSha256, tensors } = await verifyList(context, contributors, terms.quorum);
    if (tensors.get(siteId) !== kept.tensorSha256) throw new FedError('SUM_REFUSED', 'our update is not in it');
    const consent = await signConsent(keys, context, siteId, listSha256, nowMs());
    return { uplink: { body: { consent }, tensor: null }, secret: packed({ ...kept, listSha256 }) };
  }

  /** Partial decryption; with one key for all it is the whole. The answer is durable, so an attempt is opened once. */
  async #open(p: Answer): Promise<Made> {
    const { plan } = p;
    const kept = unpacked(p.secret);
    const { key: shown, contributors, consents } = parseMessage(OpenDown, p.downlink);
    const context = await this.#context(p);
    const { listSha256 } = await verifyList(context, contributors, this.#parts.terms.quorum);
    if (listSha256 !== kept.listSha256) throw new FedError('SUM_REFUSED', 'not the list this site agreed to');
    const sites = contributors.map((c) => c.siteId);
    requireSites(plan, consents.map((c) => c.siteId), consentsNeeded(plan, this.#parts.terms.quorum)); // prettier-ignore
    for (const consent of consents) {
      if (!sites.includes(consent.siteId)) throw new FedError('SUM_REFUSED', 'a consent of a site that is not in it');
      if ((await verifyConsent(context, consent)) !== listSha256)
        throw new FedError('SUM_REFUSED', `site=${consent.siteId} agreed to another list`);
    }
    const key = await this.#key(p, shown);
    const sums = await this.#sums(p, key, sites);
    const tensor = packBits(sums, this.#parameters.sumBits);
    return { uplink: { body: { opened: true }, tensor }, secret: null };
  }

  async #sums({ plan, blob, update }: Answer, key: ConsortiumKey, sites: readonly string[]): Promise<Uint32Array> {
    if (blob === undefined) throw new FedError('SUM_REFUSED', REFUSED);
    const { length } = floatsOf(update);
    const { valuesPerChunk } = this.#parameters;
    const frames: Frame[] = [];
    try {
      const groups = readEnvelope(inMemory(blob), 'sum', this.#parameters, length, CHUNKS_A_CALL);
      for await (const group of groups) frames.push(...group);
    } catch {
      throw new FedError('SUM_REFUSED', REFUSED);
    }
    // All chunks in one call: the tags of all are checked before any is decrypted.
    const lengths = Array.from({ length: chunksOf(this.#parameters, length) }, (_, i) =>
      Math.min(valuesPerChunk, length - i * valuesPerChunk),
    );
    return this.worker.call('openPart', key, placeOf(plan), sites, 0, frames, lengths);
  }

  #steward(plan: Answer['plan']): string {
    return stewardOf(plan, this.#parts.policy.aggregation.steward);
  }

  async #context({ plan }: Answer): Promise<StatementContext> {
    return { plan, parameters: this.#parameters, roster: await this.#parts.roster(plan) };
  }

  async #key(p: Answer, shown: KeyShown): Promise<ConsortiumKey> {
    return unwrapKey(shown, {
      ...(await this.#context(p)),
      steward: this.#steward(p.plan),
      keys: this.#parts.keys,
    });
  }
}

/** @throws {FedError} PARAMETER_INVALID for whole numbers, which this scheme does not take. */
function floatsOf(update: SiteUpdate | null): Float32Array {
  if (!(update instanceof Float32Array)) throw new FedError('PARAMETER_INVALID', 'bfv wants an update of floats');
  return update;
}

const packed = (secret: Secret): Uint8Array => Buffer.from(JSON.stringify(secret));
function unpacked(secret: Uint8Array | null): Secret {
  if (secret === null) throw new FedError('SUM_REFUSED', 'this site sent nothing in this attempt');
  return Secret.parse(JSON.parse(Buffer.from(secret).toString('utf8')));
}

const inMemory = (bytes: Uint8Array): SpooledTensor => ({
  bytes: bytes.length,
  async *chunks() {
    yield bytes;
  },
});
