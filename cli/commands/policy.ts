/** `veilgan policy`: look at a policy before anybody agrees to it. */
import type { Command } from 'commander';
import { EXIT } from '../exit-codes.ts';
import { readPolicy } from '../options.ts';
import { print } from '../output.ts';

export function addPolicy(program: Command): void {
  const group = program.command('policy').description('check a policy, or hold it against a site’s bounds');

  group
    .command('check')
    .description('is it well-formed, and within its own epsilon')
    .argument('<file>', 'the policy')
    .option('--json', 'as one JSON object', false)
    .action(async (file: string, { json }: { json: boolean }) => {
      const { policyReport, policyText } = await import('../policy-report.ts');
      const policy = readPolicy(file);
      print(json ? JSON.stringify(policyReport(policy)) : policyText(policy));
    });

  group
    .command('diff')
    .description('what a site with these bounds would decline; exits 3 when it is anything')
    .argument('<file>', 'the policy')
    .argument('<bounds>', 'a site’s bounds')
    .option('--site <id>', 'with the numbers the policy has for this site')
    .option('--json', 'as one JSON object', false)
    .action(async (file: string, bounds: string, { site, json }: { site?: string; json: boolean }) => {
      const [{ breachesOf, breachText }, { readBounds }] = await Promise.all([
        import('../policy-report.ts'),
        import('../site-folder.ts'),
      ]);
      const breaches = breachesOf(readPolicy(file), readBounds(bounds), site);
      print(json ? JSON.stringify({ agrees: breaches.length === 0, breaches }) : breachText(breaches));
      if (breaches.length > 0) process.exitCode = EXIT.refused;
    });
}
