/** Every place in a policy where a value can stand, read off the schema itself: lists of settings are held to it. */
import { z } from 'zod';
import { SiteBounds } from './bounds.ts';
import { Policy } from './schema.ts';

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | boolean;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly oneOf?: readonly SchemaNode[];
}

/**
 * Dotted paths of all values, sorted, each once. `[]` stands for every entry of a list of objects, `*` for every name in
 * a record; a list of plain values is one setting.
 */
export function settingPaths(): string[] {
  return [...new Set(leavesOf(z.toJSONSchema(Policy) as SchemaNode, ''))].sort();
}

/** The same of a site's bounds, each behind `bounds.`. */
export function boundPaths(): string[] {
  return [...new Set(leavesOf(z.toJSONSchema(SiteBounds) as SchemaNode, 'bounds'))].sort();
}

function leavesOf(node: SchemaNode, at: string): string[] {
  const branches = node.anyOf ?? node.oneOf;
  if (branches !== undefined) return branches.flatMap((branch) => leavesOf(branch, at));
  if (node.properties !== undefined)
    return Object.entries(node.properties).flatMap(([key, child]) => leavesOf(child, at === '' ? key : `${at}.${key}`));
  if (typeof node.additionalProperties === 'object') return leavesOf(node.additionalProperties, `${at}.*`);
  const inner = node.items === undefined ? [] : leavesOf(node.items, `${at}[]`);
  return inner.length > 1 ? inner : [at];
}
