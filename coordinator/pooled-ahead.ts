/** Work of a pooled step that waits for no site: the fakes' part, and what can be put off until they compute. */
import { FedError } from '../shared/errors.ts';
import { type FakesStep, type PooledTrainer, pooledTrainerOf } from './core/pooled-trainer.ts';
import { loadDiscriminator } from './discriminators.ts';
import { loadGeneratorState } from './generators.ts';
import type { RoundParts } from './round.ts';
import type { DiscriminatorRecord, RoundRecord } from './store/store.ts';

type AheadParts = Pick<RoundParts, 'store' | 'blobs' | 'runId' | 'trainer' | 'served'>;

/** The discriminator of now with its fakes' part, each worked out once. */
export class PooledAhead {
  readonly #p: AheadParts;
  readonly #plan: RoundRecord['plan'];
  readonly #trainer: PooledTrainer;
  #at: { record: DiscriminatorRecord; state: Uint8Array } | null = null;
  /** The same in all steps of a round. */
  #generator: { sha256: string; state: Uint8Array } | null = null;
  #now: Promise<{ record: DiscriminatorRecord; state: Uint8Array; fakes: FakesStep }> | null = null;
  #chores: () => Promise<void> = async () => undefined;

  constructor(p: AheadParts, { plan }: RoundRecord) {
    this.#p = p;
    this.#plan = plan;
    this.#trainer = pooledTrainerOf(p.trainer);
  }
  /** Begins the fakes' part when all these sites have the discriminator; if one never fetches it, the sum begins it. */
  async beginWith(sites: readonly string[]): Promise<void> {
    if (this.#now !== null) return;
    const record = this.#at?.record ?? (await this.#run())?.discriminator;
    if (record !== undefined) this.#p.served.whenAll(record.weights.sha256, sites, () => void this.fakes());
  }
  fakes() {
    this.#now ??= this.#load();
    this.#now.catch(() => undefined);
    return this.#now;
  }
  /**
   * The same for this discriminator and no other. A site that fetches the one before late, after `moved` and before the
   * store says so, sets off the fakes of what the store then names; a step on those would take back the step before it.
   */
  async on({ state }: DiscriminatorRecord) {
    const begun = await this.fakes();
    if (begun.record.state.sha256 === state.sha256) return begun;
    this.#now = null;
    return this.fakes();
  }
  /** The discriminator has moved on; its bytes are at hand. */
  moved(record: DiscriminatorRecord, state: Uint8Array): void {
    this.#at = { record, state };
    this.#now = null;
  }
  /** What can wait until the sites compute, and is done before the next sum is applied. */
  beforeNext(chores: () => Promise<void>): void {
    this.#chores = chores;
  }
  /** Does what has waited: also where the attempt is void, and there are no next fakes. */
  async finish(): Promise<void> {
    const chores = this.#chores;
    this.#chores = async () => undefined;
    await chores();
  }
  #run() {
    const { store, runId } = this.#p;
    return store.transaction((tx) => tx.run(runId));
  }
  async #load() {
    const { store, blobs, runId } = this.#p;
    const { run, generator } = await store.transaction(async (tx) => {
      const of = await tx.run(runId);
      return { run: of, generator: of === null ? null : await tx.generator(runId, of.round) };
    });
    const record = run?.discriminator;
    if (record === undefined || generator === null)
      throw new FedError('STORE_CORRUPT', `run ${runId} has no discriminator`);
    const kept = this.#at?.record.state.sha256 === record.state.sha256 ? this.#at.state : null;
    const state = kept ?? (await loadDiscriminator(blobs, runId, record));
    const { sha256 } = generator.state;
    if (this.#generator?.sha256 !== sha256)
      this.#generator = { sha256, state: await loadGeneratorState(blobs, runId, generator) };
    const fakes = await this.#trainer.fakesStep(state, this.#generator.state, this.#plan);
    // Only now: files that go keep the disk busy while sites that share it write down what they pay.
    await this.finish();
    return { record, state, fakes };
  }
}
