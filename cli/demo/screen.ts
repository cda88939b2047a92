/** What a person sees of the demonstration: one bar to its end, and now and then how the sites are doing. */
import type { CoordinatorEvent } from '../../coordinator/events.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import { lineOf, runShare } from '../coordinator-screen.ts';
import type { ShellEvent } from '../coordinator-run.ts';
import { showEpsilon } from '../../shared/dp/show-epsilon.ts';
import { progress } from '../progress.ts';

/** Where the rounds begin and end on the bar: before them the data are drawn, after them the images are judged. */
const ROUNDS_FROM = 0.08;
const ROUNDS_TO = 0.9;
/** Lines about the sites, over all rounds. */
const REPORTS = 8;

export interface DemoScreen {
  readonly say: (text: string) => void;
  readonly preparing: (share: number, what: string) => void;
  readonly coordinator: (event: CoordinatorEvent | ShellEvent) => void;
  readonly finishing: (share: number, what: string) => void;
  readonly stop: () => void;
}

export function demoScreen(policyOf: () => CheckedPolicy | null): DemoScreen {
  const bar = progress('demo');
  const epsilons = new Map<string, number | null>();
  let shares: ReturnType<typeof runShare> | null = null;
  const spent = () =>
    [...epsilons]
      .sort()
      .map(([siteId, epsilon]) => `${siteId} ${showEpsilon(epsilon)}`)
      .join(', ');
  return {
    say: (text) => bar.line(text),
    preparing: (share, what) => bar.update(share * ROUNDS_FROM, what),
    finishing: (share, what) => bar.update(ROUNDS_TO + share * (1 - ROUNDS_TO), what),
    coordinator(event) {
      const policy = policyOf();
      if (policy === null) return;
      const { rounds } = roundTermsOf(policy);
      const at = ROUNDS_FROM + (ROUNDS_TO - ROUNDS_FROM) * (shares ??= runShare(policy)).after(event);
      if (event.kind === 'epsilon') epsilons.set(event.statement.siteId, event.statement.epsilon);
      if (event.kind === 'fitting') bar.update(at, 'the generator learns from the noised moments');
      if (event.kind === 'round-closed') {
        const loss = event.fakes === null ? '' : `, loss on fakes ${event.fakes.fakeLoss.toFixed(2)}`;
        const closed = `round ${event.round + 1} of ${rounds}${loss}`;
        bar.update(at, closed);
        if ((event.round + 1) % Math.max(1, Math.ceil(rounds / REPORTS)) === 0)
          bar.line(`${closed}; epsilon spent: ${spent()}`);
      }
      // Here sites come and go by design; what is wrong is said all the same.
      const usual = ['listening', 'site-online', 'site-offline', 'waiting'];
      const line = usual.includes(event.kind) ? null : lineOf(event);
      if (line !== null) bar.line(line);
    },
    stop: () => bar.stop(),
  };
}
