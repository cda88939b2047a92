/**
 * Checkpoints against the tree, and their cosignatures against the sites' keys. Each line is verified once, wherever it
 * turns up: in a plan, and under the checkpoint itself.
 */
import { verifyBytesAside } from '../../identity/ed25519.ts';
import type { PublicSigningKey } from '../../identity/jwk.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import { openCheckpointOfAny, witnessName, witnessOf } from '../checkpoint.ts';
import { headOf, hexOf } from '../log.ts';
import type { LogHead } from '../log.ts';
import { rootOf } from '../merkle.ts';
import type { Frontier } from '../merkle.ts';
import { cosignatureClaim } from '../note.ts';
import type { Note, NoteSignature } from '../note.ts';
import type { CoordinatorKeys } from './coordinator-keys.ts';
import type { Findings } from './findings.ts';
import type { SignatureQueue } from './signature-queue.ts';
import type { SiteAudit } from './run-audit.ts';

/** How far back a plan's own checkpoint may lie before the entry it stands in. */
const WINDOW = 4096;

/** A checkpoint and who cosigned it, once signatures are checked. */
export interface CheckpointSummary {
  readonly size: number;
  readonly cosigners: Set<string>;
}

interface Parts {
  readonly runId: () => string | null;
  readonly coordinators: CoordinatorKeys;
  readonly sites: ReadonlyMap<string, SiteAudit>;
  readonly findings: Findings;
  readonly queue: SignatureQueue;
}

export class CheckpointAudit {
  readonly #p: Parts;
  /** The last frontiers, so that a plan a little behind its checkpoint finds it. */
  readonly #window: Frontier[] = [];
  /** Roots of checkpoints that were compared with the tree, by size. */
  readonly #roots = new Map<number, string>();
  /** By size; whatever a plan or the folder shows. */
  readonly seen = new Map<number, CheckpointSummary>();
  readonly #lines = new Map<string, Promise<boolean>>();
  readonly #early: { note: Note; size: number; signature: NoteSignature; site: SiteAudit }[] = [];
  #lastPlan: number | null = null;

  constructor(parts: Parts) {
    this.#p = parts;
  }

  /** The tree has grown to this. */
  grew(frontier: Frontier): void {
    this.#window.push(frontier);
    if (this.#window.length > 2 * WINDOW) this.#window.splice(0, WINDOW);
  }

  /** The root of the tree at this size; null when it lies too far back, or ahead. */
  #rootAt(size: number): string | null {
    const known = this.#roots.get(size);
    if (known !== undefined) return known;
    const first = this.#window[0];
    const found = first === undefined ? undefined : this.#window[size - first.size];
    return found === undefined ? null : hexOf(rootOf(found));
  }

  /** A checkpoint that the folder holds, when the log has grown to its size. */
  atSize(note: string, frontier: Frontier): void {
    const opened = this.#open(note, null);
    if (opened === null) return;
    const head = headOf(frontier);
    if (opened.head.root !== head.root)
      return this.#p.findings.problem(
        'CHECKPOINT',
        null,
        `checkpoint of ${head.size} entries has root ${opened.head.root}; the entries give ${head.root}`,
      );
    this.#roots.set(head.size, head.root);
    this.#cosigned(opened.note, head.size, null);
  }

  /** A plan: its own checkpoint against the tree, and the cosigned one it rests on. */
  plan(index: number, plan: RoundPlan, quorum: number): void {
    const { size, root } = plan.checkpoint;
    const name = `plan ${plan.round}.${plan.attempt}`;
    const is = this.#rootAt(size);
    if (is !== root)
      this.#p.findings.problem(
        'CHECKPOINT',
        index,
        `${name} rests on ${size} entries under ${root}, not ${is ?? 'seen'}`,
      );
    else this.#roots.set(size, root);
    if (this.#lastPlan !== null && size < this.#lastPlan)
      this.#p.findings.problem('CHECKPOINT', index, `${name} rests on fewer entries than the plan before`);
    const last = this.#lastPlan;
    this.#lastPlan = size;
    if (plan.witnessed === null) {
      if (last !== null && quorum > 0)
        this.#p.findings.problem(
          'QUORUM',
          index,
          `${name} carries no cosigned checkpoint; the policy asks for ${quorum}`,
        );
      return;
    }
    if (this.#p.coordinators.at(index) === null)
      return this.#p.findings.gap('checkpoints signed with a key of the coordinator that is not known to be its own');
    const opened = this.#open(plan.witnessed, index);
    if (opened === null) return;
    const { head, note } = opened;
    const known = this.#rootAt(head.size);
    if (known !== head.root)
      this.#p.findings.problem(
        'QUORUM',
        index,
        `${name} rests on ${head.size} entries under ${head.root}, not ${known ?? 'seen'}`,
      );
    if (quorum > 0 && (head.size > size || head.size < (last ?? 0)))
      this.#p.findings.problem('QUORUM', index, `${name} rests on ${head.size} entries; the plan before, on ${last}`);
    this.#cosigned(note, head.size, { index, name, quorum });
  }

  #open(note: string, index: number | null): { head: LogHead; note: Note } | null {
    try {
      // Coordinator signatures are few: one a checkpoint.
      return openCheckpointOfAny(note, this.#p.runId() ?? '', this.#p.coordinators.believed);
    } catch (error) {
      this.#p.findings.problem('CHECKPOINT', index, error instanceof Error ? error.message : 'no checkpoint');
      return null;
    }
  }

  /** Verifies the lines of known sites; for a plan, counts those who may witness now, with the key they have now. */
  #cosigned(note: Note, size: number, plan: { index: number; name: string; quorum: number } | null): void {
    const { sites, findings, queue } = this.#p;
    const summary = this.seen.get(size) ?? { size, cosigners: new Set<string>() };
    this.seen.set(size, summary);
    const counted = new Set<string>();
    const checks = note.signatures.map(async (signature) => {
      const site = sites.get(witnessOf(signature) ?? '');
      if (site === undefined) return;
      const current = site.revoked ? undefined : site.keys.at(-1);
      const key = site.keys.findLast(
        (k) => cosignatureClaim(note.text, signature, witnessName(site.siteId), k) !== null,
      );
      // With a key that the log may still come to: a site whose keys were changed cosigns again.
      if (key === undefined && plan === null) return void this.#early.push({ note, size, signature, site });
      if (key === undefined || !(await this.#holds(note.text, signature, site.siteId, key)))
        return findings.problem(
          'SIGNATURE',
          plan?.index ?? null,
          `cosignature of ${site.siteId} under ${size} entries`,
        );
      summary.cosigners.add(site.siteId);
      if (key === current) counted.add(site.siteId);
    });
    queue.add(
      Promise.all(checks).then(() => {
        if (plan === null || counted.size >= plan.quorum) return;
        const detail = `${plan.name} rests on ${counted.size} of ${plan.quorum} cosignatures`;
        findings.problem('QUORUM', plan.index, detail);
      }),
    );
  }

  /** The log was read: what was cosigned with keys that came later is checked now. */
  finish(): void {
    for (const { note, size, signature, site } of this.#early.splice(0)) {
      const key = site.keys.findLast(
        (k) => cosignatureClaim(note.text, signature, witnessName(site.siteId), k) !== null,
      );
      const holds = key === undefined ? Promise.resolve(false) : this.#holds(note.text, signature, site.siteId, key);
      this.#p.queue.add(
        holds.then((good) => {
          if (good) this.seen.get(size)?.cosigners.add(site.siteId);
          else this.#p.findings.problem('SIGNATURE', null, `cosignature of ${site.siteId} under ${size} entries`);
        }),
      );
    }
  }

  #holds(text: string, s: NoteSignature, siteId: string, key: PublicSigningKey): Promise<boolean> {
    const id = `${text} ${s.line}`;
    const known = this.#lines.get(id);
    if (known !== undefined) return known;
    const claim = cosignatureClaim(text, s, witnessName(siteId), key);
    const holds = claim === null ? Promise.resolve(false) : verifyBytesAside(key, claim.message, claim.signature);
    this.#lines.set(id, holds);
    // Only lines of the last checkpoints come again.
    if (this.#lines.size > 8192) for (const old of [...this.#lines.keys()].slice(0, 4096)) this.#lines.delete(old);
    return holds;
  }

  /** How many entries lie under a checkpoint with this many cosignatures. */
  covered(quorum: number): number {
    const enough = [...this.seen.values()].filter((c) => c.cosigners.size >= quorum && this.#roots.has(c.size));
    return Math.max(0, ...enough.map((c) => c.size));
  }
}
