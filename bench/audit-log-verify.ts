/** Verifies a folder in a process of its own: `node bench/audit-log-verify.ts FOLDER` prints time and memory as JSON. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readKeys } from '../cli/audit/read-folder.ts';
import { verifyFolder } from '../cli/audit/verify-folder.ts';

const dir = process.argv[2];
const keys = readKeys(readFileSync(join(dir, 'keys.json'), 'utf8'), 'keys.json');
const began = performance.now();
const { verdict, problems, gaps, log } = await verifyFolder(dir, { keys });
const ms = performance.now() - began;
const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
const main = process.threadCpuUsage();
// The roster is not made here: its absence is the one gap there may be.
const expected = gaps.every((gap) => gap.startsWith('the signed roster'));
const result = {
  ms,
  cpuMs: (userCPUTime + systemCPUTime) / 1000,
  mainThreadMs: (main.user + main.system) / 1000,
  maxRssMb: maxRSS / 1024,
  verdict: verdict === 'incomplete' && expected ? 'verified' : verdict,
  signatures: log.signatures,
  entries: log.entries,
  problems: problems.slice(0, 5),
  gaps,
};
console.log(JSON.stringify(result));
