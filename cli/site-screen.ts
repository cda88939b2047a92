/** What a site's operator sees: a bar over the rounds, the losses on fakes, the epsilon spent. Nothing about images. */
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { roundTermsOf } from '../shared/policy/views.ts';
import { saidWords } from './coordinator-screen.ts';
import { showEpsilon } from '../shared/dp/show-epsilon.ts';
import { progress } from './progress.ts';
import type { AgentEvent } from './site-run.ts';

export interface SiteScreen {
  readonly event: (event: AgentEvent) => void;
  readonly finished: (outcome: 'completed' | 'stopped') => void;
  readonly stop: () => void;
}

export function siteScreen(policy: CheckedPolicy, siteId: string): SiteScreen {
  const { rounds } = roundTermsOf(policy);
  const bar = progress(siteId);
  let epsilon = '';
  let loss = '';
  let told = '';
  return {
    event(event) {
      if (event.kind === 'epsilon')
        epsilon = `, epsilon ${showEpsilon(event.statement.epsilon)} of ${showEpsilon(event.atMost)}`;
      if (event.kind === 'update' && event.fakes) loss = `, loss on fakes ${event.fakes.fakeLoss.toFixed(2)}`;
      const line = lineOf(event);
      // A coordinator that is away for a night is one line, not a thousand.
      if (line !== null && line !== told) bar.line(line);
      if (line !== null) told = line;
      if (event.kind === 'share')
        bar.update(
          (event.round + event.step / event.of) / rounds,
          `round ${event.round + 1}, step ${event.step}${epsilon}`,
        );
      else if (event.kind === 'answered')
        bar.update((event.round + 1) / rounds, `round ${event.round + 1}${loss}${epsilon}`);
    },
    finished: (outcome) => bar.line(outcome === 'completed' ? 'The run is complete.' : 'The run was ended.'),
    stop: () => bar.stop(),
  };
}

function lineOf(event: AgentEvent): string | null {
  switch (event.kind) {
    case 'bad-file':
      return `Left out: ${event.file}: ${event.reason}`;
    case 'data-read':
      return event.unit === 'patient'
        ? 'The images are read.'
        : 'The images are read. They name no patients: the claim protects single images, not patients.';
    case 'connected':
      return 'Connected.';
    case 'coordinator-key':
      return `The coordinator has another key, ${event.kid}, signed by the one before; it is kept.`;
    case 'reconnecting':
      return event.code === 'LINK_LOST' ? 'The coordinator is away; trying again.' : `Not connected: ${event.detail}`;
    case 'declined':
      return `Declined round ${event.round + 1}: ${event.detail}`;
    case 'refused':
      return `The coordinator refused: ${event.detail}`;
    case 'gate-answered':
      return `The release gate: this site ${saidWords(event.words)}.`;
    case 'round-joined':
    case 'step':
    case 'share':
    case 'update':
    case 'epsilon':
    case 'answered':
    case 'finished':
      return null;
    default:
      return event satisfies never;
  }
}
