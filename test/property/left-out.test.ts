/** A commitment to a list of patients left out: nothing is seen without the salt, and it opens to one list. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hashJson } from '../../shared/audit/canonical.ts';
import type { ChainHead } from '../../shared/audit/chain.ts';
import {
  commitLeftOut,
  LEFT_OUT_KEY_BYTES,
  LEFT_OUT_NONCE_BYTES,
  type LeftOutContext,
  leftOutSalt,
  opensTo,
} from '../../shared/audit/left-out.ts';

const bytes = (n: number) => fc.uint8Array({ minLength: n, maxLength: n });
const chain = fc.record({ size: fc.nat(40), head: bytes(32).map((b) => Buffer.from(b).toString('hex')) });
const context = fc.record({ siteId: fc.constantFrom('north', 'south'), runId: fc.uuid(), ledger: chain });
const differ = (a: unknown, b: unknown) => JSON.stringify(a) !== JSON.stringify(b);

test('opens with the site’s salt to the list it was made of, in its own statement, and to nothing else', () => {
  const part = fc.tuple(bytes(LEFT_OUT_KEY_BYTES), context, chain);
  fc.assert(
    fc.property(
      part,
      part,
      bytes(LEFT_OUT_NONCE_BYTES),
      ([key, where, list], [otherKey, elsewhere, another], nonce) => {
        const c = commitLeftOut(key, nonce, where, list);
        const salt = leftOutSalt(key, c.nonce);
        expect(opensTo(c, where, { salt, list })).toBe(true);
        if (differ(list, another)) expect(opensTo(c, where, { salt, list: another })).toBe(false);
        if (differ(where, elsewhere)) expect(opensTo(c, elsewhere, { salt, list })).toBe(false);
        if (differ(key, otherKey))
          expect(opensTo(c, where, { salt: leftOutSalt(otherKey, c.nonce), list })).toBe(false);
      },
    ),
    { numRuns: 200 },
  );
});

/** Whoever guesses lists and has no key: which of the guesses the hash agrees with. */
const guessed = (sha256: string, where: LeftOutContext, nonce: string, guesses: readonly ChainHead[]): number =>
  guesses.findIndex((list) =>
    ['', nonce, '0'.repeat(64)].some(
      (salt) => hashJson({ what: 'veilgan-left-out-v1', ...where, nonce, salt, list }) === sha256,
    ),
  );

test('who guesses the list finds nothing without the key; positive control: without a salt, the list is found', () => {
  const where = {
    siteId: 'north',
    runId: '6f9b2c1e-3c55-4e0f-9a53-0d5e7a1f2b3c',
    ledger: { size: 3, head: 'a'.repeat(64) },
  };
  const lists = Array.from({ length: 50 }, (_, size) => ({ size, head: hashJson({ size }) }));
  const [key, nonce] = [new Uint8Array(LEFT_OUT_KEY_BYTES).fill(7), new Uint8Array(LEFT_OUT_NONCE_BYTES).fill(1)];
  const c = commitLeftOut(key, nonce, where, lists[31]);
  expect(guessed(c.sha256, where, c.nonce, lists)).toBe(-1);
  const bare = hashJson({ what: 'veilgan-left-out-v1', ...where, nonce: c.nonce, salt: '', list: lists[31] });
  expect(guessed(bare, where, c.nonce, lists)).toBe(31);
});
