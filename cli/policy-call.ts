/**
 * How a site comes by the policy when it joins: it asks for the text, over the connection on which the coordinator has
 * proved its key, and keeps the copy. Every plan carries the policy's hash, so a coordinator that later means another
 * policy is refused by the site; an operator who was handed the file beforehand compares it with `--policy`.
 */
import { z } from 'zod';
import { FedError } from '../shared/errors.ts';
import { type CheckedPolicy, loadPolicyText, policySha256 } from '../shared/policy/load.ts';
import type { CoordinatorLink, RequestHandler } from '../shared/protocol/link.ts';
import { parseMessage } from '../shared/protocol/messages.ts';
import { Sha256Hex } from '../shared/protocol/plan.ts';
import { loadOptions } from './options.ts';

const CALL = 'policy.get';
/** A policy is a page or two of text; it has to fit one message. */
const MAX_POLICY_CHARS = 128 * 1024;
const PolicyText = z.strictObject({ sha256: Sha256Hex, text: z.string().min(2).max(MAX_POLICY_CHARS) });

/** Puts `policy.get` {} -> {sha256, text} before a handler. */
export function withPolicy(text: string, policy: CheckedPolicy, handler: RequestHandler): RequestHandler {
  const body = { sha256: policySha256(policy), text };
  return {
    async handle(siteId, type, payload) {
      if (type !== CALL) return handler.handle(siteId, type, payload);
      parseMessage(z.strictObject({}), payload);
      return { ok: true, body };
    },
    onWake: (listener) => handler.onWake(listener),
  };
}

/**
 * Asks for the policy.
 * @throws {FedError} POLICY_INVALID when it does not pass our own checks; POLICY_MISMATCH when it is not what it is called.
 */
export async function fetchPolicy(link: CoordinatorLink): Promise<{ text: string; policy: CheckedPolicy }> {
  const { sha256, text } = parseMessage(PolicyText, await link.call(CALL, {}));
  const policy = loadPolicyText(text, loadOptions);
  if (policySha256(policy) !== sha256)
    throw new FedError('POLICY_MISMATCH', `the coordinator calls its policy ${sha256}; it is ${policySha256(policy)}`);
  return { text, policy };
}
