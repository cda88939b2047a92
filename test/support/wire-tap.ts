/**
 * Loaded before everything else (`node --import`), it writes down all that a process receives over its connections, as the
 * process sees it: past TLS, and past the masks that WebSocket lays over what clients send. Where to is in its own address.
 */
import { appendFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { IncomingMessage } from 'node:http';
import { Server } from 'node:https';

/** For `--import`. @param to - grows by every message, of every process that names it. */
export const tapTo = (to: string): string[] => [
  '--import',
  `${import.meta.url.split('?')[0]}?to=${encodeURIComponent(to)}`,
];

type Emitter = { emit: (event: string, ...args: unknown[]) => boolean };

function tap(of: Emitter, event: string, keep: (data: unknown) => void): void {
  const { emit } = of;
  of.emit = function (this: unknown, name, ...args) {
    if (name === event) keep(args[0]);
    return emit.call(this, name, ...args);
  };
}

const to = new URL(import.meta.url).searchParams.get('to');
if (to !== null) {
  const keep = (data: unknown) => {
    if (data instanceof Uint8Array || typeof data === 'string') appendFileSync(to, data);
    else throw new Error(`a message of another kind: ${typeof data}`);
  };
  const { WebSocket } = createRequire(import.meta.url)('ws') as { WebSocket: { prototype: Emitter } };
  tap(WebSocket.prototype, 'message', keep);
  // A connection opens with HTTP.
  const head = (request: unknown) => {
    const { method, url, rawHeaders } = request as IncomingMessage;
    keep([method, url, ...rawHeaders].join(' '));
  };
  for (const event of ['request', 'upgrade']) tap(Server.prototype, event, head);
}
