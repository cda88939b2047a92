import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { beforeAll, describe, expect, test } from 'vitest';
import { EXIT, exitCodeOf } from '../../cli/exit-codes.ts';
import { ERRORS, type ErrorCode, FedError } from '../../shared/errors.ts';

/** What the files for people name must be there: paths, scripts, commands, flags, codes. */
const root = join(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const DOCS = [
  'README.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'policies/README.md',
  ...globSync('docs/*.md', { cwd: root }),
];
const { include } = JSON.parse(read('tsconfig.json')) as { include: string[] };
/** The project's own folders at the root. */
const FOLDERS = [...include.filter((entry) => !entry.includes('*')), 'policies', 'docs'];

/** Spans between backticks, and the lines of fenced blocks with continued lines joined. */
function codeOf(text: string): string[] {
  const blocks: string[] = [];
  const prose = text.replaceAll(/^ *```[^\n]*\n([\s\S]*?)^ *```/gm, (_, block: string) => {
    blocks.push(...block.replaceAll('\\\n', ' ').split('\n'));
    return '';
  });
  const spans = Array.from(prose.matchAll(/`([^`]+)`/g), ([, span]) => span.replaceAll(/\s+/g, ' '));
  return [...spans, ...blocks.map((line) => line.replace(/\s#.*/, '').trim())];
}

/** Paths of the repository that a code span is, or that a command in it names. */
function missingPaths(text: string): string[] {
  const words = codeOf(text).flatMap((code) => code.split(' '));
  const isPath = (word: string) => {
    const [first, ...rest] = word.split('/');
    return rest.length > 0 && FOLDERS.includes(first);
  };
  return words.filter((word) => isPath(word) && globSync(word, { cwd: root }).length === 0);
}

/** Entries of a drawn tree, two spaces a level under a folder at the margin, that are not there. */
function missingInTree(tree: string): string[] {
  let top = '';
  return Array.from(tree.matchAll(/^( *)(\S+)/gm), ([, indent, name]) => {
    if (indent === '') top = name;
    return indent === '' ? name : join(top, name);
  }).filter((path) => !existsSync(join(root, path)));
}

/** Links to files, relative to the file they are in; pictures are made by a run and may come later. */
function brokenLinks(file: string, text: string): string[] {
  return Array.from(text.matchAll(/(?<!!)\[[^\]]*\]\(([^)\s]+)\)/g), ([, target]) => target)
    .filter((target) => !/^https?:/.test(target) && !target.startsWith('#'))
    .filter((target) => !existsSync(join(root, file, '..', target.split('#')[0])));
}

/** `npm run X` without a script, and `npm run bench -- NAME` without a bench. */
function unknownScripts(text: string): string[] {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const benches = read('bench/run.ts');
  return codeOf(text).flatMap((code) =>
    Array.from(code.matchAll(/npm (?:run ([\w:-]+)(?: -- (\w+))?|(test)\b)/g)).flatMap(([all, script, bench, test]) => {
      const known = (script ?? test) in scripts;
      const measured = script !== 'bench' || bench === undefined || benches.includes(`  ${bench}: () =>`);
      return known && measured ? [] : [all];
    }),
  );
}

/** Commands of the command line by their words, with their flags. */
let commands: Map<string, readonly string[]>;
beforeAll(async () => {
  const program = new Command('veilgan');
  for (const file of globSync('cli/commands/*.ts', { cwd: root })) {
    const module = (await import(join(root, file))) as Record<string, unknown>;
    for (const [name, add] of Object.entries(module))
      if (name.startsWith('add')) (add as (program: Command) => void)(program);
  }
  commands = new Map();
  const walk = (command: Command, words: string[]) => {
    const flags = command.options.flatMap(({ long }) => long ?? []);
    commands.set(words.join(' '), [...flags, '--help']);
    for (const sub of command.commands) walk(sub, [...words, sub.name()]);
  };
  walk(program, []);
});

/** Flags that belong to other programs or to a bench. */
const FOREIGN = ['--onnxruntime-node-install'];

/** What `veilgan ...`, or `npm run demo -- ...`, says that the command line does not know. */
function unknownCommands(text: string): string[] {
  return codeOf(text).flatMap((code) => {
    if (code.startsWith('--')) {
      const flag = code.split(/[ =]/)[0];
      return [...commands.values(), FOREIGN].some((flags) => flags.includes(flag)) ? [] : [flag];
    }
    const [, said] = /(?:^|npx )veilgan (.*)/.exec(code.replace(/npm run demo -- /, 'veilgan demo ')) ?? [];
    if (said === undefined) return [];
    const words = said.split(' ').filter((word) => word !== '');
    let name = words[0].startsWith('<') ? '' : words[0];
    if (!commands.has(name)) return [`veilgan ${name}`];
    const isGroup = [...commands.keys()].some((key) => key.startsWith(`${name} `)) && name !== '';
    if (isGroup && words.length > 1 && !words[1].startsWith('-')) name = `${name} ${words[1]}`;
    const flags = commands.get(name);
    if (!flags) return [`veilgan ${name}`];
    return words
      .filter((word) => word.startsWith('--') && !flags.includes(word))
      .map((word) => `veilgan ${name} ${word}`);
  });
}

describe.each(DOCS)('%s', (file) => {
  const text = read(file);
  test('names files that exist', () => {
    expect(missingPaths(text)).toEqual([]);
    expect(brokenLinks(file, text)).toEqual([]);
  });
  test('names scripts and commands that exist', () => {
    expect(unknownScripts(text)).toEqual([]);
    expect(unknownCommands(text)).toEqual([]);
  });
  test('names no path of somebody’s machine', () => expect(text).not.toMatch(/(?<![\w/.])\/(?:work|tmp|home|root)\//));
});

test('positive controls: a path, a link, a script, a bench, a command and flags that are not there', () => {
  expect(missingPaths('see `shared/dp/none.ts`')).toEqual(['shared/dp/none.ts']);
  expect(brokenLinks('README.md', '[x](docs/none.md)')).toEqual(['docs/none.md']);
  expect(unknownScripts('`npm run nothing` `npm run bench -- none`')).toHaveLength(2);
  const wrong = [
    '`veilgan inspect`',
    '`veilgan site leave`',
    '`npx veilgan site run --dri x`',
    '`npm run demo -- --x`',
    '`--y`',
  ];
  expect(unknownCommands(wrong.join(' '))).toHaveLength(wrong.length);
});

describe('what is said twice is the same', () => {
  test('README states the claim as SECURITY.md does', () => {
    const [, claim] = /## The claim\n\n([\s\S]*?)\n\n/.exec(read('SECURITY.md'))!;
    const flat = (text: string) => text.replaceAll(/^> ?/gm, '').replaceAll(/\s+/g, ' ');
    expect(flat(read('README.md'))).toContain(flat(claim));
  });

  test('README draws the tree as it is', () => {
    const [, tree] = /## Where things are\n\n```\n([\s\S]*?)```/.exec(read('README.md'))!;
    expect(missingInTree(tree)).toEqual([]);
    expect(FOLDERS.filter((folder) => !tree.includes(`${folder}/`))).toEqual([]);
    expect(missingInTree('shared/  ours\n  none/  not there\n')).toEqual(['shared/none/']);
  });

  test('operating.md lists every error code, with the exit code it has', () => {
    const table = Array.from(read('docs/operating.md').matchAll(/^\| `([A-Z_]+)` \| (\d) \|/gm));
    const listed = Object.fromEntries(table.map(([, code, exit]) => [code, Number(exit)]));
    const real = Object.keys(ERRORS).map((code) => [code, exitCodeOf(new FedError(code as ErrorCode, ''))] as const);
    expect(listed).toEqual(Object.fromEntries(real));
  });

  test('operating.md lists every exit code', () => {
    const table = Array.from(read('docs/operating.md').matchAll(/^\| (\d) \| /gm), ([, code]) => Number(code));
    expect(table).toEqual(Object.values(EXIT).toSorted((a, b) => a - b));
  });

  test('policies/README.md lists every policy', () => {
    for (const file of globSync('policies/*.json', { cwd: root }))
      expect(read('policies/README.md')).toContain(`\`${file.slice('policies/'.length)}\``);
  });
});
