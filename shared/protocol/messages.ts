import { z } from 'zod';
import { ERRORS, type ErrorCode, FedError } from '../errors.ts';
import type { Reply } from './link.ts';
import { Sha256Hex } from './plan.ts';

/** Largest chunk of a transfer, in bytes. */
export const MAX_CHUNK_BYTES = 256 * 1024;
/** Largest message, in bytes; the server's `maxHttpBufferSize`. What is larger travels as a tensor, in chunks. */
export const MAX_MESSAGE_BYTES = MAX_CHUNK_BYTES + 64 * 1024;
/** Pieces of a tensor that may come along with what names it: as many as a site has under way when it asks for them. */
export const MAX_PIECES_ALONG = 4;
/** Largest tensor the protocol can name, in bytes: 4 GiB. What a round allows is far less. */
export const MAX_TENSOR_BYTES = 2 ** 32;

/** Site to coordinator: "I have these bytes; how many of them do you hold already?" */
export const TensorOffer = z.strictObject({
  sha256: Sha256Hex,
  bytes: z.int().min(1).max(MAX_TENSOR_BYTES),
  /** What the tensor is for, such as a run, round and phase: the coordinator decides by it whether and how much to take. */
  purpose: z.string().min(1).max(200),
});
export type TensorOffer = z.infer<typeof TensorOffer>;

export const Bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'not a byte string');

export const TensorChunk = z.strictObject({
  sha256: Sha256Hex,
  offset: z.int().min(0).max(MAX_TENSOR_BYTES),
  chunkSha256: Sha256Hex,
  data: Bytes.refine((b) => b.length >= 1 && b.length <= MAX_CHUNK_BYTES, `a chunk has 1 to ${MAX_CHUNK_BYTES} bytes`),
});
export type TensorChunk = z.infer<typeof TensorChunk>;

/** The answer to an offer and to a chunk. */
export const TensorHave = z.strictObject({
  /** Bytes held from the start, without a gap. Equal to the tensor's size only when its hash has been checked. */
  have: z.int().min(0).max(MAX_TENSOR_BYTES),
  /** Bytes the site may have under way unacknowledged, from now on. */
  credit: z.int().min(1).max(MAX_TENSOR_BYTES),
});
export type TensorHave = z.infer<typeof TensorHave>;

export const TensorGet = z.strictObject({
  sha256: Sha256Hex,
  offset: z.int().min(0).max(MAX_TENSOR_BYTES),
  length: z.int().min(1).max(MAX_CHUNK_BYTES),
});
export type TensorGet = z.infer<typeof TensorGet>;

export const TensorPart = z.strictObject({
  /** Size of the whole tensor. */
  bytes: z.int().min(0).max(MAX_TENSOR_BYTES),
  chunkSha256: Sha256Hex,
  data: Bytes.refine((b) => b.length <= MAX_CHUNK_BYTES, 'part is too long'),
});
export type TensorPart = z.infer<typeof TensorPart>;

/** The name of a request, such as `tensor.offer`. */
export const CallType = z
  .string()
  .regex(/^[a-z][a-z-]*(\.[a-z][a-z-]*)*$/)
  .max(64);

const ReplyOnTheWire = z.union([
  z.strictObject({ ok: z.literal(true), body: z.unknown().optional() }),
  z.strictObject({ ok: z.literal(false), code: z.string(), say: z.string(), retry: z.enum(['never', 'next-round']) }),
]);

/**
 * Parses a payload that came from the other side.
 * @throws {FedError} MESSAGE_INVALID, with zod's account of what is wrong and where.
 */
export function parseMessage<T>(schema: z.ZodType<T>, payload: unknown): T {
  const { data, error } = schema.safeParse(payload);
  if (error) throw new FedError('MESSAGE_INVALID', z.prettifyError(error));
  return data;
}

/**
 * Turns a reply into its body; no body is null.
 * @throws {FedError} the code of a refusal; INTERNAL for a code this version does not know; MESSAGE_INVALID for no reply at all.
 */
export function openReply(reply: unknown): unknown {
  const parsed = parseMessage(ReplyOnTheWire, reply);
  if (parsed.ok) return parsed.body ?? null;
  const code = Object.hasOwn(ERRORS, parsed.code) ? (parsed.code as ErrorCode) : 'INTERNAL';
  throw new FedError(code, `the coordinator says: ${parsed.say.slice(0, 200)}`);
}

/** A refusal as it crosses the wire. What is not a `FedError` is a bug, and its text stays here. */
export function refusal(error: unknown): Reply {
  const refused = error instanceof FedError ? error : new FedError('INTERNAL', 'unexpected', { cause: error });
  return { ok: false, ...refused.toPublic() };
}
