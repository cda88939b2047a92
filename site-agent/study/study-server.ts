/**
 * The page of a reader study and what it asks for. A reader's link carries a secret; every request shows it in its Authorization
 * header, so that no cookie and no other page can speak for the reader.
 *
 * Guarantee: answers about one picture and about another differ in the pixels alone. Status, headers, number of bytes and
 * address are the same for real and synthetic ones, and a picture is named by its place in the reader's own order.
 *
 * It is no server for the open Internet, and nobody has audited it.
 */
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import { type ErrorCode, FedError } from '../../shared/errors.ts';
import { type Answers, assertFits } from './answer-store.ts';
import { Answer, type Item, orderFor, readerOf, settleAnswer, type Study } from './study.ts';

/** Files of the page, all there are. */
const PAGE = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/study.css': ['study.css', 'text/css; charset=utf-8'],
  '/study.js': ['study.js', 'text/javascript; charset=utf-8'],
  '/drawing.js': ['drawing.js', 'text/javascript; charset=utf-8'],
} as const;

/** On every reply. Nothing is kept by a browser, nothing is loaded from elsewhere, nobody frames the page. */
const HEADERS = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
} as const;

const STATUS: Partial<Record<ErrorCode, number>> = {
  NOT_AUTHENTICATED: 401,
  MESSAGE_INVALID: 400,
  ANSWER_CHANGED: 409,
};
const MAX_BODY_BYTES = 4096;

const AnswerMessage = z.strictObject({ position: z.int().min(0), answer: Answer });

export interface StudyServing {
  readonly study: Study;
  /** PNG files by item, all of one size. */
  readonly pictures: ReadonlyMap<string, Uint8Array>;
  readonly answers: Answers;
  /** Where the page's files lie. */
  readonly pageFolder: string;
  readonly nowMs: () => number;
  /** On loopback: names other than this machine's own are refused, as a page elsewhere might be rebound to it. */
  readonly isLoopback: boolean;
  /** Told of every new answer. */
  readonly onAnswer?: (reader: string, answered: number, of: number) => void;
  /** Told of failures that are no refusals. */
  readonly onFault?: (error: unknown) => void;
}

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: Uint8Array | string;
}
const json = (status: number, value: unknown): Reply => ({
  status,
  type: 'application/json',
  body: JSON.stringify(value),
});

/** Everything the page can ask for, as a listener for a server of Node's. */
export function studyListener(s: StudyServing): RequestListener {
  const page = new Map<string, Reply>(
    Object.entries(PAGE).map(([path, [file, type]]) => [path, { status: 200, type, body: readFileSync(join(s.pageFolder, file)) }]), // prettier-ignore
  );
  const orders = new Map(s.study.readers.map((reader) => [reader, orderFor(s.study, reader)]));
  for (const [reader, order] of orders) assertFits(s.answers.of(reader), order);

  const answerTo = async (request: IncomingMessage): Promise<Reply> => {
    const path = (request.url ?? '').split('?')[0];
    if (s.isLoopback && !namesThisMachine(request.headers.host)) return json(421, { say: 'Ask for 127.0.0.1.' });
    if (request.method === 'GET' && page.has(path)) return page.get(path)!;
    const reader = readerOf(s.study, /^Bearer ([\w-]{1,100})$/.exec(request.headers.authorization ?? '')?.[1] ?? '');
    if (reader === undefined) throw new FedError('NOT_AUTHENTICATED', 'no reader has this token');
    const order = orders.get(reader)!;
    if (request.method === 'GET' && path === '/api/study') return json(200, readerView(s, reader, order));
    const picture = /^\/api\/picture\/(\d{1,9})$/.exec(path);
    if (request.method === 'GET' && picture) return pictureAt(s, reader, order, Number(picture[1]));
    if (request.method === 'POST' && path === '/api/answer') return takeAnswer(s, reader, order, await bodyOf(request));
    return json(404, { say: 'There is nothing here.' });
  };

  return (request, response) =>
    void answerTo(request)
      .catch((error: unknown) => refusal(error, s))
      .then((reply) => send(response, reply));
}

/** What a reader is told of the study: nothing about any one picture that was not practised on. */
function readerView({ study, answers }: StudyServing, reader: string, order: readonly Item[]) {
  const { questions, classes } = study;
  const practice = order.filter((item) => item.practice).length;
  const answered = answers.of(reader).length;
  return { reader, questions, classes, size: study.size, answered, practice, of: order.length };
}

/** The picture that is asked about, or the one after it, which a page may fetch early. Never one that was answered. */
function pictureAt(
  { pictures, answers }: StudyServing,
  reader: string,
  order: readonly Item[],
  position: number,
): Reply {
  // prettier-ignore
  const answered = answers.of(reader).length;
  if (position < answered || position > answered + 1 || position >= order.length)
    throw new FedError('MESSAGE_INVALID', `picture ${position} is not the next, ${answered}`);
  return { status: 200, type: 'image/png', body: pictures.get(order[position].id)! };
}

function takeAnswer(s: StudyServing, reader: string, order: readonly Item[], body: unknown): Reply {
  const { data, error } = AnswerMessage.safeParse(body);
  if (data === undefined) throw new FedError('MESSAGE_INVALID', z.prettifyError(error));
  const { position, answer } = data;
  const kept = s.answers.of(reader);
  const isNew = settleAnswer(s.study, kept.map((k) => k.answer), position, answer) === 'new'; // prettier-ignore
  const item = order[position];
  // Durable first: only what is on the disk is acknowledged.
  if (isNew) s.answers.keep({ reader, position, item: item.id, timeMs: s.nowMs(), answer });
  if (isNew) s.onAnswer?.(reader, s.answers.of(reader).length, order.length);
  return json(200, { kept: position, ...(item.practice ? { truth: { kind: item.kind, label: item.label } } : {}) });
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_BODY_BYTES) throw new FedError('MESSAGE_INVALID', `more than ${MAX_BODY_BYTES} bytes`);
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8'));
  } catch {
    throw new FedError('MESSAGE_INVALID', 'it is not JSON');
  }
}

function refusal(error: unknown, s: StudyServing): Reply {
  if (error instanceof FedError && STATUS[error.code] !== undefined)
    return json(STATUS[error.code]!, { code: error.code, say: error.toPublic().say });
  s.onFault?.(error);
  return json(500, { code: 'INTERNAL', say: 'The server failed; its operator can see why.' });
}

function send(response: ServerResponse, { status, type, body }: Reply): void {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  response.writeHead(status, { ...HEADERS, 'Content-Type': type, 'Content-Length': bytes.length });
  response.end(bytes);
}

/** Whether a Host header means this machine, whatever the port: it may have been forwarded. */
const namesThisMachine = (host = ''): boolean => /^(127(\.\d+){3}|localhost|\[::1\])(:\d+)?$/.test(host);

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** PEM. Without it, HTTP. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** @throws {FedError} PARAMETER_INVALID when it cannot listen there, or the certificate does not do. */
export async function listenStudy(
  listener: RequestListener,
  { host, port, tls }: ListenOptions,
): Promise<AsyncDisposable & { readonly port: number }> {
  const server = tls === undefined ? createServer(listener) : secure(tls, listener);
  await new Promise<void>((resolve, reject) => {
    server.once(
      'error',
      (error: NodeJS.ErrnoException) =>
      reject(new FedError('PARAMETER_INVALID', `cannot listen on ${host} port ${port} (${error.code ?? error.message})`, { cause: error })), // prettier-ignore
    );
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function secure(tls: { cert: string; key: string }, listener: RequestListener) {
  try {
    return createTlsServer({ ...tls, minVersion: 'TLSv1.3' }, listener);
  } catch (error) {
    throw new FedError('PARAMETER_INVALID', 'the certificate and key cannot be used', { cause: error });
  }
}
