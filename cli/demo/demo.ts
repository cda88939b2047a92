/**
 * The demonstration: one coordinator and some sites, each a process of its own with a folder of its own, that join by
 * invite and talk over TLS as they would between buildings. Only the images are not a hospital's.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ErrorCode, ERRORS, FedError } from '../../shared/errors.ts';
import type { Skew } from '../../shared/imaging/split.ts';
import { type CheckedPolicy, loadPolicy } from '../../shared/policy/load.ts';
import { Policy } from '../../shared/policy/schema.ts';
import { type CoordinatorFolder, initCoordinator, inviteSite } from '../coordinator-folder.ts';
import type { ShellEvent } from '../coordinator-run.ts';
import { exportRun } from '../export-run.ts';
import type { CoordinatorEvent } from '../../coordinator/events.ts';
import { loadOptions, parseJson, readText, type Speed, threadsOf } from '../options.ts';
import type { RunSummary } from '../run-folder.ts';
import { joinSite } from '../site-folder.ts';
import type { AgentEvent } from '../site-run.ts';
import { type DemoData, factsOf, mostImagesOfAPatient, ownData, phantomData, siteNpz } from './data.ts';
import { type Party, startParty } from './party.ts';
import { derivePolicy } from './policy.ts';
import { type DemoScreen, demoScreen } from './screen.ts';

export interface DemoOptions extends Speed {
  /** Of the run; new or empty. */
  readonly out: string;
  readonly basePolicy: string;
  readonly sites: number;
  readonly skew: Skew;
  readonly seed: string;
  /** Phantom patients a site. */
  readonly patients: number;
  readonly rounds?: number;
  /** Absent: phantoms. */
  readonly data?: string;
  readonly labels?: string;
  readonly classes?: readonly string[];
  readonly size: 28 | 32 | 64;
  readonly channels: 1 | 3;
  readonly maxImages: number;
  readonly signal: AbortSignal;
}

const INTERRUPTED = 'interrupted';

/**
 * Runs it from nothing to a summary.
 * @throws {FedError} INTERNAL when a party fails, naming its log file. No process of ours is left behind.
 */
export async function runDemo(o: DemoOptions): Promise<RunSummary> {
  if (existsSync(o.out) && readdirSync(o.out).length > 0)
    throw new FedError('PARAMETER_INVALID', `${o.out} is not empty; a demonstration takes a folder of its own`);
  mkdirSync(o.out, { recursive: true });
  let policy: CheckedPolicy | null = null;
  const screen = demoScreen(() => policy);
  const parties: Party[] = [];
  try {
    screen.preparing(0, o.data === undefined ? 'drawing phantoms' : 'reading the images');
    const data = o.data === undefined ? await phantoms(o, screen) : await ownData({ ...o, data: o.data });
    policy = policyFor(o, data);
    screen.say(introduction(o, data, policy));
    const declined = Promise.withResolvers<never>();
    // Whoever is first told fails the demonstration; until somebody waits for it, it is not unhandled.
    declined.promise.catch(() => undefined);
    const folder = await startAll(o, data, policy, screen, parties, declined.reject);
    await Promise.race([allDone(parties, o.signal), declined.promise]);
    const { out, engine } = o;
    return await exportRun(folder, { ...data, out, engine, files: 'all', ...threadsOf(o), progress: screen.finishing });
  } finally {
    screen.stop();
    await Promise.all(parties.map((party) => party.stop()));
  }
}

const basePolicy = (path: string): Policy => parseJson(readText(path, 'policy'), Policy, path, 'POLICY_INVALID');

const phantoms = (o: DemoOptions, screen: DemoScreen): Promise<DemoData> => {
  const { imagesPerPatient } = basePolicy(o.basePolicy).privacy;
  const progress = (share: number) => screen.preparing(0.7 * share, 'drawing phantoms');
  return phantomData({ ...o, imagesPerPatient, progress });
};

/** The base policy as it is where it fits the data; else one derived from it. Written into the run folder either way. */
function policyFor(o: DemoOptions, data: DemoData): CheckedPolicy {
  const base = basePolicy(o.basePolicy);
  const { sites, patientsKnown, test } = data;
  const facts = factsOf(data);
  const fits =
    o.rounds === undefined &&
    sites.size === base.aggregation.minSites &&
    o.data === undefined &&
    base.sites === undefined &&
    facts.every(
      (f) =>
        f.patients <= base.privacy.expectedBatch / base.privacy.sampleRate &&
        f.classes.join() === base.model.classes.join(),
    );
  const rounds = o.rounds === undefined ? {} : { rounds: o.rounds };
  const imagesPerPatient = mostImagesOfAPatient(data);
  const policy = fits ? base : derivePolicy(base, { sites: facts, test, imagesPerPatient, patientsKnown, ...rounds });
  const text = fits ? readFileSync(o.basePolicy, 'utf8') : `${JSON.stringify(policy, null, 2)}\n`;
  writeFileSync(join(o.out, 'demo-policy.json'), text);
  return loadPolicy(policy, loadOptions);
}

/** Coordinator first, since a site that joins talks to it; then every site joins and starts. */
async function startAll(
  o: DemoOptions,
  data: DemoData,
  policy: CheckedPolicy,
  screen: DemoScreen,
  parties: Party[],
  fail: (error: FedError) => void,
): Promise<CoordinatorFolder> {
  const policyText = readFileSync(join(o.out, 'demo-policy.json'), 'utf8');
  const dir = join(o.out, 'coordinator');
  const folder = await initCoordinator({ dir, policyText, host: '127.0.0.1', port: 0 });
  const speed = ['--json', '--engine', o.engine];
  await new Promise<void>((resolve, reject) => {
    const coordinator = startParty(
      'the coordinator',
      ['coordinator', 'run', '--dir', dir, '--linger', '30', ...speed, ...threadArguments(o)],
      join(o.out, 'coordinator.log'),
      (event) => {
        screen.coordinator(event as CoordinatorEvent | ShellEvent);
        if ((event as { kind: string }).kind === 'listening') resolve();
      },
    );
    parties.push(coordinator);
    coordinator.done.catch(reject);
    o.signal.addEventListener('abort', () => reject(new Error(INTERRUPTED)), { once: true });
  });
  let joined = 0;
  for (const [siteId, images] of data.sites) {
    const own = join(o.out, siteId);
    await joinSite(own, await inviteSite(folder, siteId), { pinned: policy });
    const npz = join(own, 'images.npz');
    writeFileSync(npz, await siteNpz(images, data.patientsKnown));
    const args = ['site', 'run', '--dir', own, '--data', npz, ...speed, '--threads', '1'];
    const logFile = join(o.out, `${siteId}.log`);
    const onEvent = (event: unknown) => {
      const error = outForGood(siteId, event as AgentEvent, logFile);
      if (error !== null) fail(error);
    };
    parties.push(startParty(siteId, args, logFile, onEvent));
    screen.preparing(0.7 + (0.3 * ++joined) / data.sites.size, `${siteId} has joined`);
    if (o.signal.aborted) throw new Error(INTERRUPTED);
  }
  return folder;
}

/** A site that says no for good stays out; a run would wait for its return for ever, a demonstration must not. */
export function outForGood(siteId: string, event: AgentEvent, logFile: string): FedError | null {
  if (event.kind !== 'declined') return null;
  const retry = event.code in ERRORS ? ERRORS[event.code as ErrorCode].retry : 'never';
  return retry === 'never' ? new FedError('INTERNAL', `${siteId} declines: ${event.detail} (log: ${logFile})`) : null;
}

const threadArguments = (o: Speed): string[] => (o.threads === undefined ? [] : ['--threads', String(o.threads)]);

/** The first failure ends the waiting: the others would wait for the one that failed. */
function allDone(parties: readonly Party[], signal: AbortSignal): Promise<unknown> {
  const interrupted = new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error(INTERRUPTED)), { once: true });
  });
  return Promise.race([Promise.all(parties.map((party) => party.done)), interrupted]);
}

function introduction(o: DemoOptions, data: DemoData, policy: CheckedPolicy): string {
  const facts = factsOf(data).map((f) => `${f.siteId} ${f.patients}`);
  const unit = data.patientsKnown ? 'patients' : 'images';
  const what = o.data === undefined ? 'drawn phantoms' : `${o.data}, which must be public`;
  const lines = [`${data.sites.size} sites on ${what}: ${facts.join(', ')} ${unit}. Policy ${policy.id}.`];
  if (!data.patientsKnown)
    lines.push('The data name no patients: every image counts as one, so the claim protects single images.');
  return lines.join('\n');
}
