/** `veilgan site`: the agent beside the archive. What leaves it is described in `site-agent/round.ts`. */
import { type Command, Option } from 'commander';
import { collectSeldom } from '../../shared/collector.ts';
import { compileLoopsApart } from '../../shared/compiler.ts';
import { FedError } from '../../shared/errors.ts';
import { EXIT } from '../exit-codes.ts';
import { withFolderReading } from '../folder-options.ts';
import { number, readPolicy, type Speed, withSpeed } from '../options.ts';
import { note, print } from '../output.ts';
import type { DataOptions } from '../site-data.ts';

interface Folder {
  dir: string;
}

export function addSite(program: Command): void {
  const group = program.command('site').description('take part with this site’s images, which stay here');

  group
    .command('join')
    .description('make this site’s keys, join with the invite, take the policy, write bounds to edit')
    .requiredOption('--dir <folder>', 'folder of this site; made if missing')
    .requiredOption('--invite <string>', 'the string the coordinator’s operator handed over; - reads standard input')
    .option('--policy <file>', 'own copy of the policy: joins only if the coordinator’s is the same')
    .option('--ledger <file>', 'ledger of this data set, shared with other runs; made if missing')
    .action(join);

  withSpeed(
    withData(group.command('run'))
      .description('take part until the run is over; goes on where it was, also after a kill')
      .option('--bounds <file>', 'this site’s bounds, when not bounds.json in its folder')
      .option('--json', 'events as JSON, one a line, on standard output', false),
  ).action(async ({ dir, ...o }: Folder & DataOptions & Speed & { json: boolean }) => {
    const [{ openSite }, { runSite }] = await Promise.all([import('../site-folder.ts'), import('../site-run.ts')]);
    collectSeldom();
    compileLoopsApart();
    process.exitCode = await runSite(openSite(dir), o);
  });

  group
    .command('withdraw')
    .description('leave a patient out from now on, also of a run that is under way; nothing is sent')
    .argument('<patient>', 'as the data name the patient: CSV column, folder, or PatientID')
    .requiredOption('--dir <folder>', 'folder of this site')
    .addOption(new Option('--reason <why>', 'why').choices(['consent', 'other-site']).default('consent'))
    .option('--issuer <text>', 'IssuerOfPatientID of a DICOM header, where it has one', '')
    .option('--undo', 'the patient comes back', false)
    .option('--json', 'as one JSON object', false)
    .action(withdraw);

  group
    .command('withdrawals')
    .description('who is left out here, and what opens the commitments to that in an exported log; names patients')
    .requiredOption('--dir <folder>', 'folder of this site')
    .option('--log <folder>', 'an exported audit folder of this site’s run')
    .option('--json', 'as one JSON object, with what an auditor needs to open each commitment', false)
    .action(showWithdrawals);

  group
    .command('rotate')
    .description('new keys for this site with a new invite, for keys that were lost, stolen or are old; all else stays')
    .requiredOption('--dir <folder>', 'folder of this site')
    .requiredOption('--invite <string>', 'the string the coordinator’s operator handed over; - reads standard input')
    .action(async ({ dir, invite }: Folder & { invite: string }) => {
      const [{ rotateSite }, { readFileSync }] = await Promise.all([import('../site-keys.ts'), import('node:fs')]);
      const { siteId, kid } = await rotateSite(dir, invite === '-' ? readFileSync(0, 'utf8') : invite);
      print(`${siteId} has new keys, thumbprint ${kid}`);
      note('The old keys are not accepted any more. Start the agent again; it goes on with the same ledger.');
    });

  group
    .command('repin')
    .description('accept another key of the coordinator, compared by hand: its old one is lost and signs nothing')
    .requiredOption('--dir <folder>', 'folder of this site')
    .requiredOption('--key <x>', 'the key, as veilgan coordinator show-key prints it; not from the line it came by')
    .option('--tls <sha256>', 'and another certificate, where that changed too')
    .action(async ({ dir, key, tls }: Folder & { key: string; tls?: string }) => {
      const { repinSite } = await import('../site-keys.ts');
      print(`pinned, thumbprint ${repinSite(dir, key, tls).kid}`);
      note('Whoever holds that key is the coordinator for this site from now on.');
    });

  group
    .command('ledger')
    .description('what was spent on this site’s patients, and what is left')
    .option('--dir <folder>', 'folder of this site')
    .option('--ledger <file>', 'a ledger that several runs share, without a folder')
    .option('--lifetime <epsilon>', 'write down what all runs on this data set may spend together', number(0))
    .option('--delta <delta>', 'for --lifetime; by default as before, or as the bounds have it', number(0))
    .option('--json', 'as one JSON object', false)
    .action(showLedger);

  withReading(group.command('check'))
    .argument('[folder]', 'the images, when not given by --data')
    .description(
      'what this site’s images are, what would be refused, whether they suffice; here alone, nothing is sent',
    )
    .option('--data <path>', 'an .npz, idx files, or a folder of images')
    .option('--dir <folder>', 'folder of this site, once it has joined: its policy is what the images are held against')
    .option('--policy <file>', 'a policy to hold the images against before joining')
    .option('--json', 'as one JSON object', false)
    .action(check);
}

interface CheckOptions extends Omit<DataOptions, 'data'> {
  data?: string;
  dir?: string;
  policy?: string;
  json: boolean;
}

async function check(folder: string | undefined, { dir, json, policy, ...o }: CheckOptions): Promise<void> {
  const [{ openSite }, { checkData, dataText }] = await Promise.all([
    import('../site-folder.ts'),
    import('../site-check.ts'),
  ]);
  const data = folder ?? o.data;
  if (data === undefined) throw new FedError('PARAMETER_INVALID', 'no images are named: site check FOLDER');
  const joined = dir === undefined ? undefined : openSite(dir);
  const against = joined
    ? { policy: joined.policy, siteId: joined.enrolment.siteId, dir: joined.dir, ledger: joined.ledger }
    : policy === undefined
      ? {}
      : { policy: readPolicy(policy) };
  const report = await checkData({ ...o, data }, against);
  print(json ? JSON.stringify(report) : dataText(report));
}

const withData = (command: Command): Command =>
  withReading(
    command
      .requiredOption('--dir <folder>', 'folder of this site')
      .requiredOption('--data <path>', 'an .npz, idx files, or a folder of images'),
  );

/** How images are read, whatever is then done with them. */
const withReading = (command: Command): Command =>
  withFolderReading(command)
    .addOption(new Option('--split <name>', 'which part of a set that has parts').choices(['train', 'val', 'test']))
    .addOption(
      new Option('--on-bad-file <what>', 'what an unreadable image does').choices(['refuse', 'skip']).default('refuse'),
    )
    .option('--no-cache', 'keep nothing that was decoded; by default it is kept in the site’s folder, encrypted');

async function withdraw(
  patient: string,
  o: Folder & { reason: 'consent' | 'other-site'; issuer: string; undo: boolean; json: boolean },
): Promise<void> {
  const [{ openSite }, { withdrawPatient, withdrawalText }] = await Promise.all([
    import('../site-folder.ts'),
    import('../site-withdraw.ts'),
  ]);
  const report = withdrawPatient(openSite(o.dir), { patient, ...o }, Date.now());
  print(o.json ? JSON.stringify(report) : withdrawalText(report));
}

async function showWithdrawals({ dir, log, json }: Folder & { log?: string; json: boolean }): Promise<void> {
  const [{ openSite }, { withdrawalsReport, withdrawalsText }] = await Promise.all([
    import('../site-folder.ts'),
    import('../site-withdrawals.ts'),
  ]);
  const report = await withdrawalsReport(openSite(dir), log);
  print(json ? JSON.stringify(report) : withdrawalsText(report));
  if (report.wrong.length > 0) process.exitCode = EXIT.invalid;
}

interface LedgerOptions {
  dir?: string;
  ledger?: string;
  lifetime?: number;
  delta?: number;
  json: boolean;
}

async function showLedger({ dir, ledger, lifetime, delta, json }: LedgerOptions): Promise<void> {
  const [{ openSite }, { ledgerReport, ledgerText, raiseLifetime }] = await Promise.all([
    import('../site-folder.ts'),
    import('../site-ledger.ts'),
  ]);
  if ((dir === undefined) === (ledger === undefined))
    throw new FedError('PARAMETER_INVALID', 'name a folder with --dir, or a ledger with --ledger');
  const of = dir === undefined ? { file: ledger! } : { folder: openSite(dir) };
  if (lifetime === undefined && delta !== undefined)
    throw new FedError('PARAMETER_INVALID', '--delta belongs to --lifetime');
  if (lifetime !== undefined) raiseLifetime(of, lifetime, delta, Date.now());
  const report = ledgerReport(of);
  print(json ? JSON.stringify(report) : ledgerText(report));
}

async function join(o: Folder & { invite: string; policy?: string; ledger?: string }): Promise<void> {
  const [{ joinSite, boundsPath }, { nameOfPolicy, policySentence }] = await Promise.all([
    import('../site-folder.ts'),
    import('../policy-report.ts'),
  ]);
  const { readFileSync } = await import('node:fs');
  const invite = o.invite === '-' ? readFileSync(0, 'utf8') : o.invite;
  const pinned = o.policy === undefined ? undefined : readPolicy(o.policy);
  const folder = await joinSite(o.dir, invite, {
    ...(pinned && { pinned }),
    ...(o.ledger !== undefined && { ledger: o.ledger }),
  });
  const { enrolment, policy, dir } = folder;
  print(`joined as ${enrolment.siteId} at ${enrolment.url}`);
  print(`policy ${nameOfPolicy(policy)}${pinned === undefined ? '' : ', the one that was pinned'}`);
  print(policySentence(policy, enrolment.siteId));
  const { ledgerReport } = await import('../site-ledger.ts');
  for (const sentence of ledgerReport({ folder }).shortages) note(`Short for a whole run: ${sentence}.`);
  note(`Read ${boundsPath(dir)} and make it stricter where you will: this site declines whatever is outside.`);
}
