import { FedError, type ErrorCode } from '../shared/errors.ts';

/** What a process of ours exits with. These numbers never change meaning. */
export const EXIT = {
  ok: 0,
  /** A bug of ours, or something the system did. */
  unexpected: 1,
  /** The command line or a file that it names is wrong. */
  usage: 2,
  /** A privacy rule refused: budget, bounds, policy. */
  refused: 3,
  /** Something that was checked does not verify: log, signature, stored state. */
  invalid: 4,
  /** The other side could not be reached, or the engine is not there. */
  unavailable: 5,
  /** A signal stopped it before the run was over: nothing is lost, start it again. */
  interrupted: 6,
  /** An audit found nothing wrong, and could not check everything. */
  incomplete: 7,
} as const;

const CODES: Partial<Record<ErrorCode, number>> = {
  PARAMETER_INVALID: EXIT.usage,
  DATASET_INVALID: EXIT.usage,
  IMAGE_UNREADABLE: EXIT.usage,
  INVITE_INVALID: EXIT.usage,
  STUDY_DIFFERS: EXIT.usage,
  ARCHITECTURE_UNKNOWN: EXIT.usage,
  POLICY_INVALID: EXIT.refused,
  SCHEME_UNKNOWN: EXIT.refused,
  POLICY_MISMATCH: EXIT.refused,
  BOUNDS_EXCEEDED: EXIT.refused,
  BUDGET_EXHAUSTED: EXIT.refused,
  GATE_ASKED: EXIT.refused,
  GENERATOR_NOT_FINITE: EXIT.refused,
  RELEASE_REFUSED: EXIT.refused,
  LAYER_WITHOUT_NORM_RULE: EXIT.refused,
  LOG_INVALID: EXIT.invalid,
  LOG_FORKED: EXIT.invalid,
  LOG_REWOUND: EXIT.invalid,
  WITNESSES_MISSING: EXIT.invalid,
  SIGNATURE_INVALID: EXIT.invalid,
  SUM_REFUSED: EXIT.invalid,
  SUM_DISAGREES: EXIT.invalid,
  STORE_CORRUPT: EXIT.invalid,
  LEDGER_REWOUND: EXIT.invalid,
  COORDINATOR_UNKNOWN: EXIT.invalid,
  KEYS_EXPOSED: EXIT.invalid,
  ROSTER_STALE: EXIT.invalid,
  SURVIVORS_DIFFER: EXIT.invalid,
  SURVIVORS_TOO_FEW: EXIT.invalid,
  PHASE_OUT_OF_TURN: EXIT.invalid,
  LINK_LOST: EXIT.unavailable,
  ENGINE_MISSING: EXIT.unavailable,
};

/** The exit code an error ends the process with. */
export function exitCodeOf(error: unknown): number {
  return error instanceof FedError ? (CODES[error.code] ?? EXIT.unexpected) : EXIT.unexpected;
}
