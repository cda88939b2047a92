import { expect, test } from 'vitest';
import { showEpsilon, showRemaining } from '../../cli/output.ts';

test('what was spent is rounded upwards, what is left downwards, and what needs no rounding stays', () => {
  expect([6.84, 6.841, 6.8400001, 0, 7].map((x) => showEpsilon(x))).toEqual(['6.84', '6.85', '6.85', '0.00', '7.00']);
  expect(showEpsilon(2.99951, 3)).toBe('3.000');
  expect([6.84, 6.849, 0.009].map(showRemaining)).toEqual(['6.84', '6.84', '0.00']);
  expect([showEpsilon(null), showEpsilon(Infinity), showRemaining(null)]).toEqual(['infinite', 'infinite', 'infinite']);
});
