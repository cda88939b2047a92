/**
 * Ends something at the n-th durable operation: before it, or after it and before anybody hears of it. Every operation
 * counts twice, so every gap between two of them is a place to die.
 */
export class CrashPoint {
  #passed = 0;
  readonly #at: number | null;
  readonly #die: (where: string) => void;

  /** @param at - 1 for the first; null never. */
  constructor(at: number | null, die: (where: string) => void) {
    this.#at = at;
    this.#die = die;
  }
  get passed(): number {
    return this.#passed;
  }
  pass(where: string): void {
    this.#passed += 1;
    if (this.#at !== null && this.#passed >= this.#at) this.#die(where);
  }

  /**
   * The same object, with a crash point before and after every method. An async one dies by rejecting, never by a throw:
   * a caller that starts two at once would be left with a promise nobody waits for, which no real one can do to it.
   */
  around<T extends object>(name: string, target: T): T {
    return new Proxy(target, {
      get: (object, key) => {
        const value: unknown = Reflect.get(object, key, object);
        if (typeof value !== 'function' || typeof key !== 'string') return value;
        return (...args: unknown[]) => {
          const before = () => {
            this.pass(`before ${name}.${key}`);
            return Reflect.apply(value, object, args) as unknown;
          };
          const after = (r: unknown) => {
            this.pass(`after ${name}.${key}`);
            return r;
          };
          if (value.constructor.name === 'AsyncFunction') return (async () => after(await before()))();
          const result = before();
          return result instanceof Promise ? result.then(after) : after(result);
        };
      },
    });
  }
}
