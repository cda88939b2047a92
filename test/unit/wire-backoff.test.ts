import { expect, test } from 'vitest';
import { Strangers } from '../../coordinator/shell/strangers.ts';
import { secureBytes } from '../../shared/random.ts';
import { backoffMs } from '../../site-agent/shell/connection.ts';

test('the wait doubles up to the cap; half of it is drawn at random', () => {
  const least = (out: Uint8Array) => void out.fill(0);
  const most = (out: Uint8Array) => void out.fill(255);
  const b = { baseMs: 500, capMs: 30_000 };
  expect([0, 1, 2, 5, 6, 99].map((n) => backoffMs(n, b, least))).toEqual([250, 500, 1000, 8000, 15_000, 15_000]);
  expect([0, 1, 2, 5, 6, 99].map((n) => Math.round(backoffMs(n, b, most)))).toEqual([
    500, 1000, 2000, 16_000, 30_000, 30_000,
  ]);
  const drawn = new Set(Array.from({ length: 20 }, () => backoffMs(3, b, secureBytes)));
  expect(drawn.size).toBeGreaterThan(10);
});

test('strangers are counted in all and per address, and leave once', () => {
  const strangers = new Strangers(3, 2);
  strangers.enter('1', 'a');
  strangers.enter('2', 'a');
  expect([strangers.mayEnter('a'), strangers.mayEnter('b')]).toEqual([false, true]);
  strangers.enter('3', 'b');
  expect(strangers.mayEnter('c')).toBe(false);
  strangers.leave('1');
  strangers.leave('1');
  expect([strangers.mayEnter('a'), strangers.mayEnter('c')]).toEqual([true, true]);
});
