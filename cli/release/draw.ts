/** Draws images from an exported generator with ONNX Runtime alone, always in the same way: one thread, batches of one size. */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { drawLatents, type FakeInputs, oneHot } from '../../shared/gan/batch.ts';

/** Images of one call. A release names it, since an engine may round otherwise with other neighbours. */
export const DRAW_BATCH = 64;

/** What draws: the engine and its version, as a manifest names it. */
export async function engineName(): Promise<string> {
  const { env } = await import('onnxruntime-node');
  return `onnxruntime-node ${env.versions.node ?? 'unknown'}, cpu, 1 thread`;
}

/** Widest vector instructions that ONNX Runtime chooses its kernels by, widest first. */
const KERNEL_FLAGS = ['amx_tile', 'avx512f', 'avx2', 'avx', 'sve', 'asimddp', 'asimd'];

/** The class of this processor, as far as it decides how an engine rounds. */
export function processorClass(): string {
  const flags = flagsOf();
  const widest = KERNEL_FLAGS.find((flag) => flags.has(flag));
  return `${process.arch} ${widest ?? cpus()[0]?.model.trim() ?? 'unknown'}`;
}

/** Linux says; elsewhere the model's name stands for them. */
function flagsOf(): Set<string> {
  try {
    const [, flags] = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8')) ?? [];
    return new Set((flags ?? '').split(' '));
  } catch {
    return new Set();
  }
}

export interface DrawOf {
  readonly latent: number;
  readonly classes: number;
  /** Values of one image. */
  readonly values: number;
  readonly seed: string;
  readonly batch: number;
  /** [n] of all images. */
  readonly labels: Int32Array;
}

/** What batch `index` of a release is drawn from: its latent vectors follow from seed and index alone, so that any one can be drawn. */
export function batchInputs({ labels: all, batch, latent, classes, seed }: DrawOf, index: number): FakeInputs {
  const labels = all.subarray(index * batch, (index + 1) * batch);
  return { labels, latents: drawLatents(labels.length, latent, classes, `release ${seed} batch ${index}`) };
}

/** A generator that is open. */
export class Drawer implements AsyncDisposable {
  readonly #session: InferenceSession;
  readonly #tensor: typeof Tensor;
  private constructor(session: InferenceSession, tensor: typeof Tensor) {
    this.#session = session;
    this.#tensor = tensor;
  }

  static async open(model: Uint8Array): Promise<Drawer> {
    const ort = await import('onnxruntime-node');
    const one = { intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: 'sequential' } as const;
    return new Drawer(await ort.InferenceSession.create(model, one), ort.Tensor);
  }

  /** Batch `index` of a release. */
  async batch(of: DrawOf, index: number): Promise<Float32Array> {
    const { labels, latents } = batchInputs(of, index);
    const { images } = await this.#session.run({
      latents: new this.#tensor('float32', latents, [labels.length, of.latent]),
      labels: new this.#tensor('float32', oneHot(labels, of.classes), [labels.length, of.classes]),
    });
    return images.data as Float32Array;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.release();
  }
}
