/**
 * Signatures are checked on other threads while the log is read on: so many at a time, so that memory stays flat. Plain
 * callbacks: a hundred thousand promises that outlive a young generation would be what an audit's memory is made of.
 */
import { verifyBytesAside } from '../../identity/ed25519.ts';
import type { PublicSigningKey } from '../../identity/jwk.ts';

const MOST = 128;

export class SignatureQueue {
  #pending = 0;
  #asked = 0;
  #fault: { error: unknown } | null = null;
  #waiting: { below: number; go: () => void } | null = null;

  /** How many signatures were checked. */
  get checked(): number {
    return this.#asked;
  }

  /** Checks one signature aside. @param then - told whether it holds, before `drain` resolves. */
  check(key: PublicSigningKey, message: Uint8Array, signature: Uint8Array, then: (holds: boolean) => void): void {
    this.#asked += 1;
    this.#pending += 1;
    verifyBytesAside(key, message, signature, (error, holds) => {
      if (error !== null) this.#fault ??= { error };
      then(holds);
      this.#done();
    });
  }

  /** Waits until there is room for more. */
  room(): Promise<void> {
    return this.#below(MOST);
  }

  /** Waits for all. @throws what a check failed with, other than a signature that does not hold: a bug. */
  async drain(): Promise<void> {
    await this.#below(1);
    if (this.#fault !== null) throw this.#fault.error;
  }

  #done(): void {
    this.#pending -= 1;
    if (this.#waiting === null || this.#pending >= this.#waiting.below) return;
    const { go } = this.#waiting;
    this.#waiting = null;
    go();
  }

  #below(below: number): Promise<void> {
    if (this.#pending < below) return Promise.resolve();
    return new Promise((go) => (this.#waiting = { below, go }));
  }
}
