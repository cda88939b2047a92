/**
 * SEAL in a thread of its own, so that a site keeps training and a coordinator keeps answering while it computes. All
 * that use one set of parameters in one process share one thread; it is started by the first call, started again when it
 * died, and ended by the last `dispose`.
 */
import { Worker } from 'node:worker_threads';
import { FedError } from '../../errors.ts';
import type { ErrorCode } from '../../errors.ts';
import type { BfvParameters } from './parameters.ts';
import type { SealCore } from './seal-core.ts';

type Ops = Pick<SealCore, 'createSecretKey' | 'encrypt' | 'checkFrames' | 'add' | 'openPart' | 'heapBytes'>;
export interface SealCall {
  readonly op: keyof Ops;
  readonly args: readonly unknown[];
}
export type SealReply =
  | { readonly ok: true; readonly result: unknown }
  /** `code` is null for a fault. */
  | { readonly ok: false; readonly code: ErrorCode | null; readonly detail: string };

/** Chunks in one request: a tenth of a second of work, so that callers take turns. */
export const CHUNKS_A_CALL = 64;

const running = new Map<string, Thread>();

/** A share in the thread of these parameters. */
export class SealWorker {
  readonly #parameters: BfvParameters;
  #thread: Thread | null = null;
  #disposed = false;

  constructor(parameters: BfvParameters) {
    this.#parameters = parameters;
  }

  /**
   * One operation of `SealCore`, with its arguments and its errors.
   * @throws {FedError} the operation's; INTERNAL when the thread failed.
   */
  async call<K extends keyof Ops>(op: K, ...args: Parameters<Ops[K]>): Promise<ReturnType<Ops[K]>> {
    if (this.#disposed) throw new FedError('INTERNAL', 'the worker was disposed');
    this.#thread ??= shared(this.#parameters);
    return (await this.#thread.ask({ op, args })) as ReturnType<Ops[K]>;
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    const thread = this.#thread;
    this.#thread = null;
    await thread?.release();
  }
}

function shared(parameters: BfvParameters): Thread {
  const thread = running.get(parameters.sha256) ?? new Thread(parameters);
  running.set(parameters.sha256, thread);
  thread.users += 1;
  return thread;
}

/** One thread and its queue: a call is sent when the one before was answered. */
class Thread {
  users = 0;
  readonly #parameters: BfvParameters;
  #worker: Worker | null = null;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parameters: BfvParameters) {
    this.#parameters = parameters;
  }

  ask(call: SealCall): Promise<unknown> {
    const mine = this.#last.then(() => this.#send(call));
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  async release(): Promise<void> {
    this.users -= 1;
    if (this.users > 0) return;
    running.delete(this.#parameters.sha256);
    await this.#last;
    await this.#worker?.terminate();
    this.#worker = null;
  }

  #send(call: SealCall): Promise<unknown> {
    const worker = (this.#worker ??= this.#start());
    return new Promise((resolve, reject) => {
      const failed = (detail: string) => {
        this.#worker = null;
        settle();
        reject(new FedError('INTERNAL', `the thread of SEAL failed: ${detail}`));
      };
      const onMessage = (reply: SealReply) => {
        settle();
        if (reply.ok) resolve(reply.result);
        else reject(errorOf(reply.code, reply.detail));
      };
      const onError = (error: unknown) => failed(error instanceof Error ? error.message : 'unknown');
      const onExit = (code: number) => failed(`exit ${code}`);
      const settle = () => {
        worker.off('message', onMessage).off('error', onError).off('exit', onExit);
        // A thread that has nothing to do keeps no process alive.
        worker.unref();
      };
      worker.on('message', onMessage).on('error', onError).on('exit', onExit);
      worker.ref();
      worker.postMessage(call);
    });
  }

  #start(): Worker {
    // As this file: TypeScript in a checkout, JavaScript in the package.
    const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js';
    const worker = new Worker(new URL(file, import.meta.url), { workerData: this.#parameters, execArgv: [] });
    // While no call is under way nobody else listens; the next call starts another.
    worker.on('error', () => undefined);
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = null;
    });
    return worker;
  }
}

function errorOf(code: ErrorCode | null, detail: string): Error {
  if (code === null) return new Error(`in the thread of SEAL: ${detail}`);
  return new FedError(code, detail.startsWith(`${code}: `) ? detail.slice(code.length + 2) : detail);
}
