/** A thread that decodes one file after another. What it sends back holds tensors, codes and sentences of ours alone. */
import { parentPort, workerData } from 'node:worker_threads';
import { FedError } from '../../shared/errors.ts';
import { decodeBytes, decodeFile, type DecodedFile, type DecodeSettings } from './decode-file.ts';

export type DecodeJob =
  | { readonly id: number; readonly file: string }
  | { readonly id: number; readonly bytes: Uint8Array; readonly name: string };
export type DecodeReply =
  | { readonly id: number; readonly decoded: DecodedFile }
  | {
      readonly id: number;
      readonly reason: string;
      /** The name of an error that was none of ours. */ readonly unexpected?: string;
    };

const settings = workerData as DecodeSettings;

async function answer(job: DecodeJob): Promise<DecodeReply> {
  const { id } = job;
  try {
    const decoded = await ('file' in job ? decodeFile(job.file, settings) : decodeBytes(job.bytes, job.name, settings));
    return { id, decoded };
  } catch (error) {
    if (error instanceof FedError) return { id, reason: error.message.replace(/^[A-Z_]+: /, '') };
    // Out of memory, or a bug of ours: the file is refused, and what the error says, which may quote it, stays here.
    return { id, reason: 'it cannot be decoded', unexpected: error instanceof Error ? error.name : 'unknown' };
  }
}

parentPort!.on('message', (job: DecodeJob) => {
  void answer(job).then((reply) => {
    const moved = 'decoded' in reply ? reply.decoded.units.map((unit) => unit.buffer as ArrayBuffer) : [];
    parentPort!.postMessage(reply, moved);
  });
});
