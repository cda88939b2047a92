/** `veilgan sign-off`: the people whom a policy asks before images leave. */
import type { Command } from 'commander';
import { note, print } from '../output.ts';
import { keysFrom } from './audit-log.ts';

export function addSignOff(program: Command): void {
  const group = program.command('sign-off').description('for the people whom a policy asks before images leave');

  group
    .command('keygen')
    .description('a key of your own; its public part goes into the policy')
    .requiredOption('--key <file>', 'where to; must be new')
    .action(async ({ key: path }: { key: string }) => {
      const { createPersonKey } = await import('../release/sign-off.ts');
      const { key, kid } = createPersonKey(path);
      print(key);
      note(
        `For release.gate.signOff.people of the policy, beside your name. Thumbprint ${kid}. ${path} is yours alone.`,
      );
    });

  group
    .command('sign')
    .description('sign the candidate of a run; veilgan coordinator gate, or veilgan audit report, shows what you sign')
    .requiredOption(
      '--dir <folder>',
      'the coordinator’s folder of the run; or an audit folder of it, on your own machine',
    )
    .option('--keys <file>', 'for an audit folder: the consortium’s public keys, from another source than the folder')
    .requiredOption('--key <file>', 'your key')
    .requiredOption('--name <name>', 'your name, as the policy has it')
    .option('--print', 'print the statement; without it, it goes into the log of the coordinator’s folder', false)
    .action(async (o: { dir: string; keys?: string; key: string; name: string; print: boolean }) => {
      const { addSignOff: add, readPersonKey, signableIn, signCandidate } = await import('../release/sign-off.ts');
      const { coordinator, policy, runId, candidateSha256 } = await signableIn(
        o.dir,
        o.keys === undefined ? null : await keysFrom(o.keys),
      );
      const statement = await signCandidate(policy, readPersonKey(o.key), { runId, candidateSha256, name: o.name });
      if (coordinator !== null && !o.print)
        return print(`${await add(coordinator, statement)} has signed candidate ${candidateSha256}`);
      print(statement);
      note(`You have signed candidate ${candidateSha256}. The coordinator’s operator adds it: veilgan sign-off add`);
    });

  group
    .command('add')
    .description('put a statement that somebody signed elsewhere into the run’s log')
    .requiredOption('--dir <folder>', 'the coordinator’s folder of the run')
    .requiredOption('--statement <text>', 'what veilgan sign-off sign --print gave, or - for standard input')
    .action(async (o: { dir: string; statement: string }) => {
      const [{ openCoordinator }, { addSignOff: add }, { readFileSync }] = await Promise.all([
        import('../coordinator-folder.ts'),
        import('../release/sign-off.ts'),
        import('node:fs'),
      ]);
      const text = o.statement === '-' ? readFileSync(0, 'utf8') : o.statement;
      print(`${await add(openCoordinator(o.dir), text.trim())} has signed`);
    });
}
