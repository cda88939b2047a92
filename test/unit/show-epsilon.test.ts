import { expect, test } from 'vitest';
import { sayEpsilon, showEpsilon, showRemaining } from '../../shared/dp/show-epsilon.ts';

test('what was spent is rounded upwards, what is left downwards, and what needs no rounding stays', () => {
  expect([6.84, 6.841, 6.8400001, 0, 7].map((x) => showEpsilon(x))).toEqual(['6.84', '6.85', '6.85', '0.00', '7.00']);
  expect(showEpsilon(2.99951, 3)).toBe('3.000');
  expect([6.84, 6.849, 0.009].map(showRemaining)).toEqual(['6.84', '6.84', '0.00']);
  expect([showEpsilon(null), showEpsilon(Infinity), showRemaining(null)]).toEqual(['infinite', 'infinite', 'infinite']);
});

test('in a sentence three digits count, and none of them says less', () => {
  expect([7.2251, 24.71, 0.69401, 118.2, 7, 0.0142].map(sayEpsilon)).toEqual([
    '7.23',
    '24.8',
    '0.695',
    '119',
    '7',
    '0.0142',
  ]);
  expect([0, Infinity].map(sayEpsilon)).toEqual(['0', 'infinite']);
  for (let i = 1; i < 2000; i++) expect(Number(sayEpsilon(i * 0.0137))).toBeGreaterThanOrEqual(i * 0.0137 - 1e-9);
});
