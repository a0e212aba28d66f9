// The presenter's page: sends sound to the server and shows what viewers see, with the link and the
// QR code for them.

import { Captions, joined, languageName } from './captions.js';
import { Follow } from './follow.js';
import { connect, microphone, tab } from './server.js';

const ROOT = new URL('..', import.meta.url);
const KEY = 'alignatt-present';
/** A live stream that the server ended before this time was not given up, but failed. */
const SHORT_MS = 5000;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

const find = (id) => document.getElementById(id);
/** What this tab remembers: the token, and the share of the link, which so outlives a reload. */
const kept = { ...stored() };

let server;
let stop;
let streams = 0;
/** From the click until the talk is over. The browser may ask the user before it begins. */
let busy = false;
/** The talk is being stopped. */
let stopping = false;
let screenLock;

const follow = new Follow(find('newest'));
const captions = new Captions(find('captions'), { changed: () => follow.catchUp() });

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? '{}');
  } catch {
    return {};
  }
}

function keep(values) {
  Object.assign(kept, values);
  try {
    sessionStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // Without storage, a reload of the page asks again.
  }
}

function problem(error) {
  find('problem').hidden = !error;
  find('problem').textContent = error ? `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.` : '';
}

// ---- before a talk

async function begin() {
  try {
    server = await connect(ROOT, { token: kept.token, share: kept.share });
  } catch (error) {
    find('key').hidden = error.code !== 'no-token';
    if (error.code !== 'no-token' || kept.token) problem(error);
    return;
  }
  problem();
  find('key').hidden = true;
  find('setup').hidden = false;
  const { about } = server;
  find('about').textContent = `server ${ROOT.host} · ${[about.asr, about.mt].filter(Boolean).join(', ')} · ${about.device}`;
  const spoken = [...new Set([about.from, ...Object.keys(about.directions)])];
  find('from').replaceChildren(...spoken.map((code) => new Option(languageName(code), code)));
  find('from').value = about.from;
  offerTargets();
}

function offerTargets() {
  const { about } = server;
  const targets = about.directions[find('from').value] ?? [];
  const boxes = targets.map((code) => {
    const label = document.createElement('label');
    const box = document.createElement('input');
    box.type = 'checkbox';
    box.value = code;
    box.checked = code === (targets.includes(about.to) ? about.to : targets[0]);
    label.append(box, languageName(code));
    return label;
  });
  const [legend] = find('targets').children;
  const none = document.createElement('span');
  none.textContent = 'the spoken language only';
  find('targets').replaceChildren(legend, ...(boxes.length ? boxes : [none]));
}

// ---- a talk

/** Opens a source and gives a talk with it, if there is none already. */
async function start(open) {
  if (busy) return;
  busy = true;
  problem();
  try {
    await talk(await open());
  } catch (error) {
    problem(error);
  }
  busy = false;
}

async function talk(source) {
  const [to = null, ...also] = [...find('targets').querySelectorAll('input:checked')].map(({ value }) => value);
  const from = find('from').value;
  const terms = find('terms').value.split('\n').filter((term) => term.trim());
  const options = { from, to, also, preset: find('preset').value, terms, realtime: find('realtime').checked };
  captions.clear();
  captions.languages(from, to ?? from);
  find('captions').dataset.side = to ? 'both' : 'source';
  stopping = false;
  enter('running');
  say('Connecting …');
  const aborting = new AbortController();
  // Live sound ends, and all of it is still translated. A file ends at once.
  stop = () => {
    if (source instanceof MediaStream && source.active) for (const track of source.getTracks()) track.stop();
    else aborting.abort();
    stopping = true;
    say('Finishing …');
  };
  try {
    // A session that the server gave up, because the connection was away, is followed by another.
    for (;;) {
      const began = Date.now();
      await run(source, { ...options, signal: aborting.signal });
      if (!(source instanceof MediaStream) || !source.active || aborting.signal.aborted) break;
      if (Date.now() - began < SHORT_MS) throw new Error('the server ends every stream at once');
    }
    say('Finished.');
  } catch (error) {
    if (error.code !== 'aborted') problem(error);
    if (source instanceof MediaStream) for (const track of source.getTracks()) track.stop();
    say(error.code === 'aborted' ? 'Stopped.' : '');
  }
  enter('ended');
}

async function run(source, options) {
  const stream = (streams += 1);
  // The stream's own copy: the original goes on where the server gives up.
  const sound = source instanceof MediaStream ? new MediaStream(source.getTracks()) : source;
  const events = server.translate(sound, { ...options, onOpen: invite, onState: connection });
  for await (const event of events) show(stream, event);
}

function show(stream, event) {
  const { type, segment, committed, tentative } = event;
  if (type === 'source' || type === 'target') {
    captions.commit(stream, segment, type, type === 'source' ? joined(committed.map(({ text }) => text)) : committed);
    captions.tentative(stream, segment, type, tentative);
  }
  if (type === 'progress') behind(event.lag_ms);
  if (type === 'warning') find('warning').textContent = event.message;
  if (type === 'end') captions.settle(stream);
}

function connection(state) {
  find('dock').dataset.state = state;
  if (state === 'reconnecting') behind(undefined);
  const connected = stopping ? 'Finishing …' : 'Listening';
  say(state === 'reconnecting' ? 'No connection. What is said meanwhile is sent later …' : connected);
}

/** How the talk goes. It is read aloud where the screen is not seen, so only changes are set. */
function say(text) {
  if (find('state').textContent !== text) find('state').textContent = text;
}

/** How far captions are behind. It changes all the time, so it is not read aloud. */
function behind(ms) {
  find('lag').textContent = ms === undefined ? '' : `${(ms / 1000).toFixed(1)} s behind`;
}

/** Shows viewers the way to their page. */
function invite({ link }) {
  keep({ share: server.share });
  const qr = new URL('qr.svg', ROOT);
  qr.searchParams.set('text', link);
  for (const id of ['code', 'big-code']) find(id).src = qr.href;
  find('link').href = link;
  find('link').textContent = find('big-link').textContent = link.replace(/^https?:\/\//, '');
  find('only-here').hidden = !LOOPBACK.test(new URL(link).hostname);
  find('viewers').hidden = false;
}

function enter(phase) {
  document.body.dataset.phase = phase;
  const running = phase === 'running';
  find('setup').hidden = running;
  find('stage').hidden = phase === 'idle';
  find('dock').hidden = phase === 'idle';
  find('stop').hidden = !running;
  find('warning').textContent = '';
  find('dock').dataset.state = '';
  behind(undefined);
  document.title = running ? '● alignatt · live captions' : 'alignatt · live captions';
  void keepAwake();
}

/** Keeps the screen on during a talk, where the browser allows it. */
async function keepAwake() {
  if (document.body.dataset.phase !== 'running') return void screenLock?.release();
  if (document.hidden || screenLock?.released === false) return;
  try {
    screenLock = await navigator.wakeLock?.request('screen');
  } catch {
    // A low battery: the screen may go dark, nothing else changes.
  }
}

async function copy(button, text) {
  // A second click must not take `Copied` for the name of the button.
  button.dataset.name ??= button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Not allowed';
  }
  setTimeout(() => (button.textContent = button.dataset.name), 1500);
}

find('key').addEventListener('submit', (event) => {
  event.preventDefault();
  keep({ token: find('token').value.trim() });
  void begin();
});
find('from').addEventListener('change', offerTargets);
find('microphone').addEventListener('click', () => void start(microphone));
// Phones cannot share the sound of a tab.
find('tab').hidden = !navigator.mediaDevices?.getDisplayMedia;
find('tab').addEventListener('click', () => void start(tab));
find('file').addEventListener('click', () => find('picker').click());
find('picker').addEventListener('change', ({ target }) => {
  const [file] = target.files;
  // The same file can be chosen again.
  target.value = '';
  if (file) void start(() => file);
});
find('stop').addEventListener('click', () => stop?.());
find('copy').addEventListener('click', ({ target }) => void copy(target, find('link').href));
find('overlay').addEventListener('click', ({ target }) => void copy(target, `${find('link').href}/overlay?lines=2&size=48`));
find('large').addEventListener('click', () => find('shown').showModal());
find('shown').addEventListener('click', () => find('shown').close());
document.addEventListener('visibilitychange', () => void keepAwake());
void begin();
