import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import { ERRORS, FedError } from '../../shared/errors.ts';
import { Challenge, Hello, Join, Joined, Prove } from '../../shared/identity/handshake.ts';
import { InviteClaims } from '../../shared/identity/invite.ts';
import { Roster } from '../../shared/identity/roster.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import * as messages from '../../shared/protocol/messages.ts';
import { TensorReceiver } from '../../shared/protocol/tensor-receiver.ts';
import { dial, request } from '../../site-agent/shell/dial.ts';
import { secureBytes } from '../../shared/random.ts';
import { codeOf, handlerOf, startRig } from '../support/wire-rig.ts';

const HASH = 'a'.repeat(64);
const KEY43 = 'A'.repeat(43);
const jwk = (crv: string) => ({ kty: 'OKP', crv, x: KEY43 });

/** Every message of the wire with one valid example: the fuzzer also damages these. */
const MESSAGES: [string, z.ZodType, object][] = [
  ['hello', Hello, { protocol: 1, nonce: KEY43 }],
  ['challenge', Challenge, { nonce: KEY43, proof: 'x' }],
  ['prove', Prove, { siteId: 'north', jws: 'x' }],
  ['join', Join, { invite: 'x', keys: { signing: jwk('Ed25519'), sealing: jwk('X25519') }, proof: 'x' }],
  ['joined', Joined, { roster: 'x' }],
  ['roster', Roster, { version: 0, sites: [] }],
  ['tensor.offer', messages.TensorOffer, { sha256: HASH, bytes: 5, purpose: 'x' }],
  ['tensor.chunk', messages.TensorChunk, { sha256: HASH, offset: 0, chunkSha256: HASH, data: Uint8Array.of(1) }],
  ['tensor.have', messages.TensorHave, { have: 0, credit: 1 }],
  ['tensor.get', messages.TensorGet, { sha256: HASH, offset: 0, length: 1 }],
  ['tensor.part', messages.TensorPart, { bytes: 1, chunkSha256: HASH, data: Uint8Array.of(1) }],
];

/** Junk, and good messages with one field lost, replaced, or added. */
const damaged = (example: object): fc.Arbitrary<unknown> => {
  const names = Object.keys(example);
  const junk = fc.oneof(fc.jsonValue(), fc.uint8Array({ maxLength: 5 }), fc.double(), fc.constant(undefined));
  return fc.oneof(
    junk,
    fc
      .record({ name: fc.constantFrom(...names), value: junk })
      .map(({ name, value }) => ({ ...example, [name]: value })),
    fc.constantFrom(...names).map((gone) => Object.fromEntries(Object.entries(example).filter(([k]) => k !== gone))),
    fc
      .record({ name: fc.string({ minLength: 1 }), value: junk })
      .map(({ name, value }) => ({ [name]: value, ...example })),
  );
};

test.each(MESSAGES)('%s: parses its example; anything else is MESSAGE_INVALID or a message', (_, schema, example) => {
  expect(messages.parseMessage(schema, example)).toEqual(example);
  const surplus = { ...example, surplus: 1 };
  expect(() => messages.parseMessage(schema, surplus), 'an unknown field').toThrow(/MESSAGE_INVALID/);
  let refused = 0;
  fc.assert(
    fc.property(damaged(example), (payload) => {
      try {
        messages.parseMessage(schema, payload);
      } catch (error) {
        refused++;
        expect((error as FedError).code).toBe('MESSAGE_INVALID');
      }
    }),
    { numRuns: 300 },
  );
  expect(refused, 'positive control: the fuzzer does reach the refusals').toBeGreaterThan(50);
});

test('invite claims from anywhere are refused or whole', () => {
  fc.assert(fc.property(fc.jsonValue(), (claims) => !InviteClaims.safeParse(claims).success));
});

test('a reply that is none is MESSAGE_INVALID; a code of a later version is INTERNAL', () => {
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), fc.constant(undefined)), (reply) => {
      expect(() => messages.openReply(reply)).toThrow(FedError);
    }),
  );
  for (const code of ['OF_A_LATER_VERSION', 'toString', '__proto__'])
    expect(() => messages.openReply({ ok: false, code, say: '', retry: 'never' })).toThrow(/^INTERNAL/);
});

test('the receiver answers every damaged tensor message with a code, and keeps nothing of it', async () => {
  const store = new MemoryBlobStore();
  const receiver = new TensorReceiver({ store, allow: () => 4, readable: (_, hash) => hash, clock: { now: () => 0 } });
  const tensor = MESSAGES.filter(([name]) => ['tensor.offer', 'tensor.chunk', 'tensor.get'].includes(name));
  for (const [type, , example] of tensor)
    await fc.assert(
      fc.asyncProperty(damaged(example), async (payload) => {
        const code = await codeOf(receiver.handle('north', type, payload));
        expect(['no error', 'MESSAGE_INVALID', 'TENSOR_TOO_LARGE', 'TENSOR_UNKNOWN', 'TENSOR_CORRUPT']).toContain(code);
      }),
      { numRuns: 200 },
    );
  expect(await store.list('')).toEqual([]);
});

test('a stranger may send anything over the wire: every answer is a code, and a site beside it is served', async () => {
  await using rig = await startRig(
    handlerOf((site) => site),
    { limits: { messagesBeforeAuth: 1e9, strangersPerAddress: 1000, strangers: 1000 } },
  );
  const { enrolment } = await rig.join('south');
  const honest = await rig.site('north');
  const { socket } = await dial(enrolment, { timeoutMs: 5_000, random: secureBytes });
  const events = MESSAGES.filter(([name]) => ['hello', 'prove', 'join'].includes(name)).map(
    ([name, , e]) => [name, e] as const,
  );
  const attack = fc.oneof(
    fc
      .constantFrom(...events)
      .chain(([event, example]) => damaged(example).map((payload) => ({ event, args: [payload] }))),
    fc.record({ event: fc.constant('call'), args: fc.array(fc.jsonValue(), { maxLength: 3 }) }),
    fc.record({ event: fc.string({ minLength: 1, maxLength: 99 }), args: fc.array(fc.jsonValue(), { maxLength: 3 }) }),
  );
  // These never leave the client's library.
  const reserved = ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'];
  await fc.assert(
    fc.asyncProperty(
      attack.filter((a) => !reserved.includes(a.event)),
      async ({ event, args }) => {
        const code = await codeOf(request(socket, 5_000, event, ...args));
        // A damaged hello may still be a good one.
        expect(event === 'hello' ? ['no error', ...Object.keys(ERRORS)] : Object.keys(ERRORS)).toContain(code);
        expect(['LINK_LOST', 'INTERNAL']).not.toContain(code);
      },
    ),
    { numRuns: 300 },
  );
  expect(await honest.call('who', null)).toBe('north');
  expect(rig.server.connected()).toEqual(['north']);
  socket.disconnect();
});
