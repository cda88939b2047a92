/**
 * The reader's page: asks for one picture at a time, keeps an answer, goes on. Where the server does not answer it says so and
 * tries again; what the reader chose stays on the screen meanwhile.
 */
import { drawing } from './drawing.js';

/** @typedef {'kind' | 'quality' | 'class'} Question */
/** @typedef {{ reader: string, questions: Question[], classes: string[], size: number, answered: number, practice: number, of: number }} Study */
/** @typedef {{ kind?: string, label?: number }} Truth */
/** @typedef {{ value: string, text: string, key: string }} Choice */

const RETRY_MS = 2000;
const LEGENDS = { kind: 'Is the picture real or synthetic?', quality: 'How good is it?', class: 'What does it show?' };
const QUALITIES = ['1, unusable', '2, poor', '3, fair', '4, good', '5, excellent'];
/** Keys of classes: R, S and Z have another meaning, X is "cannot tell". */
const CLASS_KEYS = 'ADFGHJKLQWETYUIOPCVBNM';

/** @template {HTMLElement} T @param {string} id @param {new () => T} type @returns {T} */
function part(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`no ${id}`);
  return found;
}
const message = part('message', HTMLElement);
const form = part('answers', HTMLFormElement);
const keepButton = part('keep', HTMLButtonElement);
const truthLine = part('truth', HTMLElement);
const keysOn = part('keys', HTMLInputElement);
const picture = drawing(part('picture', HTMLCanvasElement), part('zoom', HTMLOutputElement), part('smooth', HTMLInputElement)); // prettier-ignore

/** The link's secret: taken out of the address at once, and forgotten with the tab. */
function takeToken() {
  const { hash, pathname } = location;
  if (hash.length > 1) {
    sessionStorage.setItem('study', hash.slice(1));
    history.replaceState(null, '', pathname);
  }
  return sessionStorage.getItem('study') ?? '';
}
let token = takeToken();
// A link pasted over the address of an open page changes its end alone, which loads nothing.
addEventListener('hashchange', () => {
  token = takeToken();
  location.reload();
});

/** @type {Study} */
let study;
let position = 0;
let shownAt = 0;
/** @type {'starting' | 'intro' | 'asking' | 'keeping' | 'told' | 'done'} */
let state = 'starting';
/** The picture after this one, fetched early. @type {{ position: number, bitmap: Promise<ImageBitmap> } | undefined} */
let early;

class Refused extends Error {}

/**
 * Asks the server until it answers. @param {string} path @param {RequestInit} [init] @returns {Promise<Response>}
 * @throws {Refused} when it answers with a refusal.
 */
async function ask(path, init = {}) {
  for (;;) {
    const response = await fetch(path, { ...init, headers: { Authorization: `Bearer ${token}` }, cache: 'no-store' }).catch(() => undefined); // prettier-ignore
    if (response?.ok) {
      say('');
      return response;
    }
    if (response?.status === 401) throw new Refused('This page needs the link that you were given. Open it again from there.'); // prettier-ignore
    if (response && response.status < 500) {
      const { say: why } = /** @type {{ say: string }} */ (await bodyOf(response));
      throw new Refused(`${why} Load this page again to go on.`);
    }
    say('The server does not answer. What you chose is not kept yet; this page tries again by itself.');
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** @param {Response} response @returns {Promise<unknown>} */
const bodyOf = (response) => response.json();

/** @param {number} at @returns {Promise<ImageBitmap>} */
const fetchPicture = async (at) => createImageBitmap(await (await ask(`/api/picture/${at}`)).blob());

/** @param {string} text */
function say(text) {
  if (message.textContent !== text) message.textContent = text;
}

/** @param {'intro' | 'reading' | 'done'} name */
function show(name) {
  for (const id of ['intro', 'reading', 'done']) part(id, HTMLElement).hidden = id !== name;
}

/** @param {Question} question @returns {Choice[]} */
function choices(question) {
  if (question === 'kind')
    return [
      { value: 'real', text: 'Real', key: 'R' },
      { value: 'synthetic', text: 'Synthetic', key: 'S' },
    ];
  if (question === 'quality') return QUALITIES.map((text, i) => ({ value: `${i + 1}`, text, key: `${i + 1}` }));
  const classes = study.classes.map((text, i) => ({ value: `${i}`, text, key: CLASS_KEYS[i] ?? '' }));
  return [...classes, { value: '-1', text: 'Cannot tell', key: 'X' }];
}

function drawQuestions() {
  const sets = study.questions.map((question) => {
    const set = document.createElement('fieldset');
    const legend = document.createElement('legend');
    legend.textContent = LEGENDS[question];
    const row = document.createElement('div');
    row.className = 'choices';
    row.append(
      ...choices(question).map(({ value, text, key }) => {
        const label = document.createElement('label');
        const input = Object.assign(document.createElement('input'), { type: 'radio', name: question, value });
        label.append(input, text);
        if (key !== '') {
          input.setAttribute('aria-keyshortcuts', key);
          input.dataset['key'] = key;
          label.append(Object.assign(document.createElement('kbd'), { textContent: key }));
        }
        return label;
      }),
    );
    set.append(legend, row);
    return set;
  });
  part('questions', HTMLElement).replaceChildren(...sets);
}

/** @returns {HTMLInputElement[]} */
const inputs = () => [...form.querySelectorAll('input')].filter((input) => input.type === 'radio');
/** @param {Question} question */
const chosen = (question) => inputs().find((input) => input.name === question && input.checked)?.value;
const complete = () => study.questions.every((question) => chosen(question) !== undefined);

function showPlace() {
  const practising = position < study.practice;
  const [at, of] = practising ? [position, study.practice] : [position - study.practice, study.of - study.practice];
  part('place', HTMLElement).textContent =
    position >= study.of ? `${of} of ${of} answered` : `${practising ? 'Practice' : 'Picture'} ${at + 1} of ${of}`;
  const bar = part('progress', HTMLProgressElement);
  bar.max = of;
  bar.value = at;
}

function introduce() {
  const left = study.of - study.answered;
  const started = study.answered > 0;
  part('intro-text', HTMLElement).textContent = started
    ? `Welcome back. ${study.answered} of your answers are kept; ${left} pictures are left.`
    : `You will see ${study.of - study.practice} pictures, one at a time${study.practice > 0 ? `, after ${study.practice} to practise on` : ''}.`; // prettier-ignore
  const points = [
    study.questions.includes('kind') ? 'Some pictures are real, some are synthetic; how many is not told.' : 'All pictures are synthetic.', // prettier-ignore
    `All have ${study.size} × ${study.size} pixels and were prepared in the same way. You can enlarge them, with and without smoothing.`,
    'Take the time you need. You can stop at any moment and go on later with your link: every answer that was kept stays.',
    'An answer that is kept cannot be changed.',
    ...(study.practice > position ? ['While you practise you are told what a picture was. Later you are not.'] : []),
  ];
  part('intro-points', HTMLElement).replaceChildren(...points.map((text) => Object.assign(document.createElement('li'), { textContent: text }))); // prettier-ignore
  state = 'intro';
  show('intro');
  showPlace();
  part('begin', HTMLButtonElement).focus();
}

async function next() {
  showPlace();
  if (position >= study.of) {
    state = 'done';
    show('done');
    part('progress', HTMLProgressElement).value = part('progress', HTMLProgressElement).max;
    return part('done-head', HTMLElement).focus();
  }
  truthLine.textContent = '';
  picture.clear();
  form.reset();
  const bitmap = await (early?.position === position ? early.bitmap : fetchPicture(position));
  early = undefined;
  show('reading');
  for (const input of inputs()) input.disabled = false;
  picture.show(bitmap);
  const head = part('picture-head', HTMLElement);
  head.textContent = part('place', HTMLElement).textContent;
  head.focus();
  shownAt = performance.now();
  state = 'asking';
  refresh();
  if (position + 1 < study.of) {
    early = { position: position + 1, bitmap: fetchPicture(position + 1) };
    // A failure shows when the picture is wanted.
    early.bitmap.catch(() => (early = undefined));
  }
}

function refresh() {
  keepButton.disabled = state === 'keeping' || (state === 'asking' && !complete());
  keepButton.firstChild?.replaceWith(state === 'told' ? 'Next picture ' : 'Keep and go on ');
}

async function keep() {
  if (state === 'told') return next();
  if (state !== 'asking' || !complete()) return;
  state = 'keeping';
  refresh();
  const [kind, quality, label] = [chosen('kind'), chosen('quality'), chosen('class')];
  const answer = {
    ...(kind === undefined ? {} : { kind }),
    ...(quality === undefined ? {} : { quality: Number(quality) }),
    ...(label === undefined ? {} : { label: Number(label) }),
    tookMs: Math.min(86_400_000, Math.round(performance.now() - shownAt)),
  };
  for (const input of inputs()) input.disabled = true;
  const response = await ask('/api/answer', { method: 'POST', body: JSON.stringify({ position, answer }) });
  const { truth } = /** @type {{ truth?: Truth }} */ (await bodyOf(response));
  position++;
  if (truth === undefined) return next();
  const what = study.classes[truth.label ?? 0];
  truthLine.textContent = study.questions.includes('kind')
    ? `It was ${truth.kind}: ${what}.`
    : `It was made as ${what}.`;
  state = 'told';
  refresh();
  keepButton.focus();
}

/** Whatever goes wrong is said; nothing goes on as if it had not. @param {() => unknown} work */
async function orSay(work) {
  try {
    await work();
  } catch (error) {
    say(error instanceof Refused ? error.message : 'Something went wrong on this page. Load it again to go on.');
    if (!(error instanceof Refused)) throw error;
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  void orSay(keep);
});
form.addEventListener('change', refresh);
part('begin', HTMLButtonElement).addEventListener('click', () => void orSay(next));
part('smaller', HTMLButtonElement).addEventListener('click', () => picture.zoom(-1));
part('larger', HTMLButtonElement).addEventListener('click', () => picture.zoom(1));

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (state !== 'asking' && state !== 'told') return;
  const on = event.target;
  if (event.key === 'Enter') {
    // A button that has the focus is pressed by Enter as ever.
    if (on instanceof HTMLButtonElement) return;
    event.preventDefault();
    return void orSay(keep);
  }
  if (!keysOn.checked) return;
  if (event.key === '+' || event.key === '=') picture.zoom(1);
  else if (event.key === '-') picture.zoom(-1);
  else if (event.key.toUpperCase() === 'Z') picture.toggleSmooth();
  else {
    const input = inputs().find(({ dataset }) => dataset['key'] === event.key.toUpperCase());
    if (!input || input.disabled) return;
    input.checked = true;
    input.focus();
    refresh();
  }
});

void orSay(async () => {
  study = /** @type {Study} */ (await bodyOf(await ask('/api/study')));
  position = study.answered;
  drawQuestions();
  if (position >= study.of) await next();
  else introduce();
});
