import { canonicalJson } from '../../shared/audit/canonical.ts';
import type { LogEntry } from '../../shared/audit/entry.ts';
import { auditLog } from '../../shared/audit/verify/verify-log.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { castOf } from './round-rig.ts';

/** What an auditor finds wrong with the order of these entries, each numbered by its place. Whose signatures they bear is not looked at. */
export async function wrongOrderIn(log: readonly LogEntry[], policy: CheckedPolicy): Promise<string[]> {
  async function* lines() {
    for (const [index, entry] of log.entries()) yield canonicalJson({ ...entry, index });
  }
  const trust = { coordinator: publicPart(castOf(1).coordinator.signing), sites: null };
  const audit = await auditLog({ lines: lines(), leaves: null, checkpoints: [], policyOf: () => policy, trust });
  const order = audit.findings.sorted().filter((p) => p.code === 'ORDER');
  return order.map((p) => `${p.entry}: ${p.detail}`);
}
