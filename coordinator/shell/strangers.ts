/**
 * Counts connections that have not proved who they are. They are bounded in all, so that they cannot use up the server,
 * and per address, so that one machine cannot take every place from the others.
 */
export class Strangers {
  readonly #most: number;
  readonly #mostPerAddress: number;
  readonly #addresses = new Map<string, string>();
  readonly #perAddress = new Map<string, number>();

  constructor(most: number, mostPerAddress: number) {
    this.#most = most;
    this.#mostPerAddress = mostPerAddress;
  }

  mayEnter(address = ''): boolean {
    return this.#addresses.size < this.#most && (this.#perAddress.get(address) ?? 0) < this.#mostPerAddress;
  }

  enter(id: string, address = ''): void {
    this.#addresses.set(id, address);
    this.#perAddress.set(address, (this.#perAddress.get(address) ?? 0) + 1);
  }

  /** It is a site now, or it is gone. The second time nothing happens. */
  leave(id: string): void {
    const address = this.#addresses.get(id);
    if (address === undefined) return;
    this.#addresses.delete(id);
    const left = this.#perAddress.get(address)! - 1;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
  }
}
