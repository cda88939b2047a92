import { Bell, Stopped } from '../shared/bell.ts';
import type { Clock } from '../shared/clock.ts';
import type { NextReply } from '../shared/protocol/round-messages.ts';

/**
 * Sites' questions what there is to do, held back while the answer would be "nothing". A site of which one is here needs
 * no wake: it has its answer as soon as there is one, without asking again.
 *
 * Guarantee: a site has at most one here; a newer one takes its place, and the older is answered as things then are. None
 * outlives its time, its site's connection (`letGo`), or the run (the signal). What is asked is looked up anew each time,
 * so a question that has waited is answered like one that has just come.
 */
export class WaitingQuestions {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #here = new Map<string, Question>();
  /** Sites that have nothing to do until something changes: what they ask until then needs no look. */
  readonly #without = new Set<string>();
  #wakes = 0;

  /** @param signal - once aborted, nothing is held back any more. */
  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
  }

  /**
   * Answers at once with anything but `idle`; with that when `waitMs` have passed.
   * @param look - what the answer is now.
   */
  async answer(siteId: string, waitMs: number, look: () => Promise<NextReply>): Promise<NextReply> {
    this.letGo(siteId);
    const question: Question = { bell: new Bell(), over: waitMs === 0, listening: false };
    const until = this.#clock.now() + waitMs;
    this.#here.set(siteId, question);
    try {
      if (this.#without.delete(siteId)) await this.#wait(question, 0, until);
      for (;;) {
        const { rings } = question.bell;
        const reply = await look();
        if (reply.kind !== 'idle') return reply;
        // What has changed while it was looked up was announced to nobody but this question.
        if (question.bell.rings !== rings) continue;
        if (question.over || this.#clock.now() >= until) return reply;
        await this.#wait(question, rings, until);
      }
    } catch (error) {
      if (error instanceof Stopped) return { kind: 'idle' };
      throw error;
    } finally {
      if (this.#here.get(siteId) === question) this.#here.delete(siteId);
    }
  }

  async #wait(question: Question, seen: number, untilMs: number): Promise<void> {
    question.listening = true;
    try {
      await question.bell.wait(seen, untilMs, this.#clock, this.#signal);
    } finally {
      question.listening = false;
    }
  }

  /** How often something has changed, for `hasNothing`. */
  get wakes(): number {
    return this.#wakes;
  }

  /**
   * There is nothing for this site until something changes: its next question need not be looked up before.
   * @param since - `wakes` from before that was so: what came after is not missed.
   */
  hasNothing(siteId: string, since: number): void {
    if (since === this.#wakes) this.#without.add(siteId);
  }

  /** There may be something after all. */
  mayHave(siteId: string): void {
    this.#without.delete(siteId);
  }

  /** Something has changed. @returns the sites whose questions look again, and that need not be told. */
  wake(): ReadonlySet<string> {
    this.#wakes += 1;
    this.#without.clear();
    // One that is being looked up may come back with what it found before this change: that site is told, too.
    const listening = [...this.#here].filter(([, question]) => question.listening).map(([siteId]) => siteId);
    for (const { bell } of this.#here.values()) bell.ring();
    return new Set(listening);
  }

  /** This site's question does not wait any longer. */
  letGo(siteId: string): void {
    const question = this.#here.get(siteId);
    if (question === undefined) return;
    this.#here.delete(siteId);
    question.over = true;
    question.bell.ring();
  }
}

interface Question {
  readonly bell: Bell;
  /** It is answered with whatever is found next. */
  over: boolean;
  /** It waits, and hears the next change; not while it is looked up. */
  listening: boolean;
}
