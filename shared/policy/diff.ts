/** Where two policies differ, setting by setting, for people and for machines. */
import type { DeepReadonly } from './freeze.ts';
import type { Policy } from './schema.ts';
import { groupOf, PROTECTS, type SettingGroup, settingOf } from './settings.ts';

/** One value that is not the same. `undefined` where a policy does not have it. */
export interface Difference {
  readonly path: string;
  readonly before: unknown;
  readonly after: unknown;
  readonly group: SettingGroup | null;
  /** What the change by itself does to a patient's protection; null where it has no direction of its own. */
  readonly protects: 'more' | 'less' | null;
  /** The reason that the second policy gives for its value. */
  readonly why: string | null;
}

/**
 * Everything in which `after` is not `before`, in the order of the paths. Reasons that changed come last: they change no
 * value, though they change the hash.
 */
export function differencesOf(before: DeepReadonly<Policy>, after: DeepReadonly<Policy>): Difference[] {
  const [a, b] = [valuesOf(before), valuesOf(after)];
  const paths = [...new Set([...a.keys(), ...b.keys()])].sort();
  const changed = paths.filter((path) => JSON.stringify(a.get(path)) !== JSON.stringify(b.get(path)));
  const found = changed.map((path): Difference => {
    const [was, is] = [a.get(path), b.get(path)];
    const why = after.why[path] ?? null;
    return { path, before: was, after: is, group: groupOf(path), protects: directionOf(path, was, is), why };
  });
  const reasons = found.filter((d) => d.group === 'label');
  return [...found.filter((d) => d.group !== 'label'), ...reasons];
}

function directionOf(path: string, before: unknown, after: unknown): Difference['protects'] {
  const towards = PROTECTS[settingOf(path)];
  if (towards === undefined || typeof before !== 'number' || typeof after !== 'number') return null;
  return after > before === (towards === 'more') ? 'more' : 'less';
}

/** Every value under its path; a list of plain values is one value. */
function valuesOf(policy: DeepReadonly<Policy>): Map<string, unknown> {
  const values = new Map<string, unknown>();
  const walk = (value: unknown, at: string): void => {
    if (value === undefined) return;
    const isTree = typeof value === 'object' && value !== null;
    if (!isTree || (Array.isArray(value) && value.every((v) => typeof v !== 'object'))) values.set(at, value);
    // A reason's key is a path itself: its dots are not ours.
    else if (Array.isArray(value)) value.forEach((v, i) => walk(v, `${at}[${i}]`));
    else for (const [key, child] of Object.entries(value)) walk(child, at === '' ? key : `${at}.${key}`);
  };
  walk(policy, '');
  return values;
}
