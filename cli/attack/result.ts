/** What one attack found, in the words of the command that ran it. */

export interface AttackResult {
  /** What was attacked: `discriminator step`, `generator`, … */
  readonly target: string;
  /** `as it is`, or how it was broken on purpose. */
  readonly variant: string;
  /** Whether the attack must find something here: true for every control. */
  readonly control: boolean;
  /** Whether it found something: a claim refuted, an image reconstructed, bytes that are not uniform. */
  readonly found: boolean;
  /** Epsilon that is claimed for what was attacked, and the largest that the attack refutes; null where neither applies. */
  readonly claimed: number | null;
  readonly lowerBound: number | null;
  /** What was counted, for a person. */
  readonly says: string;
  /** The same as numbers. */
  readonly figures: Readonly<Record<string, number>>;
}

/** A control that finds nothing makes the attack beside it worthless; an attack that finds something is the alarm. */
export const asExpected = (r: AttackResult): boolean => r.found === r.control;
