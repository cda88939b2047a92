/** One party of the demonstration: a process of this very program, its events as JSON lines, all it says in a log file. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { FedError } from '../../shared/errors.ts';
import { selfCommand } from '../package-root.ts';

export interface Party {
  readonly name: string;
  readonly logFile: string;
  /** Resolves when it has ended with 0. @throws {FedError} INTERNAL with its last words and where its log is. */
  readonly done: Promise<void>;
  /** Asks it to end; kills it after a while. Resolves when it is gone. */
  stop(): Promise<void>;
}

/** How long a party may take to end in order, in milliseconds. */
const PATIENCE_MS = 5_000;

export function startParty(
  name: string,
  args: readonly string[],
  logFile: string,
  onEvent: (event: unknown) => void,
): Party {
  const { command, args: self } = selfCommand();
  const log = createWriteStream(logFile, { flags: 'a' });
  // The channel tells a party that its parent is gone, however the parent died.
  const child = spawn(command, [...self, ...args], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  let lastWords = '';
  createInterface({ input: child.stdout! }).on('line', (line) => {
    log.write(`${line}\n`);
    const event = parsed(line);
    if (event !== undefined) onEvent(event);
  });
  createInterface({ input: child.stderr! }).on('line', (line) => {
    log.write(`${line}\n`);
    if (line.trim() !== '') lastWords = line;
  });
  const gone = ended(child);
  const done = gone.then((how) => {
    log.end();
    if (how !== 'code 0') throw new FedError('INTERNAL', `${name} ended with ${how}: ${lastWords} (log: ${logFile})`);
  });
  // Whoever started it looks later; until then a failure is not unhandled.
  done.catch(() => undefined);
  return {
    name,
    logFile,
    done,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
      await gone;
      clearTimeout(timer);
    },
  };
}

function ended(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(signal ?? `code ${code}`));
  });
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
