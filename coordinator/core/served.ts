/**
 * Which sites have been sent a tensor to its end. A coordinator that computes sends nothing meanwhile, so work that can
 * wait begins when those who need a tensor for theirs have it. It only times things: nothing depends on it.
 */
const TENSORS_KEPT = 4;

export class Served {
  /** Sites by hash, of the last few tensors. */
  readonly #sites = new Map<string, Set<string>>();
  #wanted: { readonly sha256: string; readonly sites: readonly string[]; readonly then: () => void } | null = null;

  /** Calls `then` once, when all these sites have it; only the latest call counts. */
  whenAll(sha256: string, sites: readonly string[], then: () => void): void {
    this.#wanted = { sha256, sites, then };
    this.#tell();
  }

  /** This site was sent the last part of it. */
  note(siteId: string, sha256: string): void {
    const sites = this.#sites.get(sha256) ?? new Set();
    this.#sites.set(sha256, sites.add(siteId));
    if (this.#sites.size > TENSORS_KEPT) this.#sites.delete([...this.#sites.keys()][0]);
    this.#tell();
  }

  #tell(): void {
    const wanted = this.#wanted;
    if (wanted === null) return;
    const have = this.#sites.get(wanted.sha256);
    if (!wanted.sites.every((siteId) => have?.has(siteId))) return;
    this.#wanted = null;
    wanted.then();
  }
}
