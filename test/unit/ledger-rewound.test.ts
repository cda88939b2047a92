import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Chain, EMPTY_CHAIN } from '../../shared/audit/chain.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { ledgerRewound } from '../../site-agent/core/ledger-rewound.ts';

/** A chain of `size` entries; histories with different names part where they are told to. */
const hash = (index: number, partsAt = Infinity, name = ''): string =>
  sha256Hex(`entry ${index}${index >= partsAt ? name : ''}`);
const chain = (size: number, partsAt?: number, name?: string): Chain => ({
  size,
  hashAt: (index) => (index >= 0 && index < size ? hash(index, partsAt, name) : null),
});
const headOf = (size: number) => (size === 0 ? EMPTY_CHAIN : { size, head: hash(size - 1) });
const size = fc.integer({ min: 0, max: 50 });

describe('what a site stated of its ledger', () => {
  test('is in the same ledger, however it has grown', () => {
    fc.assert(fc.property(size, size, (stated, more) => ledgerRewound(headOf(stated), chain(stated + more)) === null));
  });

  test('is missing from every older copy', () => {
    fc.assert(
      fc.property(size, fc.integer({ min: 1, max: 50 }), (kept, lost) => {
        const sentence = ledgerRewound(headOf(kept + lost), chain(kept));
        return sentence !== null && sentence.includes(`${kept + lost}`) && sentence.includes(`${kept}`);
      }),
    );
  });

  test('is missing from an older copy that has grown since, to any length', () => {
    fc.assert(
      fc.property(size, fc.integer({ min: 1, max: 20 }), size, (kept, lost, since) => {
        const other = chain(kept + since, kept, ' after the copy was put back');
        return ledgerRewound(headOf(kept + lost), other) !== null;
      }),
    );
  });

  test('positive control: comparing lengths alone would miss that', () => {
    const byLength = (stated: { size: number }, ledger: Chain) => ledger.size < stated.size;
    const grown = chain(12, 8, ' after the copy was put back');
    expect(byLength(headOf(10), grown)).toBe(false);
    expect(ledgerRewound(headOf(10), grown)).toMatch(/^entry 9 of the ledger is [0-9a-f]{64}/);
  });

  test('nothing stated, nothing missing; and an empty ledger that names another beginning is none of ours', () => {
    expect(ledgerRewound(EMPTY_CHAIN, chain(3))).toBeNull();
    expect(ledgerRewound({ size: 0, head: 'a'.repeat(64) }, chain(0))).not.toBeNull();
  });
});
