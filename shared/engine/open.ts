import { eagerEngine } from './eager.ts';
import { openOrtEngine } from './ort-engine.ts';
import type { Engine, EngineName } from './program.ts';

export async function openEngine(name: EngineName, options: { threads?: number } = {}): Promise<Engine> {
  if (name === 'tfjs') return eagerEngine(name, 'cpu');
  if (name === 'tfjs-node-gpu') throw new Error('todo');
  return openOrtEngine(name, options);
}
