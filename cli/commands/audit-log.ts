/** `veilgan audit export`, `verify`, `report`, `prove`, `check-entry`, `monitor`: the log, for whoever trusts nobody. */
import type { Command } from 'commander';
import type { KeysFile } from '../../shared/audit/verify/folder-format.ts';
import { FedError } from '../../shared/errors.ts';
import { readText, wholeNumber } from '../options.ts';
import { note, print, writeWhole } from '../output.ts';

interface VerifyArguments {
  keys?: string;
  checkpoint?: string;
  json: boolean;
}

const KEYS = 'the consortium’s public keys, handed over by another way; the format of keys.json in the folder';

/** Hangs the commands under `audit`. */
export function auditLogCommands(audit: Command): void {
  audit
    .command('export')
    .description('everything an auditor needs of a run, in one folder')
    .argument('<run>', 'the coordinator’s folder of the run; the coordinator may be running')
    .requiredOption('--to <folder>', 'where to; must be new or empty')
    .action(exportRunAudit);
  audit
    .command('verify')
    .description(
      'check an exported folder, offline: exit code 0 verified, 4 something is wrong, 7 not all could be checked',
    )
    .argument('<folder>', 'the exported folder')
    .option('--keys <file>', KEYS)
    .option('--checkpoint <file>', 'a checkpoint that somebody kept: the log has to contain it')
    .option('--json', 'the whole report as one JSON object', false)
    .action(async (folder: string, o: VerifyArguments) => {
      const { exitOf, reportText } = await import('../audit/text.ts');
      const report = await verified(folder, o);
      print(o.json ? JSON.stringify(report) : reportText(report));
      process.exitCode = exitOf[report.verdict];
    });
  audit
    .command('report')
    .description('the same as one page for a person, self-contained')
    .argument('<folder>', 'the exported folder')
    .requiredOption('--out <file>', 'the page, .html')
    .option('--keys <file>', KEYS)
    .option('--checkpoint <file>', 'a checkpoint that somebody kept')
    .action(async (folder: string, { out, ...o }: { out: string } & Omit<VerifyArguments, 'json'>) => {
      const [{ exitOf }, { reportHtml }] = await Promise.all([
        import('../audit/text.ts'),
        import('../audit/report-html.ts'),
      ]);
      const report = await verified(folder, { ...o, json: false });
      writeWhole(out, reportHtml(report));
      print(`${report.verdict}: ${out}`);
      process.exitCode = exitOf[report.verdict];
    });
  audit
    .command('prove')
    .description('that one entry is in the log, as a file that is checked without the log')
    .argument('<folder>', 'the exported folder')
    .requiredOption('--entry <n>', 'its index', wholeNumber(0))
    .requiredOption('--out <file>', 'the proof, .tlog-proof')
    .action(async (folder: string, { entry, out }: { entry: number; out: string }) => {
      const { proveEntry } = await import('../audit/prove.ts');
      writeWhole(out, await proveEntry(folder, entry));
      print(`entry ${entry}: ${out}`);
    });
  audit
    .command('check-entry')
    .description('check such a proof with the consortium’s keys alone, and print the entry')
    .argument('<proof>', 'the file that prove wrote')
    .requiredOption('--keys <file>', KEYS)
    .option('--quorum <n>', 'cosignatures its checkpoint has to carry', wholeNumber(0), 0)
    .action(async (proof: string, { keys, quorum }: { keys: string; quorum: number }) => {
      const { checkEntry } = await import('../audit/prove.ts');
      const { entry, size, root, cosigners } = checkEntry(readText(proof, 'proof'), await keysFrom(keys), quorum);
      print(JSON.stringify(entry));
      note(`Entry ${entry.index} is under the checkpoint of ${size} entries, root ${root}.`);
      note(`Cosigned by ${cosigners.length}: ${cosigners.join(', ') || 'nobody'}.`);
    });
  audit
    .command('monitor')
    .description('follow a live coordinator’s log as one more witness; keeps a copy that verify reads')
    .argument('<url>', 'https address of a coordinator that runs with --serve-log')
    .requiredOption('--dir <folder>', 'where copy, key and state are kept')
    .requiredOption('--keys <file>', KEYS)
    .requiredOption('--run <id>', 'the run')
    .option('--fingerprint <sha256>', 'of the coordinator’s certificate; without it the machine’s authorities decide')
    .option('--every <seconds>', 'how often to look', wholeNumber(1, 86_400), 60)
    .option('--once', 'look once, then stop', false)
    .action(monitor);
}

/** @throws {FedError} PARAMETER_INVALID, LOG_INVALID */
export async function keysFrom(path: string): Promise<KeysFile> {
  const { readKeys } = await import('../audit/read-folder.ts');
  return readKeys(readText(path, 'keys'), path);
}

async function verified(folder: string, o: VerifyArguments) {
  const { verifyFolder } = await import('../audit/verify-folder.ts');
  const keys = o.keys === undefined ? null : await keysFrom(o.keys);
  const known = o.checkpoint === undefined ? null : readText(o.checkpoint, 'checkpoint');
  return verifyFolder(folder, { keys, known });
}

async function exportRunAudit(run: string, { to }: { to: string }): Promise<void> {
  const [{ openCoordinator }, { exportFrom }] = await Promise.all([
    import('../coordinator-folder.ts'),
    import('../audit/export-run.ts'),
  ]);
  const { entries, checkpoints, sums, coordinatorKid } = await exportFrom(openCoordinator(run), to);
  print(`${entries} entries, ${checkpoints} checkpoints and ${sums} sums are in ${to}`);
  note(`The coordinator’s key is ${coordinatorKid}. Hand the auditor the keys by another way than this folder.`);
}

interface MonitorArguments {
  dir: string;
  keys: string;
  run: string;
  fingerprint?: string;
  every: number;
  once: boolean;
}

async function monitor(url: string, o: MonitorArguments): Promise<void> {
  const [{ Monitor }, { httpsLog }, { onInterrupt }] = await Promise.all([
    import('../audit/monitor.ts'),
    import('../audit/log-client.ts'),
    import('../signals.ts'),
  ]);
  const { coordinator } = await keysFrom(o.keys);
  const nowMs = () => Date.now();
  const watch = new Monitor({ dir: o.dir, runId: o.run, coordinator: coordinator.key, nowMs });
  const client = httpsLog(url, o.fingerprint ?? null);
  const stop = new AbortController();
  const interrupt = onInterrupt(() => stop.abort());
  try {
    for (;;) {
      try {
        const seen = await watch.look(client);
        if (seen !== 0)
          note(seen === null ? 'There is no checkpoint yet.' : `${watch.size} entries, ${seen} of them new.`);
      } catch (error) {
        if (!(error instanceof FedError) || error.code !== 'LINK_LOST' || o.once) throw error;
        note(error.message);
      }
      if (o.once || stop.signal.aborted) break;
      await pause(1000 * o.every, stop.signal);
      if (stop.signal.aborted) break;
    }
  } finally {
    interrupt.release();
  }
  print(`${watch.size} entries checked and kept in ${o.dir}`);
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
