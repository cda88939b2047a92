import { expect, test, vi } from 'vitest';
import { Served } from '../../coordinator/core/served.ts';

test('work that waits begins once, when all who need a tensor have it', () => {
  const served = new Served();
  const begin = vi.fn();
  served.note('a', 'one');
  served.whenAll('one', ['a', 'b'], begin);
  served.note('b', 'two');
  expect(begin).not.toHaveBeenCalled();
  served.note('b', 'one');
  served.note('b', 'one');
  expect(begin).toHaveBeenCalledTimes(1);
});

test('it begins at once when they have it already; what is not wanted any more never begins', () => {
  const served = new Served();
  const [old, latest] = [vi.fn(), vi.fn()];
  served.whenAll('one', ['a'], old);
  served.note('a', 'two');
  served.whenAll('two', ['a'], latest);
  served.note('a', 'one');
  expect(latest).toHaveBeenCalledTimes(1);
  expect(old).not.toHaveBeenCalled();
});

test('it remembers few tensors', () => {
  const served = new Served();
  for (let i = 0; i < 6; i++) served.note('a', `tensor ${i}`);
  const [first, last] = [vi.fn(), vi.fn()];
  served.whenAll('tensor 0', ['a'], first);
  expect(first).not.toHaveBeenCalled();
  served.whenAll('tensor 5', ['a'], last);
  expect(last).toHaveBeenCalledTimes(1);
});
