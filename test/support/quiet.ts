/**
 * When nothing moves: for tests that turn a clock of their own whenever all is quiet.
 *
 * Turning the event loop is not enough. jose signs and verifies with WebCrypto, in threads that the loop does not wait for:
 * on a machine with much else to do, minutes of the test's clock passed between a call and its answer, and rounds met
 * deadlines that nobody had missed.
 */
import { webcrypto } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';

const pending = new Set<Promise<unknown>>();

type Call = (...args: unknown[]) => Promise<unknown>;
const calls = Object.getPrototypeOf(webcrypto.subtle) as Record<string, Call>;
for (const name of [
  'sign',
  'verify',
  'digest',
  'importKey',
  'exportKey',
  'generateKey',
  'deriveBits',
  'encrypt',
  'decrypt',
]) {
  const call = calls[name];
  calls[name] = function (this: unknown, ...args) {
    const running = call.apply(this, args);
    pending.add(running);
    const over = () => pending.delete(running);
    running.then(over, over);
    return running;
  };
}

/**
 * One turn of the event loop; where a call waits for a thread, until the first of them is back.
 * @returns whether all is quiet: what is to happen next needs the clock, or another turn.
 */
export async function turned(): Promise<boolean> {
  await turn();
  if (pending.size === 0) return true;
  await Promise.race(pending).catch(() => undefined);
  return false;
}
