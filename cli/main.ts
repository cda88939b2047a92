/** The command line: which commands there are, and what a failure looks like. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { addAudit } from './commands/audit.ts';
import { addCoordinator } from './commands/coordinator.ts';
import { addDemo } from './commands/demo.ts';
import { addEvaluate } from './commands/evaluate.ts';
import { addGenerate } from './commands/generate.ts';
import { addPolicy } from './commands/policy.ts';
import { addRelease } from './commands/release.ts';
import { addSimulate } from './commands/simulate.ts';
import { addSignOff } from './commands/sign-off.ts';
import { addSite } from './commands/site.ts';
import { addStudy } from './commands/study.ts';
import { packageRoot } from './package-root.ts';
import { reportError } from './report-error.ts';

const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };

const program = new Command('veilgan')
  .description('Hospitals train one image generator together; no image and no readable gradient leaves a building.')
  .version(version)
  .helpCommand(true)
  .showHelpAfterError('(veilgan <command> --help says more)')
  .exitOverride();

// Each group inherits the settings above.
addDemo(program);
addCoordinator(program);
addSite(program);
addSignOff(program);
addSimulate(program);
addPolicy(program);
addGenerate(program);
addEvaluate(program);
addRelease(program);
addStudy(program);
addAudit(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = reportError(error);
}
