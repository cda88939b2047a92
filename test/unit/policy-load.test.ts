import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { FedError } from '../../shared/errors.ts';
import { policyJsonSchemaText } from '../../shared/policy/json-schema.ts';
import { type CheckedPolicy, loadPolicy, loadPolicyText, policySha256 } from '../../shared/policy/load.ts';
import { declaredClasses, ganConfigOf, labelDistribution, roundTermsOf } from '../../shared/policy/views.ts';

const folder = new URL('../../policies/', import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith('.json') && name !== 'policy.schema.json');
const textOf = (name: string) => readFileSync(new URL(name, folder), 'utf8');
const options = { availableSchemes: ['clear'] } as const;

interface Tree {
  [key: string]: unknown;
}
/** The demonstration's policy, changed; `undefined` removes an entry. Paths are dotted, as in `why`. */
const changed = (changes: Record<string, unknown> = {}): Tree => {
  const tree = JSON.parse(textOf('demo-insecure.json')) as Tree;
  for (const [path, value] of Object.entries(changes)) {
    const keys = path.split('/');
    const last = keys.pop()!;
    const at = keys.reduce<Tree>((t, key) => (t[key] ??= {}) as Tree, tree);
    if (value === undefined) delete at[last];
    else at[last] = value;
  }
  return tree;
};
/** The demonstration's policy under secure aggregation. */
const masked = (over: Record<string, unknown> = {}): Record<string, unknown> => ({
  aggregation: {
    scheme: 'secagg',
    minSites: 3,
    minSurvivors: 3,
    deadlineSeconds: 60,
    bits: 16,
    maxSites: 8,
    maxColluders: 0,
    maxDropouts: 0,
    graphAboveSites: 100,
    ...over,
  },
});
const refusal = (value: unknown, with_: Parameters<typeof loadPolicy>[1] = options): FedError => {
  try {
    loadPolicy(value, with_);
  } catch (error) {
    expect(error).toBeInstanceOf(FedError);
    return error as FedError;
  }
  throw new Error('the policy was accepted');
};

describe('the policies that come with the project', () => {
  test.each(names)('%s loads', (name) => {
    const policy = loadPolicyText(textOf(name), { availableSchemes: ['clear', 'secagg', 'bfv'] });
    expect(policy.id).toBe(name.replace('.json', ''));
  });

  test.each(names)(
    '%s asks for witnesses: all of three members or more, with a reason, and no more than a round needs',
    (name) => {
      const { log, aggregation, pooled, why } = loadPolicyText(textOf(name), {
        availableSchemes: ['clear', 'secagg', 'bfv'],
      });
      const quorum = log?.witnessQuorum ?? 0;
      const liars = Math.max(1, aggregation.maxColluders ?? 0, pooled?.maxColluders ?? 0);
      // Above half of as many members as a round needs and those who may lie; and never what stops a run a round would not.
      expect(quorum).toBeGreaterThan((aggregation.minSites + liars) / 2);
      expect(quorum).toBeLessThanOrEqual(aggregation.minSites);
      expect(why['log.witnessQuorum']).toBeDefined();
    },
  );

  test('the JSON schema is current: node shared/policy/write-schema.ts', () => {
    expect(textOf('policy.schema.json')).toBe(policyJsonSchemaText());
  });

  test('the folder’s README names each', () => {
    const readme = textOf('README.md');
    for (const name of names) expect(readme).toContain(name);
  });
});

describe('refused', () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['an unknown field', { surprise: 1 }, /surprise/],
    ['an unknown field inside', { 'privacy/threads': 4 }, /threads/],
    ['a field that is missing', { 'privacy/clipNorm': undefined }, /privacy.clipNorm/],
    ['infinity', { 'privacy/noiseMultiplier': Infinity }, /noiseMultiplier/],
    ['another unit', { 'privacy/unit': 'image' }, /privacy.unit/],
    ['another relation', { 'privacy/neighbours': 'replace-one' }, /privacy.neighbours/],
    ['more steps than the claim is for', { 'training/rounds': 1000 }, /privacy.maxSteps: the training takes \d+ steps/],
    ['warm-up steps count', { 'training/warmupDiscriminatorSteps': 100_000 }, /the training takes/],
    ['shares that do not add up', { 'labels/distribution/chest': 0.5 }, /adds up to 1.25/],
    ['a class without a share', { 'labels/distribution/knee': undefined }, /every class/],
    ['a class twice', { 'model/classes': ['chest', 'chest', 'head-ct', 'knee'] }, /twice/],
    ['pooled, without its numbers', { placement: 'pooled' }, /pooled: is missing/],
    ['more survivors than sites', { 'aggregation/minSurvivors': 4 }, /minSurvivors: is more than minSites/],
    ['fewer places than patients expected', { 'privacy/maxBatch': 60 }, /maxBatch: is less than expectedBatch/],
    ['a site that declares an unknown class', { sites: { a: { classes: ['tail'] } } }, /unknown: tail/],
    [
      'a ladder that starts elsewhere',
      {
        'training/adaptiveSteps': { ladder: [77, 99], accuracyAtMost: 0.6, emaBeta: 0.99, graceRounds: 200 },
      },
      /ladder: must start/,
    ],
    ['no reason for a privacy setting', { 'why/privacy.delta': undefined }, /no reason is given for privacy.delta/],
    ['a reason for nothing', { 'why/privacy.deltoid': 'a slip of the pen' }, /nothing at this path/],
  ])('%s', (_, changes, message) => {
    const error = refusal(changed(changes));
    expect(error.code).toBe('POLICY_INVALID');
    expect(error.message).toMatch(message);
  });

  test('text that is not JSON', () => {
    expect(() => loadPolicyText('{', options)).toThrow(/POLICY_INVALID/);
  });

  test('a scheme that is not there, by its own code, and only when all else is right', () => {
    const secagg = masked();
    expect(refusal(changed(secagg))).toMatchObject({ code: 'SCHEME_UNKNOWN' });
    expect(loadPolicy(changed(secagg), { availableSchemes: ['clear', 'secagg'] }).aggregation.scheme).toBe('secagg');
    expect(refusal(changed({ ...secagg, extra: 1 })).code).toBe('POLICY_INVALID');
    expect(refusal(changed(masked({ minSurvivors: 2 }))).message).toMatch(/below 3/);
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['a setting that is missing', { bits: undefined }, /aggregation.bits: is missing: "secagg" needs it/],
    ['a word that is too short', { bits: 29, maxSites: 9 }, /bits: 29 bits for 9 sites do not fit a word of 32/],
    ['fewer sites at most than at least', { maxSites: 2 }, /maxSites: is less than minSites/],
    ['survivors whom colluders outnumber', { maxColluders: 2 }, /minSurvivors: below 4, 2 colluding sites/],
    ['a drop-out of three', { maxDropouts: 1 }, /maxDropouts: 3 sites less 1 are fewer than the 3 that open a sum/],
    ['a drop-out that only more bear', { maxDropouts: 2, minSites: 5, maxColluders: 1 }, /maxDropouts: 5 sites less 2/],
    [
      'a graph of more neighbours than shares can have places',
      { minSites: 1000, minSurvivors: 700, maxColluders: 600, maxDropouts: 190, maxSites: 1000 },
      /graphAboveSites: .*no number of neighbours holds/,
    ],
  ])('secure aggregation with %s', (_, over, message) => {
    expect(refusal(changed(masked(over)), { availableSchemes: ['clear', 'secagg'] }).message).toMatch(message);
  });

  test('settings of another scheme', () => {
    expect(refusal(changed({ 'aggregation/maxColluders': 1 })).message).toMatch(
      /maxColluders: has no meaning for "clear"/,
    );
    // Positive control: what is refused above is one change away from what loads.
    const five = masked({ minSites: 5, maxColluders: 1, maxDropouts: 1 });
    expect(loadPolicy(changed(five), { availableSchemes: ['secagg'] }).aggregation.maxDropouts).toBe(1);
  });
});

describe('what is loaded', () => {
  const policy = loadPolicy(changed({ sites: { 'site-b': { classes: ['knee', 'chest'] } } }), options);

  test('is frozen to the leaves, and a copy', () => {
    const source = changed();
    const loaded = loadPolicy(source, options);
    expect(() => ((loaded.privacy as { epsilon: number }).epsilon = 99)).toThrow(TypeError);
    expect(() => ((loaded.model.classes as string[])[0] = 'x')).toThrow(TypeError);
    (source.privacy as Tree).epsilon = 99;
    expect((loaded.privacy as { epsilon: number }).epsilon).not.toBe(99);
    // @ts-expect-error only `loadPolicy` makes a checked policy
    const _forged: CheckedPolicy = source;
  });

  test('is known by a hash that follows values, not layout', () => {
    const tree = changed();
    const reordered = Object.fromEntries(Object.entries(tree).reverse());
    const hash = policySha256(loadPolicy(tree, options));
    expect(policySha256(loadPolicy(reordered, options))).toBe(hash);
    expect(policySha256(loadPolicy(changed({ 'privacy/clipNorm': 0.2000001 }), options))).not.toBe(hash);
    expect(policySha256(loadPolicy(changed({ 'why/id': 'a reason that reads differently' }), options))).not.toBe(hash);
    // RFC 8785 by hand for a policy of this shape: sorted keys, no spaces, shortest numbers.
    const sorted = (v: unknown): unknown =>
      Array.isArray(v)
        ? v.map(sorted)
        : v !== null && typeof v === 'object'
          ? Object.fromEntries(
              Object.entries(v)
                .sort(([a], [b]) => (a < b ? -1 : 1))
                .map(([k, x]) => [k, sorted(x)]),
            )
          : v;
    expect(
      createHash('sha256')
        .update(JSON.stringify(sorted(tree)))
        .digest('hex'),
    ).toBe(hash);
  });

  test('gives the parts of a run what they need', () => {
    expect(ganConfigOf(policy)).toEqual({ ...policy.model, classes: 4 });
    expect(labelDistribution(policy)).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect(declaredClasses(policy, 'site-b')).toEqual([0, 3]);
    expect(declaredClasses(policy, 'site-a')).toEqual([0, 1, 2, 3]);
    expect(roundTermsOf(policy)).toMatchObject({
      policySha256: policySha256(policy),
      rounds: policy.training.rounds + 1,
      momentRounds: 1,
      maxSteps: policy.privacy.maxSteps,
      quorum: policy.aggregation.minSurvivors,
      epsilon: (policy.privacy as { epsilon: number }).epsilon,
    });
  });
});

test('a release without a gate needs a reason', () => {
  const file = JSON.parse(readFileSync(new URL('../../policies/demo-insecure.json', import.meta.url), 'utf8')) as {
    why: Record<string, string>;
    log?: { witnessQuorum: number };
  };
  const load = () => loadPolicy(file, { availableSchemes: ['clear'] });
  expect(load).not.toThrow();
  const { 'release.gate': reason } = file.why;
  delete file.why['release.gate'];
  expect(load).toThrow(/POLICY_INVALID: why: no reason is given for release\.gate/);
  file.why['release.gate'] = reason;
  file.log = { witnessQuorum: 2 };
  expect(load).not.toThrow();
});
