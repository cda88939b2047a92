/** `veilgan audit attack`: attacks on the mechanism of this very program, on drawn data, with controls beside them. */
import type { Command } from 'commander';
import { showEpsilon, showRemaining } from '../../shared/dp/show-epsilon.ts';
import { FedError } from '../../shared/errors.ts';
import type { AttackResult } from '../attack/result.ts';
import { EXIT } from '../exit-codes.ts';
import { number, readPolicy, type Speed, threadsOf, wholeNumber, withSpeed } from '../options.ts';
import { note, print } from '../output.ts';

interface AttackArguments extends Speed {
  policy?: string;
  steps?: number;
  synthetic?: string;
  members?: string;
  others?: string;
  epsilon?: number;
  delta?: number;
  json: boolean;
}

export function attackCommand(audit: Command): void {
  withSpeed(
    audit
      .command('attack')
      .description(
        'try to break the promise: canaries, membership inference, inversion; with controls that must be found',
      )
      .option('--policy <file>', 'its networks, optimiser, clip and moments; without one, small networks')
      .option('--steps <n>', 'steps of 400 canaries; fewer are quicker and see less', wholeNumber(1, 10_000))
      .option('--synthetic <file>', 'instead: membership inference on these released images, .npz')
      .option(
        '--members <file>',
        'with --synthetic: images that were in the data; what is printed is as private as they',
      )
      .option('--others <file>', 'with --synthetic: images of the same kind that were not')
      .option('--epsilon <n>', 'with --synthetic: what was claimed', number(0))
      .option('--delta <n>', 'with --synthetic: and at which delta', number(0))
      .option('--json', 'results as JSON, one a line', false),
  ).action(attack);
}

async function attack(o: AttackArguments): Promise<void> {
  const files = [o.synthetic, o.members, o.others].filter((f) => f !== undefined).length;
  if (files !== 0 && files !== 3)
    throw new FedError('PARAMETER_INVALID', '--synthetic, --members and --others come together');
  const tell = (r: AttackResult) => print(o.json ? JSON.stringify(r, finite) : lineOf(r));
  const results = files === 3 ? await onFiles(o) : await onMechanism(o, o.json ? tell : () => undefined);
  if (files === 3 || !o.json) results.forEach(tell);
  const { asExpected } = await import('../attack/result.ts');
  const alarms = results.filter((r) => !r.control && !asExpected(r));
  const blind = results.filter((r) => r.control && !asExpected(r));
  for (const r of alarms) note(`ALARM: ${r.target}, ${r.variant}: more leaves than is claimed.`);
  for (const r of blind)
    note(`The control "${r.target}, ${r.variant}" was not found: the attack beside it shows nothing.`);
  if (alarms.length + blind.length > 0) process.exitCode = EXIT.invalid;
  else note('Nothing was found that should not be, and every control was. An attack that fails proves nothing.');
}

async function onMechanism(o: AttackArguments, onResult: (r: AttackResult) => void): Promise<AttackResult[]> {
  const [{ builtInPolicy, FULL_EFFORT, runAttacks }, { openEngine }, { secureBytes }, { progress }] = await Promise.all(
    [
      import('../attack/run.ts'),
      import('../../shared/engine/open.ts'),
      import('../../shared/random.ts'),
      import('../progress.ts'),
    ],
  );
  const base = o.policy === undefined ? builtInPolicy() : readPolicy(o.policy);
  const engine = await openEngine(o.engine, threadsOf(o));
  const bar = progress('attacking');
  try {
    const effort = { ...FULL_EFFORT, steps: o.steps ?? FULL_EFFORT.steps };
    const update = (share: number, what: string) => bar.update(share, what);
    return await runAttacks({ engine, base, random: secureBytes, effort, progress: update, onResult });
  } finally {
    bar.stop();
    await engine.dispose();
  }
}

async function onFiles(o: AttackArguments): Promise<AttackResult[]> {
  const [{ attackFiles }, { readArrayDataset }] = await Promise.all([
    import('../attack/membership.ts'),
    import('../../shared/imaging/array-dataset.ts'),
  ]);
  const model = o.policy === undefined ? { imageSize: 28 as const, channels: 1 as const } : readPolicy(o.policy).model;
  const { imageSize: size, channels } = model;
  const read = async (file: string) => (await readArrayDataset(file, { size, channels, onBadFile: 'refuse' })).images;
  const [synthetic, members, others] = [await read(o.synthetic!), await read(o.members!), await read(o.others!)];
  return attackFiles({ synthetic, members, others, claimed: o.epsilon ?? null, delta: o.delta ?? 1e-5 });
}

function lineOf(r: AttackResult): string {
  const bound =
    r.lowerBound === null
      ? ''
      : `epsilon above ${showRemaining(r.lowerBound)} is shown${r.claimed === null ? '' : `, ${showEpsilon(r.claimed)} is claimed`}; `;
  const verdict = r.found ? (r.control ? 'found, as it must be' : 'FOUND') : r.control ? 'NOT FOUND' : 'not found';
  return `${r.control ? '  control: ' : ''}${r.target}, ${r.variant}: ${verdict}\n      ${bound}${r.says}`;
}

/** JSON has no word for infinity. */
const finite = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isFinite(value) ? null : value;
