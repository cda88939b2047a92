/** `site withdrawals`: who is left out at this site, and what opens the commitments to that in the consortium's log. */
import { existsSync } from 'node:fs';
import { type Chain, headAt } from '../shared/audit/chain.ts';
import { opensTo, leftOutSalt, type LeftOutOpening } from '../shared/audit/left-out.ts';
import { readStatement } from '../shared/audit/statement.ts';
import { FedError } from '../shared/errors.ts';
import { EpsilonStatement } from '../shared/protocol/round-messages.ts';
import { keptLeftOutKey } from '../site-agent/left-out.ts';
import { Outbox } from '../site-agent/shell/outbox.ts';
import { chainOf, type WithdrawalEntry, Withdrawals, withdrawalsPath } from '../site-agent/shell/withdrawals.ts';
import { AuditFolder } from './audit/read-folder.ts';
import { outboxPath, type SiteFolder } from './site-folder.ts';

/** One of this site's statements in the log, opened: where the list stood when it was signed. */
export interface OpenedStatement {
  /** Index in the log. */
  readonly entry: number;
  /** When the site signed it, by its own clock, to the second. */
  readonly signedMs: number;
  /** Null where it opens to nothing that this list ever was. */
  readonly opening: LeftOutOpening | null;
}

/** Private: it names patients. */
export interface WithdrawalsReport {
  readonly siteId: string;
  /** With the hashes that chain it, so that a head can be worked out again. */
  readonly list: readonly WithdrawalEntry[];
  /** Null where no exported log was named. */
  readonly statements: readonly OpenedStatement[] | null;
  /** One sentence each: a list that was changed behind the log's back, or an outbox that is not the run's. */
  readonly wrong: readonly string[];
}

/**
 * @param exported - an exported audit folder of this site's run; only what `audit verify` holds true is worth opening.
 * @throws {FedError} STORE_CORRUPT when the list's chain does not hold, or the outbox is not there or has no key to what this
 *   site stated; PARAMETER_INVALID when `exported` is no audit folder.
 */
export async function withdrawalsReport(folder: SiteFolder, exported?: string): Promise<WithdrawalsReport> {
  const { siteId } = folder.enrolment;
  // Read once: a patient may be withdrawn meanwhile.
  const { entries } = new Withdrawals(withdrawalsPath(folder.ledger), null);
  if (exported === undefined) return { siteId, list: entries, statements: null, wrong: [] };
  const audit = new AuditFolder(exported);
  const path = outboxPath(folder.dir);
  // Looked for before it is opened, which would make another, with another key.
  if (!existsSync(path))
    throw new FedError('STORE_CORRUPT', `${path} is not here: it has the key that opens statements`);
  const outbox = new Outbox(path);
  try {
    const { statements, wrong } = await opened(audit, siteId, chainOf(entries), outbox);
    return { siteId, list: entries, statements, wrong: [...wrong, ...wrongIn(statements, entries)] };
  } finally {
    outbox.close();
  }
}

async function opened(audit: AuditFolder, siteId: string, list: Chain, outbox: Outbox) {
  const statements: OpenedStatement[] = [];
  let key: Uint8Array | null = null;
  const wrong: string[] = [];
  for await (const { index, body } of audit.entriesOf('epsilon-statement')) {
    if (body.siteId !== siteId) continue;
    const claimed = readStatement(body.statement);
    const statement = EpsilonStatement.safeParse(claimed?.body).data;
    const signedMs = 1000 * Number(claimed?.iat);
    if (statement === undefined || !Number.isSafeInteger(signedMs)) wrong.push(`entry ${index} cannot be read here`);
    else {
      // Asked for when there is something to open: a site that has signed nothing yet has no key.
      key ??= keptLeftOutKey(outbox);
      statements.push({ entry: index, signedMs, opening: openingOf(statement, list, key) });
    }
  }
  if (statements.length === 0) wrong.push(`the log has no statement of ${siteId} that can be read: nothing is shown`);
  return { statements, wrong };
}

/** The latest state of the list that fits: it mostly is the last one. */
function openingOf(statement: EpsilonStatement, list: Chain, key: Uint8Array): LeftOutOpening | null {
  const salt = leftOutSalt(key, statement.leftOut.nonce);
  for (let size = list.size; size >= 0; size--) {
    const head = headAt(list, size);
    if (head === null) continue;
    const opening = { salt, list: head };
    if (opensTo(statement.leftOut, statement, opening)) return opening;
  }
  return null;
}

/** What a list and a statement may be apart by a clock that was set in between, in milliseconds. */
const SLACK_MS = 60_000;

/** A date in the list is the site's own word: statements on both sides of it hold it to what it can have been. */
function wrongIn(statements: readonly OpenedStatement[], list: readonly WithdrawalEntry[]): string[] {
  const wrong: string[] = [];
  let most = 0;
  for (const { entry, signedMs, opening } of statements) {
    if (opening === null) {
      wrong.push(`entry ${entry} was signed over another list, or with another outbox`);
      continue;
    }
    const { size } = opening.list;
    if (size < most) wrong.push(`entry ${entry} was signed over ${size} entries, an earlier one over ${most}`);
    most = Math.max(most, size);
    const backdated = list.find((e) => e.index >= size && e.timeMs < signedMs - SLACK_MS);
    if (backdated)
      wrong.push(`${backdated.index} of the list is dated before entry ${entry}, which was signed without it`);
    const postdated = list.find((e) => e.index < size && e.timeMs > signedMs + SLACK_MS);
    if (postdated) wrong.push(`${postdated.index} of the list is dated after entry ${entry}, which was signed over it`);
  }
  return wrong;
}

/** Beyond what a date can be, the number itself. */
const day = (ms: number): string =>
  Math.abs(ms) > 8.64e15 ? `${ms} ms` : new Date(ms).toISOString().slice(0, 16).replace('T', ' ');

export function withdrawalsText(r: WithdrawalsReport): string {
  const listed = r.list.map(
    (e) => `  ${e.index}  ${day(e.timeMs)}  ${e.what}  ${e.reason}  ${JSON.stringify(e.patient)}${e.issuer === '' ? '' : ` of ${JSON.stringify(e.issuer)}`}`, // prettier-ignore
  );
  return [
    `Private: this names patients. For ${r.siteId}, and for whoever audits it here.`,
    '',
    listed.length === 0 ? 'The list is empty.' : 'Who was left out, and who came back:',
    ...listed,
    ...(r.statements === null ? [] : ['', ...openedText(r.statements, r.wrong)]),
  ].join('\n');
}

function openedText(statements: readonly OpenedStatement[], wrong: readonly string[]): string[] {
  const lines = statements.map(({ entry, signedMs, opening }) => {
    const stood = opening === null ? 'does not open' : `the list had ${opening.list.size} entries`;
    return `  log entry ${entry}, ${day(signedMs)}: ${stood}`;
  });
  const verdict =
    wrong.length === 0
      ? 'All open to this list. That the log is the consortium’s is for veilgan audit verify to say.'
      : `WRONG: ${wrong.join('; ')}.`;
  return ['What this site signed into the log:', ...lines, '', verdict];
}
