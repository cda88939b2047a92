/**
 * Threads that decode files beside each other. A file that takes too long, or more memory than a thread may have, costs that
 * file and a new thread; nothing a file holds can stop the process.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { FedError } from '../../shared/errors.ts';
import type { DecodedFile, DecodeSettings } from './decode-file.ts';
import type { DecodeJob, DecodeReply } from './decode-worker.ts';

export interface PoolOptions {
  readonly settings: DecodeSettings;
  /** Default: the processors there are, at most 4. */
  readonly threads?: number;
  /** After which a file is given up. Default 60 s. */
  readonly timeoutMs?: number;
  /** Told the name of every error that was not a refusal of ours: for tests, which want none. */
  readonly onUnexpected?: (name: string) => void;
}

/** Of the JavaScript heap; pixels lie outside of it and have limits of their own. */
const MAX_HEAP_MIB = 512;
const TIMEOUT_MS = 60_000;
const MAX_THREADS = 4;

type Task = { readonly job: DecodeJob; resolve(file: DecodedFile): void; reject(error: Error): void };
interface Thread {
  readonly worker: Worker;
  task: Task | undefined;
  timer: NodeJS.Timeout | undefined;
  /** It has answered before, so that it can start at all. */
  proven: boolean;
}

/** The file of the worker beside this one: TypeScript in a checkout, JavaScript in a package. */
const WORKER = new URL(import.meta.url.replace(/decode-pool\.(ts|js)$/, 'decode-worker.$1'));

export const defaultThreads = (): number => Math.min(MAX_THREADS, availableParallelism());

export class DecodePool {
  readonly threads: number;
  readonly #options: PoolOptions;
  readonly #waiting: Task[] = [];
  readonly #running = new Set<Thread>();
  readonly #idle: Thread[] = [];
  #nextId = 0;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.threads = options.threads ?? defaultThreads();
  }

  /** @throws {FedError} IMAGE_UNREADABLE */
  decode(file: string): Promise<DecodedFile> {
    return this.#enter({ id: this.#nextId++, file });
  }

  /** The same for bytes that are here already. @throws {FedError} IMAGE_UNREADABLE */
  decodeBytes(bytes: Uint8Array, name: string): Promise<DecodedFile> {
    return this.#enter({ id: this.#nextId++, bytes, name });
  }

  #enter(job: DecodeJob): Promise<DecodedFile> {
    if (this.#closed) return Promise.reject(new Error('the pool is closed'));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, resolve, reject });
      this.#assign();
    });
  }

  #assign(): void {
    while (this.#waiting.length > 0 && (this.#idle.length > 0 || this.#running.size < this.threads)) {
      const thread = this.#idle.pop() ?? this.#start();
      const task = this.#waiting.shift()!;
      thread.task = task;
      this.#running.add(thread);
      thread.worker.ref();
      const limit = this.#options.timeoutMs ?? TIMEOUT_MS;
      thread.timer = setTimeout(() => this.#lost(thread, `it took longer than ${limit / 1000} s`), limit);
      thread.worker.postMessage(task.job);
    }
  }

  #start(): Thread {
    const worker = new Worker(WORKER, {
      workerData: this.#options.settings,
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MIB },
      // Nothing a library prints about a file reaches a screen or a log.
      stdout: true,
      stderr: true,
    });
    worker.stdout.resume();
    worker.stderr.resume();
    const thread: Thread = { worker, task: undefined, timer: undefined, proven: false };
    worker.on('message', (reply: DecodeReply) => this.#answered(thread, reply));
    worker.on('error', (error: NodeJS.ErrnoException) => {
      const memory = error.code === 'ERR_WORKER_OUT_OF_MEMORY';
      // A thread that never worked is not the file's fault.
      if (!memory && !thread.proven) this.#lost(thread, error);
      else this.#lost(thread, memory ? `it needs more than ${MAX_HEAP_MIB} MiB` : 'it cannot be decoded');
      if (!memory) this.#options.onUnexpected?.(error.name);
    });
    worker.on('exit', () => this.#lost(thread, 'it cannot be decoded'));
    return thread;
  }

  #answered(thread: Thread, reply: DecodeReply): void {
    const { task } = thread;
    if (task === undefined || task.job.id !== reply.id) return;
    this.#release(thread);
    thread.proven = true;
    this.#idle.push(thread);
    // An idle thread keeps nobody waiting for it.
    thread.worker.unref();
    if ('decoded' in reply) task.resolve(reply.decoded);
    else {
      if (reply.unexpected !== undefined) this.#options.onUnexpected?.(reply.unexpected);
      task.reject(new FedError('IMAGE_UNREADABLE', reply.reason));
    }
    this.#assign();
  }

  #lost(thread: Thread, why: string | Error): void {
    const { task } = thread;
    this.#release(thread);
    const idle = this.#idle.indexOf(thread);
    if (idle >= 0) this.#idle.splice(idle, 1);
    void thread.worker.terminate();
    task?.reject(typeof why === 'string' ? new FedError('IMAGE_UNREADABLE', why) : why);
    this.#assign();
  }

  #release(thread: Thread): void {
    clearTimeout(thread.timer);
    thread.task = undefined;
    this.#running.delete(thread);
  }

  /** Ends all threads; files still waiting are rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    const gone = new Error('the pool is closed');
    for (const task of this.#waiting.splice(0)) task.reject(gone);
    const threads = [...this.#running, ...this.#idle.splice(0)];
    for (const thread of threads) {
      const { task } = thread;
      this.#release(thread);
      task?.reject(gone);
    }
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }
}
