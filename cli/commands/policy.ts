/** `veilgan policy`: look at a policy before anybody agrees to it. */
import type { Command } from 'commander';
import { EXIT } from '../exit-codes.ts';
import { readPolicy, readText } from '../options.ts';
import { print } from '../output.ts';

export function addPolicy(program: Command): void {
  const group = program
    .command('policy')
    .description('check a policy, explain it, hold it against another or against a site’s bounds');

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
    .description('where two policies differ; or what a site with these bounds would decline, then it exits 3')
    .argument('<file>', 'the policy')
    .argument('<other>', 'another policy, or a site’s bounds')
    .option('--site <id>', 'with the numbers the policy has for this site')
    .option('--json', 'as one JSON object', false)
    .action(diff);

  group
    .command('explain')
    .description('what it promises, to whom, against whom, and at what cost in noise, in plain language')
    .argument('<file>', 'the policy')
    .option('--site <id>', 'with the numbers the policy has for this site')
    .option('--profile <id>', 'beside the provisions of a law that its settings help to answer: gdpr, hipaa')
    .option('--json', 'as one JSON object', false)
    .action(explain);
}

async function diff(file: string, other: string, o: { site?: string; json: boolean }): Promise<void> {
  const { breachesOf, breachText, diffOf, diffText, readDiffTarget } = await import('../policy-diff.ts');
  const policy = readPolicy(file);
  const target = readDiffTarget(readText(other, 'file'), other);
  if (target.kind === 'policy') {
    const found = diffOf(policy, target.policy, o.site);
    print(o.json ? JSON.stringify(found) : diffText(found));
    return;
  }
  const breaches = breachesOf(policy, target.bounds, o.site);
  print(o.json ? JSON.stringify({ agrees: breaches.length === 0, breaches }) : breachText(policy, breaches));
  if (breaches.length > 0) process.exitCode = EXIT.refused;
}

async function explain(file: string, o: { site?: string; profile?: string; json: boolean }): Promise<void> {
  const { explanationOf, explanationText, profileNamed } = await import('../policy-explain.ts');
  const policy = readPolicy(file);
  const site = o.site === undefined ? {} : { siteId: o.site };
  const profile = o.profile === undefined ? {} : { profile: profileNamed(o.profile) };
  const found = explanationOf(policy, { ...site, ...profile });
  print(o.json ? JSON.stringify(found, finite) : explanationText(policy, found));
}

/** JSON has no word for infinity. */
const finite = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isFinite(value) ? null : value;
