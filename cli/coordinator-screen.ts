/** What an operator sees of a run: a bar over its rounds, and a line for whatever is out of the ordinary. */
import type { CoordinatorEvent } from '../coordinator/events.ts';
import type { GateWords } from '../shared/gate/outcome.ts';
import { momentRoundsOf } from '../shared/policy/cost.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import type { ShellEvent } from './coordinator-run.ts';
import { showEpsilon } from '../shared/dp/show-epsilon.ts';
import { progress } from './progress.ts';

/** Rounds that the fit to the moments counts for: it takes about as long. */
const FIT_ROUNDS = 15;

export interface Screen {
  readonly event: (event: CoordinatorEvent | ShellEvent) => void;
  readonly finished: (outcome: 'completed' | 'stopped') => void;
  readonly stop: () => void;
}

/** Where a run is, in [0, 1], from its events. */
export function runShare(policy: CheckedPolicy): { after(event: CoordinatorEvent | ShellEvent): number } {
  const fits = momentRoundsOf(policy);
  const total = fits * FIT_ROUNDS + policy.training.rounds;
  const doneAt = (round: number) => (Math.min(round, fits) * FIT_ROUNDS + Math.max(0, round - fits)) / total;
  let share = 0;
  return {
    after(event) {
      if (event.kind === 'run-started') share = doneAt(event.resumedAt);
      else if (event.kind === 'round-closed') share = doneAt(event.round + 1);
      else if (event.kind === 'discriminator-step')
        share = doneAt(event.round) + (doneAt(event.round + 1) - doneAt(event.round)) * (event.step / event.of);
      else if (event.kind === 'fitting') share = doneAt(event.round) + (FIT_ROUNDS * event.share) / total;
      else if (event.kind === 'run-finished') share = 1;
      return share;
    },
  };
}

export function coordinatorScreen(policy: CheckedPolicy): Screen {
  const bar = progress('rounds');
  const shares = runShare(policy);
  const epsilons = new Map<string, number | null>();
  const about = (text: string) => {
    const all = [...epsilons.values()];
    const most = all.some((e) => e === null) ? null : Math.max(0, ...all.map(Number));
    return all.length === 0 ? text : `${text}, epsilon spent at most ${showEpsilon(most)}`;
  };
  return {
    event(event) {
      if (event.kind === 'epsilon') epsilons.set(event.statement.siteId, event.statement.epsilon);
      const line = lineOf(event);
      if (line !== null) bar.line(line);
      const share = shares.after(event);
      if (event.kind === 'fitting') bar.update(share, about('the generator learns from the moments'));
      else if (event.kind === 'discriminator-step')
        bar.update(share, about(`round ${event.round + 1}, step ${event.step} of ${event.of}`));
      else if (event.kind === 'round-closed') bar.update(share, about(`round ${event.round + 1}`));
    },
    finished: (outcome) => bar.line(outcome === 'completed' ? 'The run is complete.' : 'The run was ended.'),
    stop: () => bar.stop(),
  };
}

/** A line that stays, for what an operator may want to act on. */
export function lineOf(event: CoordinatorEvent | ShellEvent): string | null {
  switch (event.kind) {
    case 'listening':
      return `Sites reach this coordinator at ${event.url}`;
    case 'run-started':
      if (event.resumedAt === 0) return null;
      return event.resumedAt < event.rounds
        ? `Going on at round ${event.resumedAt + 1} of ${event.rounds}.`
        : `All ${event.rounds} rounds are over.`;
    case 'waiting':
      return `Round ${event.round + 1} waits: ${event.why}.`;
    case 'site-online':
      return `${event.siteId} is here.`;
    case 'site-offline':
      return `${event.siteId} has gone.`;
    case 'declined':
      return `${event.siteId} declines round ${event.round + 1}: ${event.detail}`;
    case 'refused':
      return `Refused ${event.siteId}: ${event.detail}`;
    case 'round-void':
      return `Round ${event.round + 1} is void (${event.code}) and will be opened again.`;
    case 'round-closed':
      return event.missing.length === 0 ? null : `Round ${event.round + 1} closed without ${event.missing.join(', ')}.`;
    case 'fault':
      return event.siteId === null ? null : `${event.siteId}, ${event.event}: ${event.detail}`;
    case 'gate-asked':
      return `The rounds are over: ${event.asked.join(', ')} are asked whether the images may leave.`;
    case 'gate-waiting':
      return `The release gate is ${event.why}.`;
    case 'gate-answered':
      return `${event.siteId} ${saidWords(event.words)}.`;
    case 'gate-unmeasured':
      return `The candidate’s images cannot be measured: ${event.detail}.`;
    case 'gate-judged':
      return [
        event.passed
          ? 'The release gate finds nothing against these images.'
          : 'The release gate refuses these images:',
        ...event.findings.filter((f) => !f.holds).map((f) => `  ${f.bound}: ${f.say}`),
      ].join('\n');
    case 'round-opened':
    case 'phase-opened':
    case 'answered':
    case 'fitting':
    case 'discriminator-step':
    case 'epsilon':
    case 'run-finished':
      return null;
    default:
      return event satisfies never;
  }
}

/** A site's answer to the release gate, in words. */
export const saidWords = (words: GateWords): string =>
  words.kind === 'declined'
    ? `does not answer the release gate: ${words.code}`
    : `says of copies: ${words.memorisation}; of members told from others: ${words.membership}`;
