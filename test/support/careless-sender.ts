/** A site that sends what it must not, over a real connection: the control of a search through traffic. */
import { handlerOf, startRig } from './wire-rig.ts';

await using rig = await startRig(handlerOf(() => null));
const link = await rig.site('north');
await link.call('who', { note: `for the file: ${process.argv[2]}` });
process.stdout.write('sent\n');
