/** `site withdrawals`: who is left out at this site, and what opens the commitments to that in the consortium's log. */
import { opensTo, leftOutSalt, type LeftOutOpening } from '../shared/audit/left-out.ts';
import { bodyOf } from '../shared/audit/jws-body.ts';
import { EpsilonStatement } from '../shared/protocol/round-messages.ts';
import { leftOutKey } from '../site-agent/left-out.ts';
import { Outbox } from '../site-agent/shell/outbox.ts';
import { type WithdrawalEntry, Withdrawals, withdrawalsPath } from '../site-agent/shell/withdrawals.ts';
import { AuditFolder } from './audit/read-folder.ts';
import { outboxPath, type SiteFolder } from './site-folder.ts';

/** One of this site's statements in the log, opened: where the list stood when it was signed. */
export interface OpenedStatement {
  /** Index in the log. */
  readonly entry: number;
  readonly timeMs: number;
  /** Null where it opens to nothing that this list ever was. */
  readonly opening: LeftOutOpening | null;
}

/** Private: it names patients. */
export interface WithdrawalsReport {
  readonly siteId: string;
  readonly list: readonly Pick<
    WithdrawalEntry,
    'index' | 'timeMs' | 'what' | 'patient' | 'issuer' | 'reason' | 'hash'
  >[];
  /** Null where no exported log was named. */
  readonly statements: readonly OpenedStatement[] | null;
  /** One sentence each: a list that was changed behind the log's back, or an outbox that is not the run's. */
  readonly wrong: readonly string[];
}

/**
 * @param exported - an exported audit folder of this site's run; only what `audit verify` holds true is worth opening.
 * @throws {FedError} STORE_CORRUPT when the list's chain does not hold; PARAMETER_INVALID when `exported` is no audit folder.
 */
export async function withdrawalsReport(folder: SiteFolder, exported?: string): Promise<WithdrawalsReport> {
  const { siteId } = folder.enrolment;
  const list = new Withdrawals(withdrawalsPath(folder.ledger), null);
  const entries = list.entries.map(({ previous: _, ...rest }) => rest);
  if (exported === undefined) return { siteId, list: entries, statements: null, wrong: [] };
  const outbox = new Outbox(outboxPath(folder.dir));
  try {
    const statements = await opened(new AuditFolder(exported), siteId, list, leftOutKey(outbox));
    return { siteId, list: entries, statements, wrong: wrongIn(statements) };
  } finally {
    outbox.close();
  }
}

async function opened(
  audit: AuditFolder,
  siteId: string,
  list: Withdrawals,
  key: Uint8Array,
): Promise<OpenedStatement[]> {
  const found: OpenedStatement[] = [];
  for await (const { index, timeMs, body } of audit.entriesOf('epsilon-statement')) {
    const statement = body.siteId === siteId ? EpsilonStatement.safeParse(bodyOf(body.statement)).data : undefined;
    if (statement !== undefined) found.push({ entry: index, timeMs, opening: openingOf(statement, list, key) });
  }
  return found;
}

/** The latest state of the list that fits: it mostly is the last one. */
function openingOf(statement: EpsilonStatement, list: Withdrawals, key: Uint8Array): LeftOutOpening | null {
  const salt = leftOutSalt(key, statement.leftOut.nonce);
  for (let size = list.entries.length; size >= 0; size--) {
    const opening = { salt, list: list.headAt(size) };
    if (opensTo(statement.leftOut, statement, opening)) return opening;
  }
  return null;
}

function wrongIn(statements: readonly OpenedStatement[]): string[] {
  const wrong: string[] = [];
  let most = 0;
  for (const { entry, opening } of statements) {
    if (opening === null) wrong.push(`entry ${entry} was signed over another list, or with another outbox`);
    else if (opening.list.size < most) wrong.push(`entry ${entry} was signed over ${opening.list.size} entries, an earlier one over ${most}`); // prettier-ignore
    most = Math.max(most, opening?.list.size ?? 0);
  }
  return wrong;
}

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 16).replace('T', ' ');

export function withdrawalsText(r: WithdrawalsReport): string {
  const listed = r.list.map(
    (e) => `  ${e.index}  ${day(e.timeMs)}  ${e.what}  ${e.reason}  ${JSON.stringify(e.patient)}${e.issuer === '' ? '' : ` of ${JSON.stringify(e.issuer)}`}`, // prettier-ignore
  );
  return [
    `Private: this names patients. For ${r.siteId}, and for whoever audits it here.`,
    '',
    listed.length === 0 ? 'Nobody was ever left out.' : 'Who was left out, and who came back:',
    ...listed,
    ...(r.statements === null ? [] : ['', ...openedText(r.statements, r.wrong)]),
  ].join('\n');
}

function openedText(statements: readonly OpenedStatement[], wrong: readonly string[]): string[] {
  if (statements.length === 0) return ['The log has no statement of this site.'];
  const lines = statements.map(({ entry, timeMs, opening }) => {
    const stood = opening === null ? 'does not open' : `the list had ${opening.list.size} entries`;
    return `  log entry ${entry}, ${day(timeMs)}: ${stood}`;
  });
  const verdict =
    wrong.length === 0
      ? 'All open to this list. That the log is the consortium’s is for veilgan audit verify to say.'
      : `WRONG: ${wrong.join('; ')}.`;
  return ['What this site signed into the log:', ...lines, '', verdict];
}
