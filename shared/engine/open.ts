import { FedError } from '../errors.ts';
import { eagerEngine } from './eager.ts';
import { openOrtEngine } from './ort-engine.ts';
import { ENGINE_NAMES, type Engine, type EngineName } from './program.ts';
import { requireProvider } from './providers.ts';

/** The optional peer: a name in a variable, so that nothing looks for it before it is asked for. */
const TFJS_NODE_GPU = '@tensorflow/tfjs-node-gpu';

/**
 * Opens an engine by its name.
 *
 * @param options.threads - threads inside one operator, on the engines of ONNX Runtime; its own choice when left out.
 * @throws {FedError} ENGINE_MISSING when it is not on this machine, in one sentence with the command that installs it.
 */
export async function openEngine(name: EngineName, options: { readonly threads?: number } = {}): Promise<Engine> {
  switch (name) {
    case 'cpu':
      return openOrtEngine(name, options);
    case 'webgpu':
    case 'cuda':
    case 'coreml':
    case 'dml':
      await requireProvider(name);
      return openOrtEngine(name, options);
    case 'tfjs':
      return eagerEngine(name, 'cpu');
    case 'tfjs-node-gpu':
      try {
        await import(TFJS_NODE_GPU);
      } catch (error) {
        const advice = `The engine tfjs-node-gpu needs its package and an NVIDIA GPU with CUDA: npm install ${TFJS_NODE_GPU}`;
        throw new FedError('ENGINE_MISSING', advice, { cause: error });
      }
      return eagerEngine(name, 'tensorflow');
    default:
      name satisfies never;
      throw new FedError('ENGINE_MISSING', `No engine is called '${String(name)}': choose ${ENGINE_NAMES.join(', ')}.`);
  }
}
