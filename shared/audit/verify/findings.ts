/** What an audit finds. A problem is something that is wrong; a gap is something that could not be checked. */

export type ProblemCode =
  /** A file of the folder is missing or cannot be read. */
  | 'FOLDER'
  /** A line of the log is not an entry, or not in its place. */
  | 'ENTRY'
  /** An entry is not the one under the checkpoint's root. */
  | 'TREE'
  | 'CHECKPOINT'
  /** A plan rests on too few cosignatures, or on another history. */
  | 'QUORUM'
  | 'SIGNATURE'
  | 'ROSTER'
  /** A plan is not as the policy has it, or an entry is not possible where it stands. */
  | 'POLICY'
  | 'ORDER'
  | 'EPSILON'
  /** A site's ledger went back, or has two histories. */
  | 'LEDGER'
  | 'GENERATOR'
  | 'RELEASE';

export interface Problem {
  readonly code: ProblemCode;
  /** The entry that is wrong; null where no single entry is. */
  readonly entry: number | null;
  /** One sentence. */
  readonly detail: string;
}

/** More than these are not kept: a log that is wrong from some point on is wrong in every entry after it. */
const MOST = 200;

export class Findings {
  readonly problems: Problem[] = [];
  readonly gaps: string[] = [];
  /** What is worth knowing and neither wrong nor unchecked. */
  readonly notes: string[] = [];
  #dropped = 0;

  problem(code: ProblemCode, entry: number | null, detail: string): void {
    if (this.problems.length < MOST) this.problems.push({ code, entry, detail });
    else this.#dropped += 1;
  }
  gap(detail: string): void {
    if (!this.gaps.includes(detail)) this.gaps.push(detail);
  }
  note(detail: string): void {
    if (!this.notes.includes(detail)) this.notes.push(detail);
  }
  get dropped(): number {
    return this.#dropped;
  }
  /** In the order of the log: signatures are checked at the same time as what follows them. */
  sorted(): Problem[] {
    return this.problems.toSorted((a, b) => (a.entry ?? -1) - (b.entry ?? -1));
  }
}
