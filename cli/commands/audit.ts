/** `veilgan audit`: for whoever trusts none of the parties. */
import type { Command } from 'commander';
import { attackCommand } from './audit-attack.ts';
import { auditLogCommands } from './audit-log.ts';

export function addAudit(program: Command): void {
  const group = program.command('audit').description('check what was promised and what was done');
  auditLogCommands(group);
  attackCommand(group);
}
