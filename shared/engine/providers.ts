import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { FedError } from '../errors.ts';
import type { OrtEngineName } from './ort-engine.ts';
import { float32 } from './program.ts';
import { traceToOnnx } from './trace.ts';

/**
 * Is an execution provider of ONNX Runtime really here?
 *
 * The runtime itself is no help: it drops a provider it was not built with and goes on with the CPU, and one whose
 * driver is broken may print to the console or end the process. So a provider is tried once, on a program of one
 * addition, in a child process whose output nobody sees.
 */

/** One sentence for people: what is missing, and what to do. */
const ADVICE: Readonly<Record<Exclude<OrtEngineName, 'cpu'>, string>> = {
  webgpu:
    'The engine webgpu found no GPU it can use: install its Vulkan driver (on Debian: apt-get install libvulkan1, and the GPU vendor’s package), or choose --engine cpu.',
  cuda: 'The engine cuda needs an NVIDIA GPU and the CUDA provider: npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12',
  coreml: 'The engine coreml is part of macOS and exists nowhere else: choose --engine cpu.',
  dml: 'The engine dml (DirectML) is part of Windows and exists nowhere else: choose --engine cpu.',
};

/** A driver that has not answered by then never will; in milliseconds. */
const PROBE_TIMEOUT_MS = 60_000;

/** Runs in the child: opens the model on the provider alone, runs it, and says so. Arguments: module, provider, model. */
const PROBE = `
  const [module, provider, model] = process.argv.slice(1);
  const probe = async () => {
    const ort = require(module);
    if (!ort.listSupportedBackends().some(({ name }) => name === provider)) return 'not part of this build';
    const options = { executionProviders: [provider], logSeverityLevel: 4 };
    const session = await ort.InferenceSession.create(Buffer.from(model, 'base64'), options);
    const { y } = await session.run({ x: new ort.Tensor('float32', [1, 2], [2]) });
    return y.data.join() === '2,3' ? 'works' : 'computes wrongly';
  };
  probe().catch(String).then((answer) => { console.log(answer); process.exit(0); });
`;

/** @throws {FedError} ENGINE_MISSING, in one sentence that says what to do, unless the provider computes. */
export async function requireProvider(name: Exclude<OrtEngineName, 'cpu'>): Promise<void> {
  const { onnx } = traceToOnnx('probe', ({ x }) => ({ y: x.add(1) }), { x: float32(2) });
  const module = createRequire(import.meta.url).resolve('onnxruntime-node');
  const answer = await childOutput(['-e', PROBE, module, name, Buffer.from(onnx).toString('base64')]);
  if (answer !== 'works') throw new FedError('ENGINE_MISSING', ADVICE[name], { cause: new Error(answer) });
}

/** What a child Node prints on its standard output; its standard error is dropped. */
async function childOutput(args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'], timeout: PROBE_TIMEOUT_MS });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  return await new Promise((resolve) => {
    child.on('error', (error) => resolve(String(error)));
    child.on('close', (code, signal) => resolve(output.trim() || `ended with ${signal ?? `code ${code}`}`));
  });
}
