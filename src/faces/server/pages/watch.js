// The page for viewers: one language, large, following along.

import { Captions, languageName } from './captions.js';
import { Follow } from './follow.js';
import { Link, placeOf } from './link.js';

const WORDS = {
  en: { label: 'as spoken', waiting: 'Waiting for the speaker …', lost: 'No connection. Trying again …', ended: 'The talk is over.', unknown: 'This talk is over, or its link is not known.', newest: 'Newest' },
  de: { label: 'Original', waiting: 'Gleich geht es los …', lost: 'Keine Verbindung. Neuer Versuch …', ended: 'Der Vortrag ist zu Ende.', unknown: 'Dieser Vortrag ist zu Ende, oder der Link ist nicht bekannt.', newest: 'Neueste' },
  it: { label: 'originale', waiting: 'In attesa dell’oratore …', lost: 'Nessuna connessione. Nuovo tentativo …', ended: 'Il discorso è finito.', unknown: 'Questo discorso è finito, oppure il link non è noto.', newest: 'Più recente' },
  zh: { label: '原文', waiting: '等待演讲开始……', lost: '连接已断开，正在重试……', ended: '演讲已结束。', unknown: '演讲已结束，或链接无效。', newest: '最新' },
};
const SIZES = [1.2, 1.45, 1.75, 2.1, 2.6, 3.2, 4];
const KEY = 'alignatt-watch';

const find = (id) => document.getElementById(id);
/** The languages of the browser, without their regions. */
const own = navigator.languages.map((language) => language.split('-')[0]);
const spoken = own.find((language) => language in WORDS) ?? 'en';
const words = WORDS[spoken];
const settings = { size: 2, theme: '', choice: '', ...stored() };

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? '{}');
  } catch {
    return {};
  }
}

function changed() {
  document.documentElement.style.setProperty('--size', `${SIZES[settings.size] ?? 1.75}rem`);
  if (settings.theme) document.documentElement.dataset.theme = settings.theme;
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Without storage, the page still shows captions.
  }
  follow.catchUp();
}

/** All choices: languages that are translated to, then those that are spoken. */
function choices(sessions) {
  const targets = [...new Set(sessions.map(({ to }) => to).filter(Boolean))];
  const sources = [...new Set(sessions.map(({ from }) => from))];
  const named = targets.map((code) => ({ value: code, code, name: languageName(code) }));
  return [...named, { value: 'source', code: sources[0], name: `${sources.map(languageName).join(', ')} (${words.label})` }];
}

/** Lists the choices, and returns the one that is shown. */
function offer(sessions) {
  const all = choices(sessions);
  const wanted =
    all.find(({ value }) => value === settings.choice) ?? all.find(({ code }) => own.includes(code)) ?? all[0];
  const select = find('choice');
  const listed = JSON.stringify(all);
  if (select.dataset.listed !== listed) {
    select.dataset.listed = listed;
    select.replaceChildren(...all.map(({ value, name }) => new Option(name, value)));
  }
  select.value = wanted.value;
  select.hidden = false;
  select.disabled = all.length < 2;
  show(wanted.value);
  return wanted.value;
}

function show(choice) {
  const side = choice === 'source' ? 'source' : 'target';
  find('captions').dataset.side = side;
  document.documentElement.lang = spoken;
}

function say(state) {
  document.body.dataset.state = state;
  const text = words[state] ?? '';
  // Text that is set again may be read aloud again.
  if (find('state').textContent !== text) find('state').textContent = text;
}

/** Keeps the screen on while the page is seen, where the browser allows it. */
async function keepAwake() {
  if (document.hidden) return;
  try {
    await navigator.wakeLock?.request('screen');
  } catch {
    // A low battery: the screen may go dark, nothing else changes.
  }
}

const follow = new Follow(find('newest'));
const captions = new Captions(find('captions'), { said: find('said'), changed: () => follow.catchUp() });
const link = new Link(placeOf(location.href), captions, { sessions: offer, state: say });

find('newest').setAttribute('aria-label', words.newest);
find('choice').addEventListener('change', ({ target }) => {
  settings.choice = target.value;
  changed();
  show(target.value);
  link.choose(target.value);
});
const resize = (by) => {
  settings.size = Math.max(0, Math.min(SIZES.length - 1, settings.size + by));
  changed();
};
find('smaller').addEventListener('click', () => resize(-1));
find('larger').addEventListener('click', () => resize(1));
find('theme').addEventListener('click', () => {
  const dark = settings.theme ? settings.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  settings.theme = dark ? 'light' : 'dark';
  changed();
});
document.addEventListener('visibilitychange', () => void keepAwake());
changed();
say('waiting');
void keepAwake();
void link.look();
