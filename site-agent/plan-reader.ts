import type { PublicSigningKey } from '../shared/identity/jwk.ts';
import { CONSORTIUM, verifyJson } from '../shared/identity/signed.ts';
import { deepFreeze } from '../shared/policy/freeze.ts';
import { RoundPlan } from '../shared/protocol/plan.ts';
import { PLAN_TYP } from '../shared/protocol/round-messages.ts';

/** Verifies and parses a plan. @throws {FedError} SIGNATURE_INVALID, MESSAGE_INVALID */
export type ReadPlan = (jws: string) => Promise<RoundPlan>;

/** Reads plans that this key has signed; the same bytes, which come with every phase, are read once. */
export function planReader(key: PublicSigningKey): ReadPlan {
  let last: { readonly jws: string; readonly plan: RoundPlan } | null = null;
  return async (jws) => {
    if (last?.jws === jws) return last.plan;
    const { body } = await verifyJson(jws, key, { typ: PLAN_TYP, audience: CONSORTIUM, schema: RoundPlan });
    deepFreeze(body);
    last = { jws, plan: body };
    return body;
  };
}
