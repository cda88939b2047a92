import { request } from 'node:http';
import { expect, test } from 'vitest';
import { picturesOf } from '../../site-agent/study/choose-items.ts';
import { orderFor, readerToken } from '../../site-agent/study/study.ts';
import { anAnswer, madeStudy, serveStudy, studySets } from '../support/study-rig.ts';

const sets = studySets();
const study = madeStudy(sets, { practice: 1 });
const pictures = picturesOf(study, sets);
const post = (position: number, answer: unknown = anAnswer()) => ({ body: { position, answer } });

test('a reader is told of the study, and of no picture', async () => {
  await using served = await serveStudy(study, pictures);
  const view: unknown = await (await served.ask('/api/study')).json();
  expect(view).toEqual({ reader: 'anna', questions: ['kind', 'quality', 'class'], classes: study.classes, size: 28, answered: 0, practice: 2, of: 18 }); // prettier-ignore
});

test('without a token, with another’s study’s, or in the address: nothing', async () => {
  await using served = await serveStudy(study, pictures);
  const stranger = readerToken({ secret: '6'.repeat(64) }, 'anna');
  for (const path of ['/api/study', '/api/picture/0', '/api/elsewhere', '/favicon.ico'])
    expect((await served.ask(path, { token: stranger })).status).toBe(401);
  expect((await fetch(`${served.url}/api/study?token=${readerToken(study, 'anna')}`)).status).toBe(401);
  expect((await served.ask('/api/answer', { ...post(0), token: stranger })).status).toBe(401);
  expect(served.answers.kept).toEqual([]);
});

test('only the picture that is asked about and the next one are shown', async () => {
  await using served = await serveStudy(study, pictures);
  const status = async (k: number | string) => (await served.ask(`/api/picture/${k}`)).status;
  expect(await Promise.all([0, 1, 2, 17, 99].map(status))).toEqual([200, 200, 400, 400, 400]);
  await served.ask('/api/answer', post(0));
  expect(await Promise.all([0, 1, 2, 3].map(status))).toEqual([400, 200, 200, 400]);
  // Paths that are no number of ours.
  expect(await Promise.all(['-1', '1.5', '1e3', '../0', '%2e%2e'].map(status))).toEqual([404, 404, 404, 404, 404]);
});

test('an answer is kept once; the same again is no offence, another is refused; practice alone is told the truth', async () => {
  await using served = await serveStudy(study, pictures);
  const order = orderFor(study, 'anna');
  const answer = async (k: number, a = anAnswer()) => {
    const reply = await served.ask('/api/answer', post(k, a));
    return [reply.status, await reply.json()] as const;
  };
  const truth = (k: number) => ({ kind: order[k].kind, label: order[k].label });
  expect(await answer(0)).toEqual([200, { kept: 0, truth: truth(0) }]);
  expect(await answer(0)).toEqual([200, { kept: 0, truth: truth(0) }]);
  expect(await answer(0, anAnswer({ quality: 1 }))).toEqual([409, expect.objectContaining({ code: 'ANSWER_CHANGED' })]);
  expect(await answer(2)).toEqual([400, expect.objectContaining({ code: 'MESSAGE_INVALID' })]);
  await answer(1);
  expect(await answer(2)).toEqual([200, { kept: 2 }]);
  expect(served.answers.kept.map((k) => [k.position, k.item])).toEqual([0, 1, 2].map((k) => [k, order[k].id]));
  // Another reader begins at the beginning, in another order.
  expect((await served.ask('/api/answer', { ...post(0), reader: 'ben' })).status).toBe(200);
  expect(served.answers.of('ben')).toHaveLength(1);
});

test('what is no answer is refused and kept by nobody', async () => {
  await using served = await serveStudy(study, pictures);
  for (const body of [
    {},
    [],
    'x',
    { position: 0 },
    { position: -1, answer: anAnswer() },
    { position: 0, answer: { ...anAnswer(), more: 1 } },
    { position: 0, answer: anAnswer({ quality: 6 }) },
    { position: 0, answer: anAnswer(), reader: 'ben' },
    { pad: 'x'.repeat(5000) },
  ])
    // prettier-ignore
    expect((await served.ask('/api/answer', { body })).status).toBe(400);
  const raw = await fetch(`${served.url}/api/answer`, { method: 'POST', body: '{', headers: { Authorization: `Bearer ${readerToken(study, 'anna')}` } }); // prettier-ignore
  expect([raw.status, served.answers.kept]).toEqual([400, []]);
});

test('every reply keeps out of caches and loads nothing from elsewhere, refusals too', async () => {
  await using served = await serveStudy(study, pictures);
  for (const path of [
    '/',
    '/study.js',
    '/study.css',
    '/drawing.js',
    '/api/study',
    '/api/picture/0',
    '/api/picture/9',
  ]) {
    const { headers } = await served.ask(path);
    expect([path, headers.get('cache-control')]).toEqual([path, 'no-store']);
    expect(headers.get('content-security-policy')).toMatch(/^default-src 'none'; script-src 'self';/);
    expect([headers.get('x-content-type-options'), headers.get('referrer-policy')]).toEqual(['nosniff', 'no-referrer']);
    for (const name of ['etag', 'last-modified', 'set-cookie', 'access-control-allow-origin'])
      expect([path, name, headers.get(name)]).toEqual([path, name, null]);
  }
  const page = await (await fetch(`${served.url}/`)).text();
  expect(page).not.toMatch(/https?:|style="|onclick/);
});

test('a name elsewhere that was rebound to this machine gets nothing', async () => {
  await using served = await serveStudy(study, pictures);
  const statusFor = (host: string) =>
    new Promise<number>((resolve, reject) => {
      request(`${served.url}/`, { headers: { host } }, (response) => {
        response.resume();
        resolve(response.statusCode!);
      })
        .on('error', reject)
        .end();
    });
  expect(await Promise.all(['127.0.0.1:1', 'localhost:8417', '[::1]:9'].map(statusFor))).toEqual([200, 200, 200]);
  expect(await Promise.all(['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:80'].map(statusFor))).toEqual([421, 421, 421]); // prettier-ignore
});
