/** `veilgan sign-off`: the people whom a policy asks before images leave. */
import type { Command } from 'commander';
import { note, print } from '../output.ts';

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
    .description('sign the candidate of a run; see veilgan coordinator gate for what you sign')
    .requiredOption('--dir <folder>', 'the coordinator’s folder of the run')
    .requiredOption('--key <file>', 'your key')
    .requiredOption('--name <name>', 'your name, as the policy has it')
    .option('--print', 'print the statement; without it, it goes into the run’s log', false)
    .action(async (o: { dir: string; key: string; name: string; print: boolean }) => {
      const [{ openCoordinator }, { judgedRelease }, { addSignOff: add, readPersonKey, signCandidate }, { FedError }] =
        await Promise.all([
          import('../coordinator-folder.ts'),
          import('../release/judged.ts'),
          import('../release/sign-off.ts'),
          import('../../shared/errors.ts'),
        ]);
      const folder = openCoordinator(o.dir);
      const { candidate } = await judgedRelease(folder);
      if (candidate === null) throw new FedError('PARAMETER_INVALID', 'the release gate has not judged this run yet');
      const of = { runId: folder.file.runId, candidateSha256: candidate.sha256, name: o.name };
      const statement = await signCandidate(folder.policy, readPersonKey(o.key), of);
      if (o.print) return print(statement);
      print(`${await add(folder, statement)} has signed candidate ${candidate.sha256}`);
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
