import type { ErrorCode } from '../shared/errors.ts';
import type { GateWords } from '../shared/gate/outcome.ts';
import type { GateFinding } from '../shared/gate/outcome.ts';
import type { EpsilonStatement, FakesReport } from '../shared/protocol/round-messages.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';

/** What a run tells whoever watches. Public values alone: see `shared/audit/entry.ts`. */
export type CoordinatorEvent =
  | { readonly kind: 'run-started'; readonly runId: string; readonly rounds: number; readonly resumedAt: number }
  /** Nothing goes on until what `why` says has come. */
  | { readonly kind: 'waiting'; readonly round: number; readonly why: string }
  | { readonly kind: 'round-opened'; readonly plan: RoundPlan; readonly awaited: readonly string[] }
  | { readonly kind: 'phase-opened'; readonly round: number; readonly attempt: number; readonly phase: number }
  | {
      readonly kind: 'answered';
      readonly round: number;
      readonly siteId: string;
      readonly phase: number;
      readonly fakes: FakesReport | null;
    }
  | {
      readonly kind: 'declined';
      readonly round: number;
      readonly siteId: string;
      readonly code: string;
      readonly detail: string;
    }
  | { readonly kind: 'refused'; readonly siteId: string; readonly code: ErrorCode; readonly detail: string }
  /** A sum is in the pooled discriminator. */
  | {
      readonly kind: 'discriminator-step';
      readonly round: number;
      readonly step: number;
      readonly of: number;
      readonly contributors: readonly string[];
      readonly fakes: FakesReport;
    }
  | { readonly kind: 'fitting'; readonly round: number; readonly share: number }
  | { readonly kind: 'round-void'; readonly round: number; readonly attempt: number; readonly code: ErrorCode }
  | {
      readonly kind: 'round-closed';
      readonly round: number;
      readonly attempt: number;
      readonly contributors: readonly string[];
      readonly missing: readonly string[];
      /** Means over the contributors that reported; null where none did. */
      readonly fakes: FakesReport | null;
      readonly generatorSha256: string;
    }
  | { readonly kind: 'epsilon'; readonly statement: EpsilonStatement }
  /** The rounds are over: these sites are asked whether the candidate may leave. */
  | { readonly kind: 'gate-asked'; readonly asked: readonly string[]; readonly candidateSha256: string }
  | { readonly kind: 'gate-waiting'; readonly why: string }
  | { readonly kind: 'gate-answered'; readonly siteId: string; readonly words: GateWords }
  /** Nothing can be said of the candidate's images; the verdict will refuse them. */
  | { readonly kind: 'gate-unmeasured'; readonly code: ErrorCode; readonly detail: string }
  | { readonly kind: 'gate-judged'; readonly passed: boolean; readonly findings: readonly GateFinding[] }
  | { readonly kind: 'run-finished'; readonly outcome: 'completed' | 'stopped'; readonly rounds: number };
