import { readdirSync, readFileSync } from 'node:fs';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { epsilonOfPolicy } from '../../shared/policy/cost.ts';
import { loadProfile } from '../../shared/policy/profile.ts';
import type { Policy } from '../../shared/policy/schema.ts';
import { boundPaths, settingPaths } from '../../shared/policy/setting-paths.ts';
import { groupOf, PROTECTS, SETTINGS, settingOf } from '../../shared/policy/settings.ts';
import { testGate } from '../support/gate-rig.ts';

/** What decides a claim is in the policy, and nothing that decides speed is. */
const root = join(import.meta.dirname, '../..');
const policyOf = (name: string): Tree =>
  JSON.parse(readFileSync(join(root, 'policies', `${name}.json`), 'utf8')) as Tree;
interface Tree {
  [key: string]: unknown;
}
const listed = Object.values(SETTINGS).flat();

test('every setting of the schema is in one group, and every one in a group is in the schema', () => {
  expect([...listed].sort()).toEqual(settingPaths());
  expect(new Set(listed).size).toBe(listed.length);
  for (const path of Object.keys(PROTECTS)) expect(listed).toContain(path);
});

/** A policy in which every setting that moves epsilon is there: moments, a critic, a site of its own. */
function richPolicy(placement: 'local' | 'pooled', sites = true): Tree {
  const policy = policyOf('research-consortium');
  const block = { on: 'maps', bandwidth: 1, frequencies: 10, weight: 1 };
  const critic = {
    rounds: 1,
    width: 4,
    seed: 's',
    blocks: [block],
    steps: 5,
    batch: 5,
    lr: 0.1,
    fitSteps: 5,
  };
  Object.assign(policy['warmStart'] as Tree, { critic });
  delete (policy['warmStart'] as Tree)['maxReleases'];
  if (sites) policy['sites'] = { a: { classes: ['hand'], sampleRate: 0.08, expectedBatch: 512, maxBatch: 660 } };
  policy['log'] = { witnessQuorum: 0 };
  policy['release'] = { maxImages: 100, gate: structuredClone(testGate) };
  if (placement === 'local') return policy;
  const pooled = { stepsPerClip: 256, coordinates: 70_000, maxDropouts: 0, maxColluders: 1, generatorSteps: 1 };
  return Object.assign(policy, { placement, pooled });
}

/** Another value of the same kind, wherever a number, a word or a switch can be changed. */
function another(path: string, value: unknown): unknown {
  if (path === 'privacy.mechanism') return 'none-insecure';
  if (path === 'placement') return null;
  if (path === 'warmStart.kind') return null;
  if (typeof value === 'number') return Number.isInteger(value) ? value + 1 : value * 0.9;
  if (typeof value === 'string') return `${value}-`;
  return undefined;
}

const costOf = (policy: Tree): string => {
  const { epsilon, delta, overflowDelta } = epsilonOfPolicy(policy as unknown as Policy);
  return JSON.stringify([String(epsilon), delta, overflowDelta]);
};

/** Settings whose change moves what a policy spends. */
function movers(placement: 'local' | 'pooled', sites = true): { moves: Set<string>; tried: Set<string> } {
  const [moves, tried] = [new Set<string>(), new Set<string>()];
  const base = costOf(richPolicy(placement, sites));
  const walk = (at: string, keys: string[], value: unknown): void => {
    if (typeof value === 'object' && value !== null) {
      for (const [key, child] of Object.entries(value)) walk(at === '' ? key : `${at}.${key}`, [...keys, key], child);
      return;
    }
    const setting = settingOf(at.replaceAll(/\.(\d+)(?=\.|$)/g, '[$1]'));
    const other = another(setting, value);
    if (other === undefined || other === null) return;
    const changed = richPolicy(placement, sites);
    const parent = keys.slice(0, -1).reduce<Tree>((tree, key) => tree[key] as Tree, changed);
    parent[keys.at(-1)!] = other;
    tried.add(setting);
    if (costOf(changed) !== base) moves.add(setting);
  };
  walk('', [], richPolicy(placement, sites));
  return { moves, tried };
}

describe.each(['local', 'pooled'] as const)('what epsilon is worked out from: %s', (placement) => {
  const { moves, tried } = movers(placement);
  test('nothing outside the group moves it', () => {
    expect([...moves].filter((path) => groupOf(path) !== 'epsilon')).toEqual([]);
    expect(tried.size).toBeGreaterThan(50);
  });
});

test('everything in the group moves it, at one placement at least', () => {
  // A site's own numbers count where they are the worst, the policy's own where no site is named.
  const moves = new Set([true, false].flatMap((s) => [...movers('local', s).moves, ...movers('pooled', s).moves]));
  const base = costOf(richPolicy('local'));
  expect(costOf(richPolicy('pooled'))).not.toBe(base);
  expect(costOf({ ...richPolicy('local'), warmStart: { kind: 'none' } })).not.toBe(base);
  const more = richPolicy('local');
  Object.assign(more['warmStart'] as Tree, { maxReleases: 9 });
  expect(costOf(more)).not.toBe(base);
  const shown = new Set([...moves, 'placement', 'warmStart.kind', 'warmStart.maxReleases']);
  expect([...SETTINGS.epsilon].filter((path) => !shown.has(path))).toEqual([]);
});

/** Every flag of every command, and what it may decide. A new one has to be put here, by somebody who thought about it. */
const FLAGS = {
  speed: ['--engine', '--threads'],
  place: [
    ...[
      '--bounds',
      '--data',
      '--dir',
      '--generator',
      '--host',
      '--invite',
      '--labels',
      '--linger',
      '--out',
      '--policy',
    ],
    ...[
      '--port',
      '--public',
      '--split',
      '--test',
      '--test-split',
      '--tls-cert',
      '--tls-key',
      '--tls-trusted',
      '--train',
    ],
    ...['--url'],
  ],
  identity: ['--hours', '--key', '--lost', '--site', '--tls'],
  /** How a site's files become images: before anything private is computed, and the same for every patient. */
  reading: ['--burned-in', '--every-pixel', '--label-tag', '--no-cache', '--patient-folders', '--per-file', '--plane'],
  /** Who signs a release: the policy says who may. */
  signing: ['--name', '--print', '--statement'],
  people: ['--json', '--profile', '--on-bad-file'],
  /** A patient's own decision, carried out: fewer patients, never more. */
  withdrawal: ['--issuer', '--reason', '--undo'],
  /** A site's own bound and record, which can only stop. */
  bound: ['--delta', '--ledger', '--lifetime'],
  /** What is kept and shown of sums and log, which are noised and public. */
  record: ['--keep-sums', '--log', '--serve-log'],
  /** May only ask for less than the policy lets leave. */
  less: ['--images'],
} as const;

async function commandLine(): Promise<Command> {
  const program = new Command('veilgan');
  for (const file of globSync('cli/commands/*.ts', { cwd: root })) {
    const module = (await import(join(root, file))) as Record<string, unknown>;
    for (const [name, add] of Object.entries(module))
      if (/^add[A-Z]\w*$/.test(name)) (add as (program: Command) => void)(program);
  }
  return program;
}

test('no flag of a command that touches private data or drives a run has a place in a policy', async () => {
  const program = await commandLine();
  const settings = new Set(listed.map((path) => path.split('.').at(-1)!.toLowerCase()));
  const used = new Set<string>();
  for (const group of program.commands.filter((c) => ['site', 'coordinator', 'policy'].includes(c.name())))
    for (const command of group.commands)
      for (const { long } of command.options) if (long !== undefined && long !== null) used.add(long);
  const known = new Set<string>(Object.values(FLAGS).flat());
  expect([...used].filter((flag) => !known.has(flag))).toEqual([]);
  for (const flag of FLAGS.speed) {
    const word = flag.slice(2).replaceAll('-', '');
    expect([...settings].filter((name) => name.includes(word))).toEqual([]);
  }
});

describe('profiles', () => {
  const folder = join(root, 'policies/profiles');
  const texts = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'));
  test('name settings that exist, and claim nothing', () => {
    const profiles = texts.map(loadProfile);
    expect(profiles.map((p) => p.id).sort()).toEqual(['gdpr', 'hipaa']);
    for (const { claimsCompliance, scope } of profiles)
      expect([claimsCompliance, scope]).toEqual([false, expect.stringMatching(/claims no compliance/)]);
    for (const text of texts)
      expect(text).not.toMatch(/\b(is|are|be|fully) compliant\b|complies with|guarantees compliance/i);
  });
  test('cover the provisions that the README names', () => {
    const all = texts.join('\n');
    for (const provision of [
      '164.514(b)(1)',
      '164.312(b)',
      'Article 5',
      'Article 25',
      'Article 30',
      'Article 32',
      'Article 35',
      'Recital 26',
    ])
      expect(all).toContain(provision);
  });
  test('name commands that exist', async () => {
    const program = await commandLine();
    const known = program.commands.flatMap((g) => g.commands.map((c) => `veilgan ${g.name()} ${c.name()}`));
    const named = texts.flatMap((text) => loadProfile(text).entries.flatMap((e) => e.evidence));
    expect(named.filter((command) => !known.includes(command))).toEqual([]);
  });
  test('every setting that decides epsilon, and every bound, serves some provision or is named here as not', () => {
    const mapped = new Set(texts.flatMap((text) => loadProfile(text).entries.flatMap((e) => e.settings)));
    const unmapped = [...SETTINGS.epsilon].filter((path) => !mapped.has(path));
    expect(unmapped).toEqual([
      'pooled.coordinates',
      'pooled.stepsPerClip',
      'sites.*.expectedBatch',
      'sites.*.maxBatch',
      'sites.*.sampleRate',
      'warmStart.critic.rounds',
      'warmStart.kind',
    ]);
    expect(boundPaths().length).toBeGreaterThan(8);
  });
  test('positive control: a setting that is not there is refused', () => {
    expect(() => loadProfile(texts[0].replace('"privacy.mechanism"', '"privacy.mechanics"'))).toThrow(
      /there is no setting privacy.mechanics/,
    );
    expect(() => loadProfile(texts[0].replace('"claimsCompliance": false', '"claimsCompliance": true'))).toThrow();
  });
});
