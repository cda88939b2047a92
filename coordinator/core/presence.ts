/**
 * Who is there, as far as a coordinator can know it: only sites open connections, so a site is there while it asks.
 * Kept in memory alone: after a restart nobody is there until heard of.
 */
export class Presence {
  readonly #heardMs = new Map<string, number>();
  readonly #leftMs = new Map<string, number>();
  readonly #shown = new Map<string, { what: string; atMs: number }>();
  readonly #windowMs: number;

  /** @param windowMs - how long after its last word a site counts as present. */
  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  heard(siteId: string, nowMs: number): void {
    this.#heardMs.set(siteId, nowMs);
    this.#leftMs.delete(siteId);
  }
  /** Its connection closed. */
  left(siteId: string, nowMs: number): void {
    if (this.#heardMs.delete(siteId)) this.#leftMs.set(siteId, nowMs);
  }
  /** When its connection closed; null while it is here, and for one that was not heard of since this process began. */
  leftAt(siteId: string): number | null {
    return this.#leftMs.get(siteId) ?? null;
  }
  /** Of these sites the ones whose connection has closed, and until when each is waited for. */
  leftUntil(sites: readonly string[], waitMs: number): Map<string, number> {
    const gone = sites.flatMap((siteId) => {
      const at = this.leftAt(siteId);
      return at === null ? [] : [[siteId, at + waitMs] as const];
    });
    return new Map(gone);
  }
  /** It let a deadline pass: it counts as absent until its next word. */
  missed(siteId: string, nowMs: number): void {
    if ((this.#heardMs.get(siteId) ?? 0) <= nowMs) this.#heardMs.delete(siteId);
  }
  has(siteId: string, nowMs: number): boolean {
    const heard = this.#heardMs.get(siteId);
    return heard !== undefined && nowMs - heard <= this.#windowMs;
  }

  /** A phase was shown to a site for the first time: from here its own time runs. */
  shown(siteId: string, what: string, nowMs: number): void {
    if (this.#shown.get(siteId)?.what !== what) this.#shown.set(siteId, { what, atMs: nowMs });
  }
  /** Whether a site took no longer over what it was last shown than a deadline allows, though it may have begun late. */
  keptPace(siteId: string, nowMs: number, deadlineMs: number): boolean {
    const shown = this.#shown.get(siteId);
    return shown !== undefined && nowMs - shown.atMs <= deadlineMs;
  }
}
