/**
 * The coordinator's half of scheme `bfv`: it relays the key it cannot read, adds ciphertexts it cannot open, and takes a
 * sum that two sites have opened alike. It checks what it can see, so that no site's fault spoils the round of the
 * others; range and norm of an update are not among what it can see.
 */
import { createHash } from 'node:crypto';
import { FedError } from '../../errors.ts';
import { parseMessage } from '../../protocol/messages.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import type {
  CoordinatorScheme,
  CoordinatorSchemeParts,
  PhaseAnswer,
  PhaseResult,
  SpooledTensor,
} from '../aggregation.ts';
import { addPacked, packedBytes } from '../bit-pack.ts';
import { inOrder } from '../phase-order.ts';
import { codecOf } from '../secagg/values.ts';
import { readEnvelope, writeEnvelope } from './envelope.ts';
import { checkKey, KeyBundle, shownTo, stewardOf } from './key-bundle.ts';
import type { BfvParameters } from './parameters.ts';
import { AgreeBody, Here, OpenBody, OPENERS, OPENERS_NEEDED, parametersOf, PHASE, UploadBody } from './phases.ts';
import type { Frame } from './seal-core.ts';
import { CHUNKS_A_CALL, SealWorker } from './seal-worker.ts';
import { consentsNeeded, verifyConsent, verifyContribution, verifyList } from './statements.ts';
import type { Shown, StatementContext } from './statements.ts';

type Check = Parameters<CoordinatorScheme['check']>[0];
type Close = Parameters<CoordinatorScheme['close']>[0];
type Answers = ReadonlyMap<string, PhaseAnswer>;

/** @throws {FedError} PARAMETER_INVALID when the policy's numbers make no safe parameters. */
export function bfvCoordinator(parts: CoordinatorSchemeParts): CoordinatorScheme {
  const parameters = parametersOf(parts.policy);
  const half = new CoordinatorHalf(parts, parameters, new SealWorker(parameters));
  return {
    scheme: 'bfv',
    open: (plan) => new Map(plan.invited.map((siteId) => [siteId, null])),
    check: (p) => half.check(p),
    close: (p) => half.close(p),
    phasesBefore: inOrder,
    dispose: () => half.worker.dispose(),
  };
}

class CoordinatorHalf {
  readonly worker: SealWorker;
  readonly #parts: CoordinatorSchemeParts;
  readonly #parameters: BfvParameters;

  constructor(parts: CoordinatorSchemeParts, parameters: BfvParameters, worker: SealWorker) {
    this.#parts = parts;
    this.#parameters = parameters;
    this.worker = worker;
  }

  async check(p: Check): Promise<void> {
    const { phase, siteId, plan, body, tensor } = p;
    if ((phase === PHASE.key || phase === PHASE.agree) && tensor !== null)
      throw new FedError('MESSAGE_INVALID', `site=${siteId}: a tensor where none belongs`);
    const context = this.#context(plan);
    switch (phase) {
      case PHASE.key: {
        if (siteId !== this.#steward(plan)) return void parseMessage(Here, body);
        const bundle = parseMessage(KeyBundle, body);
        for (const invited of plan.invited) shownTo(bundle, invited);
        return checkKey(bundle, { ...context, steward: siteId });
      }
      case PHASE.upload:
        return this.#checkUpload(p);
      case PHASE.agree:
        return void (await verifyConsent(context, { siteId, statement: parseMessage(AgreeBody, body).consent }));
      case PHASE.open: {
        parseMessage(OpenBody, body);
        const wanted = packedBytes(p.length, this.#parameters.sumBits);
        if (tensor?.bytes === wanted) return;
        throw new FedError('UPDATE_SHAPE', `site=${siteId}: ${tensor?.bytes ?? 'no'} bytes, wanted ${wanted}`);
      }
      default:
        throw new FedError('MESSAGE_INVALID', `bfv has no phase ${phase}`);
    }
  }

  /** Every ciphertext is read by SEAL here, so that adding them cannot fail; and the site has signed these bytes. */
  async #checkUpload({ siteId, plan, body, tensor, length }: Check): Promise<void> {
    if (tensor === null) throw new FedError('UPDATE_SHAPE', `site=${siteId}: no ciphertexts`);
    const statement = parseMessage(UploadBody, body).contribution;
    const signed = await verifyContribution(this.#context(plan), { siteId, statement });
    const hash = createHash('sha256');
    const hashed: SpooledTensor = {
      bytes: tensor.bytes,
      async *chunks() {
        for await (const piece of tensor.chunks()) {
          hash.update(piece);
          yield piece;
        }
      },
    };
    for await (const frames of readEnvelope(hashed, 'update', this.#parameters, length, CHUNKS_A_CALL))
      await this.worker.call('checkFrames', frames);
    if (hash.digest('hex') !== signed)
      throw new FedError('SIGNATURE_INVALID', `site=${siteId}: it signed other ciphertexts than it sent`);
  }

  async close(p: Close): Promise<PhaseResult> {
    switch (p.phase) {
      case PHASE.key:
        return this.#closeKey(p);
      case PHASE.upload:
        return this.#closeUpload(p);
      case PHASE.agree:
        return this.#closeAgree(p);
      default:
        return this.#combine(p);
    }
  }

  #closeKey({ plan, answers }: Close): PhaseResult {
    const bundle = this.#bundle(plan, answers);
    const downlinks = new Map([...answers.keys()].map((siteId) => [siteId, { key: shownTo(bundle, siteId) }]));
    return { next: { phase: PHASE.upload, downlinks } };
  }

  #closeUpload({ plan, answers }: Close): PhaseResult {
    const contributors = contributionsOf(answers);
    const needed = consentsNeeded(plan, this.#parts.terms.quorum);
    if (contributors.length < needed)
      throw new FedError('ROUND_VOID', `${contributors.length} of ${plan.invited.length} sites; ${needed} must agree`);
    const downlinks = new Map(contributors.map(({ siteId }) => [siteId, { contributors }]));
    return { next: { phase: PHASE.agree, downlinks } };
  }

  /** Step 6 of 9, the first half: the encrypted sum of all that were agreed on, and who is to open it. */
  async #closeAgree({ plan, length, answers, earlier }: Close): Promise<PhaseResult> {
    const uploads = await earlier(PHASE.upload);
    const contributors = contributionsOf(uploads);
    const { quorum } = this.#parts.terms;
    const context = this.#context(plan);
    const { listSha256 } = await verifyList(context, contributors, quorum);
    const consents: Shown[] = [];
    for (const [siteId, { body }] of byName(answers)) {
      const shown = { siteId, statement: parseMessage(AgreeBody, body).consent };
      if ((await verifyConsent(context, shown)) === listSha256) consents.push(shown);
    }
    const needed = consentsNeeded(plan, quorum);
    if (consents.length < needed)
      throw new FedError('ROUND_VOID', `${consents.length} sites agreed to the list; ${needed} must`);
    const blob = await this.#add(uploads, length);
    const bundle = this.#bundle(plan, await earlier(PHASE.key));
    const openers = Array.from(
      { length: OPENERS },
      (_, i) => consents[(plan.round + plan.attempt + i) % consents.length].siteId,
    );
    const downlinks = new Map(
      openers.map((siteId) => [siteId, { key: shownTo(bundle, siteId), contributors, consents }]),
    );
    return { next: { phase: PHASE.open, downlinks, blob, quorum: OPENERS_NEEDED } };
  }

  /** The encrypted sum. Memory: the sum, and a group of ciphertexts of every site. */
  async #add(uploads: Answers, length: number): Promise<Uint8Array> {
    const readers = byName(uploads).map(([siteId, { tensor }]) => {
      if (tensor === null) throw new FedError('STORE_CORRUPT', `site=${siteId}: no tensor`);
      return readEnvelope(tensor, 'update', this.#parameters, length, CHUNKS_A_CALL);
    });
    const sum: Frame[] = [];
    for (;;) {
      const groups: Frame[][] = [];
      for (const reader of readers) {
        const { value } = await reader.next();
        if (value) groups.push(value);
      }
      if (groups.length === 0) break;
      if (groups.length !== readers.length) throw new FedError('STORE_CORRUPT', 'uploads of different lengths');
      sum.push(...(await this.worker.call('add', groups)));
    }
    return writeEnvelope('sum', this.#parameters, length, sum);
  }

  /** Step 6 of 9, the second half. With one key for all, to combine the parts is to see that they are the same. */
  async #combine({ plan, length, answers, earlier }: Close): Promise<PhaseResult> {
    const parts = byName(answers).map(([, { tensor }]) => tensor);
    if (parts.length < OPENERS_NEEDED)
      throw new FedError('ROUND_VOID', `${parts.length} sites opened the sum; ${OPENERS_NEEDED} must`);
    let sums: Uint32Array | null = null;
    for (const part of parts) {
      if (part === null) throw new FedError('STORE_CORRUPT', 'an opened sum is gone');
      const found = new Uint32Array(length);
      await addPacked(found, part, this.#parameters.sumBits);
      const before = sums;
      if (before?.some((value, i) => value !== found[i]) === true)
        throw new FedError('SUM_DISAGREES', `round ${plan.round}.${plan.attempt}: two sites found two sums`);
      sums = found;
    }
    if (sums === null) throw new FedError('STORE_CORRUPT', 'nobody opened the sum');
    const contributors = [...(await earlier(PHASE.upload)).keys()].sort();
    // Range and norm of the sum are the first that can be seen of what sites sent.
    return { sum: codecOf(this.#parts.policy, plan).decode(sums, contributors.length), contributors };
  }

  #bundle(plan: RoundPlan, answers: Answers): KeyBundle {
    const steward = this.#steward(plan);
    const answer = answers.get(steward);
    if (!answer) throw new FedError('ROUND_VOID', `site=${steward}, which makes the key, did not answer`);
    return parseMessage(KeyBundle, answer.body);
  }

  #steward(plan: RoundPlan): string {
    return stewardOf(plan, this.#parts.policy.aggregation.steward);
  }

  #context(plan: RoundPlan): StatementContext {
    return { plan, parameters: this.#parameters, roster: this.#parts.roster() };
  }
}

const byName = (answers: Answers): [string, PhaseAnswer][] => [...answers].sort(([a], [b]) => (a < b ? -1 : 1));

const contributionsOf = (uploads: Answers): Shown[] =>
  byName(uploads).map(([siteId, { body }]) => ({
    siteId,
    statement: parseMessage(UploadBody, body).contribution,
  }));
