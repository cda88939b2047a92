/** `veilgan site`: the agent beside the archive. What leaves it is described in `site-agent/round.ts`. */
import { type Command, Option } from 'commander';
import { readPolicy, type Speed, withSpeed } from '../options.ts';
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
    .action(join);

  withSpeed(
    withData(group.command('run'))
      .description('take part until the run is over; goes on where it was, also after a kill')
      .option('--bounds <file>', 'this site’s bounds, when not bounds.json in its folder')
      .option('--json', 'events as JSON, one a line, on standard output', false),
  ).action(async ({ dir, ...o }: Folder & DataOptions & Speed & { json: boolean }) => {
    const [{ openSite }, { runSite }] = await Promise.all([import('../site-folder.ts'), import('../site-run.ts')]);
    process.exitCode = await runSite(openSite(dir), o);
  });

  group
    .command('ledger')
    .description('what was spent on this site’s patients, and what is left')
    .requiredOption('--dir <folder>', 'folder of this site')
    .option('--json', 'as one JSON object', false)
    .action(async ({ dir, json }: Folder & { json: boolean }) => {
      const [{ openSite }, ledger] = await Promise.all([import('../site-folder.ts'), import('../site-ledger.ts')]);
      const report = ledger.ledgerReport(openSite(dir));
      print(json ? JSON.stringify(report) : ledger.ledgerText(report));
    });

  withData(group.command('check'))
    .description('count this site’s images, patients and bad files; here alone, nothing is sent')
    .option('--json', 'as one JSON object', false)
    .action(async ({ dir, json, ...o }: Folder & DataOptions & { json: boolean }) => {
      const [{ openSite }, data] = await Promise.all([import('../site-folder.ts'), import('../site-data.ts')]);
      const report = await data.checkData(openSite(dir), o);
      print(json ? JSON.stringify(report) : data.dataText(report));
    });
}

const withData = (command: Command): Command =>
  command
    .requiredOption('--dir <folder>', 'folder of this site')
    .requiredOption('--data <path>', 'an .npz, idx files, or a folder of images')
    .option('--labels <csv>', 'file, label and optionally patient and split of every image of a folder')
    .addOption(new Option('--split <name>', 'which part of a set that has parts').choices(['train', 'val', 'test']))
    .addOption(
      new Option('--on-bad-file <what>', 'what an unreadable image does').choices(['refuse', 'skip']).default('refuse'),
    );

async function join(o: Folder & { invite: string; policy?: string }): Promise<void> {
  const [{ joinSite, boundsPath }, { nameOfPolicy, policySentence }] = await Promise.all([
    import('../site-folder.ts'),
    import('../policy-report.ts'),
  ]);
  const { readFileSync } = await import('node:fs');
  const invite = o.invite === '-' ? readFileSync(0, 'utf8') : o.invite;
  const pinned = o.policy === undefined ? undefined : readPolicy(o.policy);
  const { enrolment, policy, dir } = await joinSite(o.dir, invite, pinned);
  print(`joined as ${enrolment.siteId} at ${enrolment.url}`);
  print(`policy ${nameOfPolicy(policy)}${pinned === undefined ? '' : ', the one that was pinned'}`);
  print(policySentence(policy, enrolment.siteId));
  note(`Read ${boundsPath(dir)} and make it stricter where you will: this site declines whatever is outside.`);
}
