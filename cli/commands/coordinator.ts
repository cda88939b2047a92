/** `veilgan coordinator`: one folder, one run. What computes is loaded when a command needs it. */
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { collectSeldom } from '../../shared/collector.ts';
import { compileLoopsApart } from '../../shared/compiler.ts';
import { FedError } from '../../shared/errors.ts';
import type { RunOptions } from '../coordinator-run.ts';
import { readText, type Speed, wholeNumber, withSpeed } from '../options.ts';
import { note, print } from '../output.ts';

interface InitArguments {
  dir: string;
  policy: string;
  host: string;
  port: number;
  url?: string;
  tlsCert?: string;
  tlsKey?: string;
  tlsTrusted?: true;
}

export function addCoordinator(program: Command): void {
  const group = program
    .command('coordinator')
    .description('open rounds and publish the generator; never sees an image');

  group
    .command('init')
    .description('begin a run in a folder of its own: run id, keys, certificate, a copy of the policy')
    .requiredOption('--dir <folder>', 'folder of the run; must be new or empty')
    .requiredOption('--policy <file>', 'the consortium’s policy')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <n>', 'port to listen on; 0 takes a free one', wholeNumber(0, 65_535), 8443)
    .option('--url <https://...>', 'where sites reach it, when that is another address')
    .option('--tls-cert <file>', 'own certificate (chain) in PEM; without one a self-signed certificate is made')
    .option('--tls-key <file>', 'its key')
    .option('--tls-trusted', 'sites trust the certificate through their authorities; invites do not pin it')
    .action(init);

  group
    .command('invite')
    .description('make a one-time invite; it alone goes to standard output')
    .requiredOption('--dir <folder>', 'folder of the run')
    .requiredOption('--site <id>', 'the site’s name: lower-case letters, digits, dashes')
    .option('--hours <n>', 'how long it may be used', wholeNumber(1, 8760), 168)
    .action(async ({ dir, site, hours }: { dir: string; site: string; hours: number }) => {
      const { inviteSite, openCoordinator } = await import('../coordinator-folder.ts');
      print(await inviteSite(openCoordinator(dir), site, hours * 3600 * 1000));
      note(
        `A secret until it is used, once, within ${hours} hours: veilgan site join --dir <folder> --invite <string>`,
      );
    });

  group
    .command('revoke')
    .description('a site leaves for good, or its key was lost or stolen; cut off within seconds, the run goes on')
    .requiredOption('--dir <folder>', 'folder of the run')
    .requiredOption('--site <id>', 'the site’s name')
    .action(async ({ dir, site }: { dir: string; site: string }) => {
      const [{ openCoordinator }, { revokeSite }] = await Promise.all([
        import('../coordinator-folder.ts'),
        import('../coordinator-keys.ts'),
      ]);
      const { left, needed } = await revokeSite(openCoordinator(dir), site);
      print(`${site} is revoked; the log says so with the next round that opens, or while the release gate waits`);
      print(`${left} sites are left, a round needs ${needed}`);
      note(
        `To give it new keys: veilgan coordinator invite --dir ${dir} --site ${site}, then veilgan site rotate there.`,
      );
    });

  group
    .command('show-key')
    .description('the coordinator’s public key, for sites’ operators to compare')
    .requiredOption('--dir <folder>', 'folder of the run')
    .option('--json', 'as one JSON object', false)
    .action(async ({ dir, json }: { dir: string; json: boolean }) => {
      const [{ openCoordinator }, { keyCard }] = await Promise.all([
        import('../coordinator-folder.ts'),
        import('../coordinator-keys.ts'),
      ]);
      const card = await keyCard(openCoordinator(dir));
      print(
        json
          ? JSON.stringify(card)
          : `key ${card.key}\nthumbprint ${card.kid}\ncertificate sha256 ${card.tlsFingerprint}\nat ${card.url}`,
      );
    });

  group
    .command('rotate-key')
    .description('a new signing key for the coordinator, which must not be running; the old key signs the new one')
    .requiredOption('--dir <folder>', 'folder of the run')
    .option('--lost', 'the old key is lost: every site’s operator has to pin the new one by hand', false)
    .action(async ({ dir, lost }: { dir: string; lost: boolean }) => {
      const [{ openCoordinator }, { rotateCoordinatorKey }] = await Promise.all([
        import('../coordinator-folder.ts'),
        import('../coordinator-keys.ts'),
      ]);
      const { key, kid, open } = await rotateCoordinatorKey(openCoordinator(dir), { lost });
      print(`key ${key}`);
      print(`thumbprint ${kid}`);
      if (open) note('The log says so. The open attempt is void; updates that sites have made fit the next one.');
      note('Invites that are still open are void: make new ones.');
      note(
        lost
          ? 'Sites will not connect until their operators call: veilgan site repin --dir <folder> --key <the key above>'
          : 'Sites follow by themselves when they next connect. If the old key was stolen, this does not help: see --lost.',
      );
    });

  withSpeed(
    group
      .command('run')
      .description('serve the sites and drive the rounds; goes on where the run stands, also after a kill')
      .requiredOption('--dir <folder>', 'folder of the run')
      .option('--host <address>', 'another address to listen on than at init')
      .option('--port <n>', 'another port to listen on than at init', wholeNumber(0, 65_535))
      .option('--keep-sums', 'keep every round’s sum, so that an auditor can take the generator’s steps again', false)
      .option('--serve-log', 'serve the log over HTTPS to whoever asks, for monitors', false)
      .option('--linger <seconds>', 'how long to wait for absent sites at the end', wholeNumber(0, 86_400), 60)
      .option('--json', 'events as JSON, one a line, on standard output', false),
  ).action(async ({ dir, ...o }: { dir: string } & RunOptions) => {
    const [{ openCoordinator }, { runCoordinator }] = await Promise.all([
      import('../coordinator-folder.ts'),
      import('../coordinator-run.ts'),
    ]);
    collectSeldom();
    compileLoopsApart();
    process.exitCode = await runCoordinator(openCoordinator(dir), o);
  });

  group
    .command('status')
    .description('where the run stands, from what is durable; may be asked while it runs')
    .requiredOption('--dir <folder>', 'folder of the run')
    .option('--json', 'as one JSON object', false)
    .action(async ({ dir, json }: { dir: string; json: boolean }) => {
      const [{ openCoordinator }, status] = await Promise.all([
        import('../coordinator-folder.ts'),
        import('../coordinator-status.ts'),
      ]);
      const now = await status.coordinatorStatus(openCoordinator(dir));
      print(json ? JSON.stringify(now) : status.statusText(now));
    });

  group
    .command('gate')
    .description('the release gate’s verdict: may the images leave? Exit code 3 when they may not')
    .requiredOption('--dir <folder>', 'folder of the run')
    .option('--json', 'as one JSON object', false)
    .action(async ({ dir, json }: { dir: string; json: boolean }) => {
      const [{ openCoordinator }, { judgedRelease }, { verdictText }, { EXIT }] = await Promise.all([
        import('../coordinator-folder.ts'),
        import('../release/judged.ts'),
        import('../release/verdict-text.ts'),
        import('../exit-codes.ts'),
      ]);
      const verdict = await judgedRelease(openCoordinator(dir));
      print(json ? JSON.stringify(verdict) : verdictText(verdict));
      if (!verdict.passed) process.exitCode = EXIT.refused;
    });

  withSpeed(
    group
      .command('export')
      .description(
        'what the run has made so far, for its own people: a picture, the log, a summary; images leave by veilgan release',
      )
      .requiredOption('--dir <folder>', 'folder of the run')
      .requiredOption('--out <folder>', 'where to')
      .option(
        '--public <file>',
        '.npz or idx of the images that the policy calls public: shown, and tested on; without it nothing is measured',
      )
      .addOption(new Option('--split <name>', 'which part of it').choices(['train', 'val', 'test']))
      .option(
        '--images <n>',
        'how many images to draw and measure; never more than the policy lets leave',
        wholeNumber(1),
      ),
  ).action(exportFiles);
}

interface ExportArguments extends Speed {
  dir: string;
  out: string;
  public?: string;
  split?: 'train' | 'val' | 'test';
  images?: number;
}

async function exportFiles(o: ExportArguments): Promise<void> {
  const [{ openCoordinator }, { exportRun }, { readPublicSet }, { progress }] = await Promise.all([
    import('../coordinator-folder.ts'),
    import('../export-run.ts'),
    import('../public-set.ts'),
    import('../progress.ts'),
  ]);
  const folder = openCoordinator(o.dir);
  const set = o.public === undefined ? null : await readPublicSet(o.public, folder.policy, o.split);
  const bar = progress('exporting');
  try {
    const { public: _, images, ...rest } = o;
    const wanted = images === undefined ? {} : { images };
    const update = (share: number, what: string) => bar.update(share, what);
    await exportRun(folder, {
      ...rest,
      ...wanted,
      files: 'papers',
      test: set?.images ?? null,
      testName: 'public',
      train: null,
      progress: update,
    });
  } finally {
    bar.stop();
  }
  print(`summary.html, synthetic.png and the log are in ${o.out}; what may leave is made by veilgan release`);
}

async function init(o: InitArguments): Promise<void> {
  const [{ initCoordinator }, { nameOfPolicy }] = await Promise.all([
    import('../coordinator-folder.ts'),
    import('../policy-report.ts'),
  ]);
  if ((o.tlsCert === undefined) !== (o.tlsKey === undefined))
    throw new FedError('PARAMETER_INVALID', '--tls-cert and --tls-key come together');
  const tls =
    o.tlsCert === undefined || o.tlsKey === undefined
      ? {}
      : {
          tls: {
            cert: readText(o.tlsCert, 'certificate'),
            key: readText(o.tlsKey, 'key'),
            authorities: o.tlsTrusted === true,
          },
        };
  const { dir, host, port } = o;
  const url = o.url === undefined ? {} : { url: o.url };
  const { file, policy } = await initCoordinator({
    dir,
    policyText: readText(o.policy, 'policy'),
    host,
    port,
    ...url,
    ...tls,
  });
  print(`run ${file.runId}`);
  print(`policy ${nameOfPolicy(policy)}`);
  print(`sites will reach it at ${file.url}`);
  note(`${join(dir, 'keys.json')} and ${join(dir, 'tls.pem')} are private: who reads them is this coordinator.`);
}
