/** Every way we refuse. `say` is all that crosses the wire; codes are never reused. */
export const ERRORS = {
  MESSAGE_INVALID: { retry: 'never', say: 'The message does not match the protocol.' },
  PARAMETER_INVALID: { retry: 'never', say: 'A parameter is out of range.' },
  // Identity and the wire
  NOT_AUTHENTICATED: { retry: 'never', say: 'The handshake was not completed.' },
  KEY_UNKNOWN: { retry: 'never', say: 'This key is not in the roster.' },
  KEYS_CHANGED: { retry: 'next-round', say: 'Keys were changed or revoked while the round was open.' },
  SIGNATURE_INVALID: { retry: 'never', say: 'A signature does not verify.' },
  INVITE_INVALID: { retry: 'never', say: 'The invite is unknown, used, or expired.' },
  HANDSHAKE_REPLAYED: { retry: 'never', say: 'This challenge was answered already or has expired.' },
  TENSOR_TOO_LARGE: { retry: 'never', say: 'The tensor is larger than this round allows.' },
  TENSOR_CORRUPT: { retry: 'never', say: 'The bytes do not match their hash.' },
  TENSOR_UNKNOWN: { retry: 'never', say: 'No tensor with this hash is here.' },
  COORDINATOR_UNKNOWN: { retry: 'never', say: 'The coordinator is not the one whose key and certificate were pinned.' },
  ROSTER_STALE: { retry: 'never', say: 'The roster is older than, or contradicts, one seen before.' },
  KEYS_EXPOSED: { retry: 'never', say: 'A key file can be read by other users of the machine.' },
  RATE_LIMITED: { retry: 'next-round', say: 'Too many requests at once.' },
  INTERNAL: { retry: 'next-round', say: 'The coordinator failed; its own log holds the reason.' },
  LINK_LOST: { retry: 'next-round', say: 'The connection to the coordinator is lost.' },
  // Rounds
  POLICY_MISMATCH: { retry: 'never', say: 'Site and coordinator hold different policies.' },
  ROUND_NOT_OPEN: { retry: 'next-round', say: 'This round is not open.' },
  ROUND_VOID: { retry: 'next-round', say: 'The round did not reach its quorum and is void.' },
  PLAN_CHANGED: { retry: 'never', say: 'A different plan was already shown for this round.' },
  UPDATE_CHANGED: { retry: 'never', say: 'A different update was already sent for this round.' },
  UPDATE_NOT_FINITE: { retry: 'never', say: 'The update holds a value that is not a finite number.' },
  UPDATE_TOO_LARGE: { retry: 'never', say: 'The update is larger than its clip allows.' },
  UPDATE_SHAPE: { retry: 'never', say: 'The update does not have the shape of the plan.' },
  SUM_REFUSED: { retry: 'never', say: 'This site does not open the sum it was shown.' },
  SUM_DISAGREES: { retry: 'next-round', say: 'The sites that opened a sum do not agree on it.' },
  // Secure aggregation
  SHARE_INVALID: { retry: 'next-round', say: 'A sealed share does not open, or shares do not fit together.' },
  SURVIVORS_DIFFER: { retry: 'never', say: 'Two lists of the sites in one sum were shown.' },
  SURVIVORS_TOO_FEW: { retry: 'never', say: 'A sum of so few sites would say too much about each.' },
  PHASE_OUT_OF_TURN: { retry: 'never', say: 'This phase does not follow the last one this site has answered.' },
  SUM_TOO_LARGE: { retry: 'next-round', say: 'A sum is larger than its updates can add up to.' },
  // Privacy
  BUDGET_EXHAUSTED: { retry: 'never', say: 'The privacy budget is spent.' },
  BOUNDS_EXCEEDED: { retry: 'never', say: 'The plan is outside the bounds this site allows.' },
  LAYER_WITHOUT_NORM_RULE: { retry: 'never', say: 'A discriminator layer has no per-patient norm rule.' },
  POLICY_INVALID: { retry: 'never', say: 'The policy does not pass its own checks.' },
  GATE_ASKED: { retry: 'never', say: 'This site has answered the release gate of this run about another candidate.' },
  GENERATOR_NOT_FINITE: { retry: 'never', say: 'The generator holds or draws values that are not finite numbers.' },
  RELEASE_REFUSED: { retry: 'never', say: 'The release gate does not let these images leave.' },
  SCHEME_UNKNOWN: { retry: 'never', say: 'The aggregation scheme is not available.' },
  // Engine
  ENGINE_MISSING: { retry: 'never', say: 'The engine is not installed on this machine.' },
  KERNEL_MISSING: { retry: 'never', say: 'The engine has no such kernel.' },
  ARCHITECTURE_UNKNOWN: { retry: 'never', say: 'No such architecture is registered.' },
  // Data at rest
  IMAGE_UNREADABLE: { retry: 'never', say: 'An image file cannot be read.' },
  DATASET_INVALID: { retry: 'never', say: 'The dataset cannot be used.' },
  LEDGER_REWOUND: { retry: 'never', say: 'The site’s ledger lacks what the site once stated of it.' },
  STUDY_DIFFERS: { retry: 'never', say: 'The reader study was begun with other pictures or settings.' },
  ANSWER_CHANGED: { retry: 'never', say: 'Another answer to this picture is kept already.' },
  STORE_CORRUPT: { retry: 'never', say: 'Stored state does not match its own hashes.' },
  LOG_INVALID: { retry: 'never', say: 'The round log does not verify.' },
  LOG_FORKED: { retry: 'never', say: 'The round log contradicts one that was seen before.' },
  LOG_REWOUND: { retry: 'never', say: 'The round log is shorter than it was.' },
  WITNESSES_MISSING: { retry: 'never', say: 'A plan lacks the cosignatures that the policy asks for.' },
} as const satisfies Record<string, { retry: 'never' | 'next-round'; say: string }>;

export type ErrorCode = keyof typeof ERRORS;

/** What crosses the wire when we refuse. */
export interface PublicError {
  readonly code: ErrorCode;
  readonly say: string;
  readonly retry: 'never' | 'next-round';
}

/** The one error class: a code for machines, a detail for our own log. */
export class FedError extends Error {
  override readonly name = 'FedError';
  readonly code: ErrorCode;

  /** @param detail - for our own log: sizes, ids, limits. Never a private value. */
  constructor(code: ErrorCode, detail: string, options?: ErrorOptions) {
    super(`${code}: ${detail}`, options);
    this.code = code;
  }

  toPublic(): PublicError {
    return { code: this.code, ...ERRORS[this.code] };
  }
}
