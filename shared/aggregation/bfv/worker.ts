/** The thread that computes with SEAL: one call at a time, in the order they come. Started by `seal-worker.ts` alone. */
import { parentPort, workerData } from 'node:worker_threads';
import { FedError } from '../../errors.ts';
import type { BfvParameters } from './parameters.ts';
import { SealCore } from './seal-core.ts';
import type { SealCall, SealReply } from './seal-worker.ts';

const opening = SealCore.open(workerData as BfvParameters);
// Whoever calls first hears why it did not open.
opening.catch(() => undefined);

async function answer({ op, args }: SealCall): Promise<SealReply> {
  try {
    const core = await opening;
    const call = core[op].bind(core) as (...args: unknown[]) => unknown;
    return { ok: true, result: call(...args) };
  } catch (error) {
    if (error instanceof FedError) return { ok: false, code: error.code, detail: error.message };
    return { ok: false, code: null, detail: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

parentPort?.on('message', (call: SealCall) => {
  void answer(call).then((reply) => parentPort?.postMessage(reply));
});
