/**
 * The site against its own past: what it signed of its ledger, and finds again in the round log or in its outbox, must
 * still be in the ledger. So a copy from before is noticed before a patient is paid for twice over.
 */
import type { LogDraft } from '../shared/audit/entry.ts';
import type { ChainHead } from '../shared/audit/chain.ts';
import { FedError } from '../shared/errors.ts';
import { publicPart } from '../shared/identity/jwk.ts';
import type { SiteKeys } from '../shared/identity/keys.ts';
import { CONSORTIUM, verifyJson } from '../shared/identity/signed.ts';
import { EPSILON_TYP, EpsilonStatement } from '../shared/protocol/round-messages.ts';
import { ledgerRewound } from './core/ledger-rewound.ts';
import type { Ledger } from './shell/ledger.ts';
import type { Outbox } from './shell/outbox.ts';

interface Parts {
  readonly siteId: string;
  readonly keys: SiteKeys;
  readonly ledger: Ledger;
  readonly outbox: Outbox;
}

/** Collects this site's own epsilon statements from entries of the round log as they go by. */
export class OwnStatements {
  readonly #siteId: string;
  readonly #found: string[] = [];
  constructor(siteId: string) {
    this.#siteId = siteId;
  }
  readonly observe = ({ kind, body }: LogDraft): void => {
    if (kind === 'epsilon-statement' && body.siteId === this.#siteId) this.#found.push(body.statement);
  };
  /** What was found since it was last asked. */
  take(): string[] {
    return this.#found.splice(0);
  }
}

/**
 * Holds the ledger to statements from the log, and remembers the furthest. A statement that this site's key did not sign
 * is none of its own (an earlier key, or an invention) and holds it to nothing.
 * @throws {FedError} LEDGER_REWOUND
 */
export async function heedStatements(p: Parts, statements: readonly string[]): Promise<void> {
  const key = publicPart(p.keys.signing);
  for (const jws of statements) {
    const stated = await headIn(jws, key, p.siteId);
    if (stated === null) continue;
    requireHolds(p.ledger, stated);
    p.outbox.putStated(stated);
  }
}

async function headIn(jws: string, key: Parameters<typeof verifyJson>[1], siteId: string): Promise<ChainHead | null> {
  try {
    const o = { typ: EPSILON_TYP, audience: CONSORTIUM, schema: EpsilonStatement };
    const { body } = await verifyJson(jws, key, o);
    return body.siteId === siteId ? body.ledger : null;
  } catch (error) {
    if (error instanceof FedError) return null;
    throw error;
  }
}

/**
 * Holds the ledger to what the outbox remembers: the furthest head that was stated, and the steps that were taken.
 * @throws {FedError} LEDGER_REWOUND
 */
export function requireLedgerWhole({ ledger, outbox }: Pick<Parts, 'ledger' | 'outbox'>, runId: string): void {
  const stated = outbox.stated();
  if (stated !== null) requireHolds(ledger, stated);
  const steps = outbox.discriminator(runId)?.total ?? 0;
  const entries = ledger.entriesOf(runId);
  if (entries < steps)
    throw new FedError('LEDGER_REWOUND', `${steps} steps were taken in this run, and ${entries} are in the ledger`);
}

function requireHolds(ledger: Ledger, stated: ChainHead): void {
  const missing = ledgerRewound(stated, { size: ledger.head().size, hashAt: (index) => ledger.hashAt(index) });
  if (missing !== null) throw new FedError('LEDGER_REWOUND', missing);
}
