/** The command line as a person has it: real processes, their exit codes, and what they say. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { siteNpz } from '../../cli/demo/data.ts';
import { selfCommand } from '../../cli/package-root.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';

export const CLASSES = ['chest', 'hand', 'head-ct', 'knee'] as const;

export interface Ended {
  /** The exit code, or the signal's name. */
  readonly code: number | string;
  readonly out: string;
  readonly err: string;
}

/** Runs one command to its end. */
export async function cli(...args: string[]): Promise<Ended> {
  return startCli(...args).ended;
}

export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Every event so far: standard output as JSON lines. */
  readonly events: readonly Record<string, unknown>[];
  /** The first event that fits, past or future. Rejects when the process ends without it. */
  until(fits: (event: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
}

/** Starts a command whose standard output is looked at line by line. */
export function startCli(...args: string[]): Running {
  const { command, args: self } = selfCommand();
  return startProcess(command, [...self, ...args]);
}

const alive = new Set<ChildProcess>();

/** For afterEach: a test that failed leaves no process behind to trouble the next. */
export function killAll(): void {
  for (const child of alive) child.kill('SIGKILL');
}

export function startProcess(command: string, args: readonly string[]): Running {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  alive.add(child);
  const events: Record<string, unknown>[] = [];
  const waiting = new Set<() => void>();
  let out = '';
  let err = '';
  let over = false;
  const look = () => waiting.forEach((wake) => wake());
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  createInterface({ input: child.stdout }).on('line', (line) => {
    out += `${line}\n`;
    if (!line.startsWith('{')) return;
    events.push(JSON.parse(line) as Record<string, unknown>);
    look();
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      over = true;
      alive.delete(child);
      look();
      resolve({ code: signal ?? code ?? -1, out, err });
    });
  });
  return {
    child,
    ended,
    events,
    until: (fits) =>
      new Promise((resolve, reject) => {
        const wake = () => {
          const found = events.find(fits);
          if (!found && !over) return;
          waiting.delete(wake);
          if (found) resolve(found);
          else reject(new Error(`ended without it: ${out}${err}`));
        };
        waiting.add(wake);
        wake();
      }),
  };
}

/** A folder that goes with the test. */
export function temporaryFolder(): Disposable & { readonly path: string; readonly at: (...parts: string[]) => string } {
  const path = mkdtempSync(join(tmpdir(), 'veilgan-cli-'));
  return {
    path,
    at: (...parts) => join(path, ...parts),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}

type Json = { [key: string]: Json | string | number | boolean | null | Json[] };

/** The demonstration's policy with networks of a few hundred weights, no moment round, and few steps. */
export function tinyPolicy(change: (policy: Record<string, Json>) => void = () => undefined): string {
  const file = new URL('../../policies/demo-insecure.json', import.meta.url);
  const policy = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Json>;
  Object.assign(policy['model'], { architecture: 'mlp', latent: 4, generatorWidth: 6, discriminatorWidth: 4 });
  Object.assign(policy['training'], { rounds: 4, discriminatorSteps: 2, warmupDiscriminatorSteps: 0, momentWeight: 0 });
  Object.assign(policy['training'], { generatorBatch: 8, fakesPerStep: 8 });
  Object.assign(policy['privacy'], { sampleRate: 0.2, expectedBatch: 8, maxBatch: 40, imagesPerPatient: 2 });
  Object.assign(policy['privacy'], { epsilon: 10, noiseMultiplier: 2, maxSteps: 20 });
  policy['warmStart'] = { kind: 'none' };
  Object.assign(policy['release'], { maxImages: 256 });
  policy['why'] = Object.fromEntries(Object.entries(policy['why']).filter(([path]) => !path.startsWith('warmStart.')));
  change(policy);
  return JSON.stringify(policy);
}

/** Forty phantom patients of a site, as the file its agent reads. */
export async function writePhantoms(path: string, site: string): Promise<void> {
  const images = phantomImages({ size: 28, channels: 1, patients: 40, imagesPerPatient: [1, 2], seed: 'cli', site });
  writeFileSync(path, await siteNpz(images, true));
}

/** One sentence for a person, and no stack. */
export const sentence = ({ err }: Ended): string => {
  const lines = err.trim().split('\n');
  if (lines.some((line) => /^\s+at /.test(line))) throw new Error(`a stack: ${err}`);
  return lines[lines.length - 1];
};
