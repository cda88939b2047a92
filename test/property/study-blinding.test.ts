/**
 * What a reader's browser gets to see says nothing of whether a picture is real: everything around the pixels is the same for
 * all pictures, and where a picture stands in the order is chance. Each property catches a server that leaks in that way.
 */
import { inflateSync } from 'node:zlib';
import type { RequestListener } from 'node:http';
import { expect, test } from 'vitest';
import { imageAt, toBytes } from '../../shared/imaging/images.ts';
import { encodePng } from '../../shared/imaging/png.ts';
import { chooseItems, picturesOf } from '../../site-agent/study/choose-items.ts';
import { type Item, orderFor, type Study } from '../../site-agent/study/study.ts';
import { anAnswer, madeStudy, serveStudy, studySets } from '../support/study-rig.ts';

const sets = studySets();
const study = madeStudy(sets);
const pictures = picturesOf(study, sets);

/** A PNG without its pixels and checksums: chunk names and lengths, and what is in chunks that are no pixels. */
function around(png: Buffer): string {
  const parts: string[] = [png.subarray(0, 8).toString('hex')];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    const name = png.toString('latin1', at + 4, at + 8);
    const body = png.subarray(at + 8, at + 8 + length);
    parts.push(`${name} ${length} ${name === 'IDAT' ? inflateSync(body).length : body.toString('hex')}`);
    at += 12 + length;
  }
  return parts.join(' ');
}

/** All that a browser gets of each picture and each answer but the pixels, in a reader's order, with the places taken out. */
async function observed(
  of: Study,
  shown: ReadonlyMap<string, Uint8Array>,
  wrap?: (l: RequestListener) => RequestListener,
) {
  // prettier-ignore
  await using served = await serveStudy(of, shown, wrap);
  const seen: string[] = [];
  for (let k = 0; k < of.items.length; k++) {
    const picture = await served.ask(`/api/picture/${k}`);
    const body = Buffer.from(await picture.arrayBuffer());
    const answer = await served.ask('/api/answer', { body: { position: k, answer: anAnswer() } });
    const said = (await answer.text()).replace(`:${k}`, ':K');
    // The date is the clock's.
    const headers = [picture, answer].map((r) => JSON.stringify([...r.headers].filter(([name]) => name !== 'date').map(([n, v]) => [n, n === 'content-length' && r === answer ? 'L' : v]))); // prettier-ignore
    const url = picture.url.replace(/^http:\/\/[^/]+/, '').replace(/\/\d+$/, '/K');
    seen.push([url, picture.status, ...headers, body.length, around(body), answer.status, said].join('\n'));
  }
  return new Set(seen);
}

test('everything around the pixels is the same for every picture, and for every answer', async () => {
  expect((await observed(study, pictures)).size).toBe(1);
});

test('positive controls: compressed pictures, a header, a time stamp, a truth that is told', async () => {
  const compressed = new Map(study.items.map(({ id, kind, index }) => [id, encodePng(toBytes(imageAt(sets[kind]!, index)), 28, 28, 1)])); // prettier-ignore
  expect((await observed(study, compressed)).size).toBeGreaterThan(2);
  const order = orderFor(study, 'anna');
  const at = (url = ''): Item | undefined => order[Number(/picture\/(\d+)/.exec(url)?.[1])];
  const leaksBy =
    (name: string, value: (item: Item) => string) =>
    (listener: RequestListener): RequestListener =>
    (request, response) => {
      const item = at(request.url);
      if (item) response.setHeader(name, value(item));
      listener(request, response);
    };
  expect(
    (
      await observed(
        study,
        pictures,
        leaksBy('ETag', (i) => `"${i.kind}"`),
      )
    ).size,
  ).toBe(2);
  expect((await observed(study, pictures, leaksBy('Last-Modified', (i) => (i.kind === 'real' ? 'Mon' : 'Tue')))).size).toBe(2); // prettier-ignore
  const asPractice = { ...study, items: study.items.map((item) => ({ ...item, practice: true })) };
  expect((await observed(asPractice, pictures)).size).toBeGreaterThan(1);
});

test('a picture that is in both sets is the same file, whichever set it was taken from', () => {
  const twice = { synthetic: sets.real!, real: sets.real! };
  const both = madeStudy(twice, { count: 24 });
  const files = picturesOf(both, twice);
  const of = (kind: string) => new Map(both.items.filter((i) => i.kind === kind).map((i) => [i.index, files.get(i.id)!.toString('hex')])); // prettier-ignore
  const [real, synthetic] = [of('real'), of('synthetic')];
  const common = [...real.keys()].filter((index) => synthetic.has(index));
  expect(common.length).toBeGreaterThan(3);
  for (const index of common) expect(real.get(index)).toBe(synthetic.get(index));
});

/** The mean place of real pictures less that of synthetic ones, over many seeds, in standard errors; and of neighbours alike. */
function orderBias(order: (seed: string) => Item[]): { place: number; alternation: number } {
  const seeds = Array.from({ length: 300 }, (_, k) => `order ${k}`);
  let [places, changes] = [0, 0];
  const n = order('0').length;
  for (const seed of seeds) {
    const kinds = order(seed).map((item) => Number(item.kind === 'real'));
    kinds.forEach((real, place) => (places += (real ? 1 : -1) * place));
    for (let k = 1; k < n; k++) changes += Number(kinds[k] !== kinds[k - 1]);
  }
  // Under chance: Σ ± place has variance n²(n + 1)/12; a neighbour differs with probability n / (2(n - 1)).
  const chance = n / (2 * (n - 1));
  return {
    place: places / Math.sqrt((seeds.length * n * n * (n + 1)) / 12),
    alternation:
      (changes - seeds.length * (n - 1) * chance) / Math.sqrt(seeds.length * (n - 1) * chance * (1 - chance)),
  };
}
const small = ({ place, alternation }: { place: number; alternation: number }) => Math.abs(place) < 4 && Math.abs(alternation) < 4; // prettier-ignore

test('where a picture stands in the order is chance', () => {
  const bias = orderBias((seed) => orderFor({ ...study, seed }, 'anna'));
  expect([small(bias), bias]).toEqual([true, bias]);
});

test('positive controls: real ones first, and strict turns', () => {
  const sorted = (seed: string) => orderFor({ ...study, seed }, 'anna').toSorted((a, b) => (a.kind < b.kind ? -1 : 1)); // prettier-ignore
  expect(small(orderBias(sorted))).toBe(false);
  const inTurns = (seed: string) => {
    const order = orderFor({ ...study, seed }, 'anna');
    const [real, made] = ['real', 'synthetic'].map((kind) => order.filter((i) => i.kind === kind));
    return real.flatMap((item, k) => [item, made[k]]);
  };
  expect(small(orderBias(inTurns))).toBe(false);
});

test('ids and their order say nothing without the secret', () => {
  const choose = (secret: string) => chooseItems(sets, { count: 8, practice: 0, seed: 's', secret }).items;
  const kinds = Array.from({ length: 100 }, (_, k) => choose(`${k}`.padStart(64, '0'))[0].kind);
  const real = kinds.filter((kind) => kind === 'real').length;
  expect(real > 25 && real < 75).toBe(true);
});
