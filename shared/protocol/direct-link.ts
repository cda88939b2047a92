import { FedError } from '../errors.ts';
import type { CoordinatorLink, Reply, RequestHandler } from './link.ts';
import { CallType, MAX_MESSAGE_BYTES, openReply, parseMessage, refusal } from './messages.ts';

/**
 * A link without a network, for the simulator and for tests: the same handler, the same copies, the same refusals.
 * The contract suite in `test/contract/wire-link.test.ts` runs against this one and the one over TLS.
 */
export function directLink(handler: RequestHandler, siteId: string): CoordinatorLink {
  let closed = false;
  const stops = new Set<() => void>();
  return {
    async call(type, payload) {
      if (closed) throw new FedError('LINK_LOST', 'the link is closed');
      const sent = asOnTheWire(payload);
      const reply = await handler.handle(siteId, parseMessage(CallType, type), sent).catch(refusal);
      return openReply(answerOnTheWire(reply));
    },
    onWake(listener) {
      const stop = handler.onWake((sites) => {
        if (sites === 'all' || sites.includes(siteId)) listener();
      });
      stops.add(stop);
      return () => {
        stops.delete(stop);
        stop();
      };
    },
    async close() {
      closed = true;
      for (const stop of stops) stop();
      stops.clear();
    },
  };
}

/** A reply that cannot be written as JSON is the coordinator's bug. */
function answerOnTheWire(reply: Reply): unknown {
  try {
    return asOnTheWire(reply, Infinity);
  } catch (error) {
    return refusal(new TypeError('unwritable reply', { cause: error }));
  }
}

/**
 * A payload as the other end of a socket would see it: JSON with byte strings apart. What JSON drops is dropped (undefined,
 * NaN becomes null); every view of a buffer becomes a copy of its bytes.
 * @throws {FedError} MESSAGE_INVALID when it is too large, or cannot be written as JSON.
 */
export function asOnTheWire(payload: unknown, maxBytes = MAX_MESSAGE_BYTES): unknown {
  const { json, binaries } = takeApart(payload, maxBytes);
  const putBack = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(putBack);
    if (typeof value !== 'object' || value === null) return value;
    if (Object.hasOwn(value, MARK)) return Uint8Array.from(binaries[(value as { [MARK]: number })[MARK]]);
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, putBack(v)]));
  };
  return putBack(JSON.parse(json));
}

/** @throws {FedError} MESSAGE_INVALID when the payload is larger than a message may be, before anything is sent. */
export function checkSendable(payload: unknown): void {
  takeApart(payload, MAX_MESSAGE_BYTES);
}

const MARK = '\u0000bytes';

function takeApart(payload: unknown, maxBytes: number): { json: string; binaries: Uint8Array[] } {
  const binaries: Uint8Array[] = [];
  // Before `stringify`, which would spell a Buffer out number by number.
  const strip = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    if (value instanceof ArrayBuffer) return { [MARK]: binaries.push(new Uint8Array(value)) - 1 };
    if (ArrayBuffer.isView(value))
      return { [MARK]: binaries.push(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)) - 1 };
    if (Array.isArray(value)) return value.map(strip);
    if ('toJSON' in value) return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, strip(v)]));
  };
  let json: string;
  try {
    json = JSON.stringify(strip(payload)) ?? 'null';
  } catch (error) {
    throw new FedError('MESSAGE_INVALID', 'the payload cannot be written as JSON', { cause: error });
  }
  const bytes = binaries.reduce((sum, b) => sum + b.length, Buffer.byteLength(json));
  if (bytes > maxBytes) throw new FedError('MESSAGE_INVALID', `a message of ${bytes} bytes, at most ${maxBytes}`);
  return { json, binaries };
}
