/**
 * Checkpoints against the tree, and their cosignatures against the sites' keys. Each line is verified once, wherever it
 * turns up: in a plan, and under the checkpoint itself.
 */
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

/** A cosignature line: of which key it is, or who waits to know. */
interface KnownLine {
  key: PublicSigningKey | null;
  waiting: ((key: PublicSigningKey | null) => void)[] | null;
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
  readonly #lines = new Map<string, KnownLine>();
  readonly #opened = new Map<string, { head: LogHead; note: Note }>();
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
    const known = this.#opened.get(note);
    if (known !== undefined) return known;
    try {
      // Coordinator signatures are few: one a checkpoint. A plan shows the note of the one before again.
      const opened = openCheckpointOfAny(note, this.#p.runId() ?? '', this.#p.coordinators.believed);
      if (this.#opened.size >= 8) this.#opened.clear();
      this.#opened.set(note, opened);
      return opened;
    } catch (error) {
      this.#p.findings.problem('CHECKPOINT', index, error instanceof Error ? error.message : 'no checkpoint');
      return null;
    }
  }

  /** Verifies the lines of known sites; for a plan, counts those who may witness now, with the key they have now. */
  #cosigned(note: Note, size: number, plan: { index: number; name: string; quorum: number } | null): void {
    const { sites, findings } = this.#p;
    const summary = this.seen.get(size) ?? { size, cosigners: new Set<string>() };
    this.seen.set(size, summary);
    const counted = new Set<string>();
    let left = 1;
    const settle = () => {
      left -= 1;
      if (left > 0 || plan === null || counted.size >= plan.quorum) return;
      findings.problem('QUORUM', plan.index, `${plan.name} rests on ${counted.size} of ${plan.quorum} cosignatures`);
    };
    for (const signature of note.signatures) {
      const site = sites.get(witnessOf(signature) ?? '');
      if (site === undefined) continue;
      const current = site.revoked ? undefined : site.keys.at(-1);
      // With a key that the log may still come to: a site whose keys were changed cosigns again.
      if (plan === null && keyOf(note.text, signature, site) === undefined) {
        this.#early.push({ note, size, signature, site });
        continue;
      }
      left += 1;
      this.#holds(note.text, signature, site, (key) => {
        if (key === null)
          findings.problem('SIGNATURE', plan?.index ?? null, `cosignature of ${site.siteId} under ${size} entries`);
        else summary.cosigners.add(site.siteId);
        if (key !== null && key === current) counted.add(site.siteId);
        settle();
      });
    }
    settle();
  }

  /** The log was read: what was cosigned with keys that came later is checked now. */
  finish(): void {
    for (const { note, size, signature, site } of this.#early.splice(0))
      this.#holds(note.text, signature, site, (key) => {
        if (key !== null) this.seen.get(size)?.cosigners.add(site.siteId);
        else this.#p.findings.problem('SIGNATURE', null, `cosignature of ${site.siteId} under ${size} entries`);
      });
  }

  /** Says which of the site's keys a line is of; null when it is of none. */
  #holds(text: string, s: NoteSignature, site: SiteAudit, then: (key: PublicSigningKey | null) => void): void {
    const id = `${text} ${s.line}`;
    const known = this.#lines.get(id);
    if (known !== undefined) return known.waiting === null ? then(known.key) : void known.waiting.push(then);
    const line: KnownLine = { key: null, waiting: [then] };
    this.#lines.set(id, line);
    // Only lines of the last checkpoints come again.
    if (this.#lines.size > 4096) for (const old of [...this.#lines.keys()].slice(0, 2048)) this.#lines.delete(old);
    const settle = (key: PublicSigningKey | null) => {
      const { waiting } = line;
      [line.key, line.waiting] = [key, null];
      for (const tell of waiting ?? []) tell(key);
    };
    const key = keyOf(text, s, site);
    const claim = key === undefined ? null : cosignatureClaim(text, s, witnessName(site.siteId), key);
    if (key === undefined || claim === null) return settle(null);
    this.#p.queue.check(key, claim.message, claim.signature, (holds) => settle(holds ? key : null));
  }

  /** How many entries lie under a checkpoint with this many cosignatures. */
  covered(quorum: number): number {
    const enough = [...this.seen.values()].filter((c) => c.cosigners.size >= quorum && this.#roots.has(c.size));
    return Math.max(0, ...enough.map((c) => c.size));
  }
}

/** The newest of a site's keys that a line names. */
const keyOf = (text: string, s: NoteSignature, { siteId, keys }: SiteAudit): PublicSigningKey | undefined =>
  keys.findLast((key) => cosignatureClaim(text, s, witnessName(siteId), key) !== null);
