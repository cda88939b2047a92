import type { GateWords } from '../shared/gate/outcome.ts';
import type { EpsilonStatement } from '../shared/protocol/round-messages.ts';
import type { FakeStatistics } from './core/computation.ts';

/** What an agent tells whoever watches: the site's own screen and log. Losses on fakes alone. */
export type SiteEvent =
  | { readonly kind: 'link-lost'; readonly detail: string }
  | { readonly kind: 'round-joined'; readonly round: number; readonly attempt: number; readonly steps: number }
  | {
      readonly kind: 'step';
      readonly round: number;
      readonly step: number;
      readonly of: number;
      readonly fakes: FakeStatistics;
    }
  /** A share of a pooled step is made. */
  | { readonly kind: 'share'; readonly round: number; readonly step: number; readonly of: number }
  | { readonly kind: 'update'; readonly round: number; readonly fakes: FakeStatistics | null }
  | { readonly kind: 'epsilon'; readonly statement: EpsilonStatement; readonly atMost: number }
  | { readonly kind: 'answered'; readonly round: number; readonly attempt: number; readonly phase: number }
  | { readonly kind: 'declined'; readonly round: number; readonly code: string; readonly detail: string }
  | { readonly kind: 'refused'; readonly round: number; readonly code: string; readonly detail: string }
  /** This site has judged the images of the release gate, in two words. */
  | { readonly kind: 'gate-answered'; readonly words: GateWords }
  | { readonly kind: 'finished'; readonly runId: string; readonly outcome: 'completed' | 'stopped' };
