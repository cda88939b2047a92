/**
 * A process that charges a ledger twice and kills itself with SIGKILL inside it, at the operation on the database that its
 * argument names. What it says goes out synchronously, so nothing it knew is lost with it.
 */
import { writeSync } from 'node:fs';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { CrashPoint } from './crash-point.ts';
import { crashingDatabase, exampleCharge } from './ledger-rig.ts';

const [file, at] = process.argv.slice(2);
const crash = new CrashPoint(at === 'never' ? null : Number(at), () => process.kill(process.pid, 'SIGKILL'));
const ledger = new Ledger(file, (path) => crashingDatabase(path, crash));
for (let step = 0; step < 2; step++) {
  ledger.charge(exampleCharge({ step }));
  writeSync(1, 'charged\n');
}
writeSync(1, `passed ${crash.passed}\n`);
