/** All that a site says and hears, as structured values: for tests that search it. */
import { bodyOf } from '../../shared/audit/jws-body.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';

/** The same link, whose calls and replies are kept. */
export const overheard = (inner: CoordinatorLink, keep: (what: unknown) => void): CoordinatorLink => ({
  onWake: (listener) => inner.onWake(listener),
  close: () => inner.close(),
  call: async (type, payload) => {
    keep({ [type]: payload });
    const reply = await inner.call(type, payload);
    keep({ [`${type} reply`]: reply });
    return reply;
  },
});

export interface Leaf {
  /** Names on the way, `[]` for every item of a list, `jws` for what a signed statement holds. */
  readonly path: string;
  readonly value: number | string | boolean | Uint8Array | null;
}

/** Every value in a structure, also in the statements and JSON texts that it carries. */
export function* leavesOf(value: unknown, path = ''): Generator<Leaf> {
  if (value instanceof Uint8Array) yield { path, value };
  else if (Array.isArray(value)) for (const item of value) yield* leavesOf(item, `${path}[]`);
  else if (typeof value === 'object' && value !== null)
    for (const [name, item] of Object.entries(value)) yield* leavesOf(item, path === '' ? name : `${path}.${name}`);
  else if (value !== undefined) {
    yield { path, value: value as string | number | boolean | null };
    if (typeof value !== 'string') return;
    const body = bodyOf(value);
    if (body !== null) yield* leavesOf(body, `${path}.jws`);
  }
}
