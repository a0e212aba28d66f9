// The page. Checks what the browser can do, starts and stops runs, and passes their events to the
// views.

import '@fontsource-variable/atkinson-hyperlegible-next/wght.css';
import './style/page.css';
import './style/captions.css';
import './style/dock.css';
import './style/dialogs.css';

import { check, type Capabilities, type LoadOptions, type Progress, type TranslatorEvent } from 'alignatt';
import type { Server } from 'alignatt/server';
import { Chooser } from './chooser';
import { Dock } from './dock';
import { find, make } from './dom';
import { inThisTab, onServer, serverOfPage, type Choice } from './engine';
import { Example } from './example';
import { Figures } from './figures';
import { adapterName, showFindings } from './findings';
import { bytes, left, seconds } from './format';
import { advice } from './help';
import { Highlight } from './highlight';
import { Listing } from './listing';
import { Live } from './live';
import { workOffline } from './offline';
import { Viewers } from './viewers';
import { Runner } from './run';
import { contents, download, type Format } from './save';
import { Follow } from './scroll';
import { options, SETS } from './sets';
import { keepServerToken, LANGUAGES, load, save, serverToken, type Language, type Preset } from './settings';
import { file, live, release, sample, text, type Sound } from './sound';
import { NO_OFFSET, shifted, Transcript, type Offset } from './transcript';
import { showTrouble } from './trouble';
import { allowSleep, keepAwake } from './wake';
import { Writing } from './writing';

/**
 * A step takes in up to 1.5 s of sound and may take as long to compute, so a shorter delay is
 * normal.
 */
const BEHIND_MS = 5000;

const LISTENING = 'Listening …';
const AWAY = 'No connection to the server. What is said meanwhile is sent later …';

type Phase = 'idle' | 'opening' | 'running' | 'ended';

const settings = load();
const runner = new Runner();
const dock = new Dock();
const figures = new Figures(find('figures'), find('meanings'));
const follow = new Follow(find<HTMLButtonElement>('follow'));
// When the bar grows, it covers the newest words.
new ResizeObserver(() => phase !== 'idle' && follow.catchUp()).observe(find('dock'));
const spoken = new Live(find('live'));
const example = new Example(find('example'));
const viewers = new Viewers(find<HTMLDialogElement>('invitation'));
const lead = find('lead').textContent;
let found: Capabilities | undefined;
/** The server of this page, if it has one that translates. */
let server: Server | undefined;
let listing = new Listing(find('captions'), settings.language);
let transcript = new Transcript();
let offset: Offset = NO_OFFSET;
/** Gets the sound of the last run again. */
let lastSource: (() => Promise<Sound>) | undefined;
let sound: Sound | undefined;
let phase: Phase = 'idle';
let heardMs = 0;
/**
 * Counts runs. An earlier run that was left for a new one, or for the first view, may still send
 * events; they are ignored.
 */
let latest = 0;
const highlight = new Highlight(find('captions'), () => listing, find('readout'));
const chooser = new Chooser(find<HTMLDialogElement>('models'), (models) => {
  settings.models = models;
  changed();
});
const writing = new Writing(find<HTMLDialogElement>('writing'), (written) => void start(() => Promise.resolve(text(written, settings.aloud))));

// ---- phases

function enter(next: Phase): void {
  phase = next;
  document.body.dataset['phase'] = next;
  const busy = next === 'opening' || next === 'running';
  for (const id of ['engine', 'language', 'preset', 'choose']) {
    const control = find<HTMLButtonElement>(id);
    control.disabled = busy;
    control.title = busy ? 'Stop the translation first' : '';
  }
  find('hero').hidden = next !== 'idle';
  find('stage').hidden = next === 'idle';
  find('trouble').hidden = true;
  if (next === 'idle') dock.hide();
  else dock.show();
  dock.button(busy ? 'Stop' : 'Again', busy ? 'stop' : 'play');
  if (!busy) find('follow').hidden = true;
  document.title = next === 'running' ? '● alignatt' : 'alignatt · live translation in a tab';
  if (next === 'running') keepAwake();
  else allowSleep();
  if (next === 'idle') example.rest();
}

function changed(): void {
  save(settings);
  find<HTMLSelectElement>('language').value = settings.language;
  find<HTMLSelectElement>('preset').value = settings.preset;
  find<HTMLInputElement>('aloud').checked = settings.aloud;
  find<HTMLTextAreaElement>('terms').value = settings.terms;
  find('chosen').textContent = SETS[settings.models].name;
  showEngine();
  find('pack').textContent = remote()
    ? `With the models of the server: ${[server?.about.asr, server?.about.mt].filter(Boolean).join(', ')}, on ${server?.about.device}.`
    : settings.models === 'demo'
      ? 'With the demo pack: 20 MB, a controlled English of about 600 words. It shows that the program runs on your computer, and says nothing about translation quality.'
      : `With ${SETS[settings.models].name}, stored in this browser.`;
  if (phase === 'idle') example.show(settings.language);
}

/** Whether the server translates. */
const remote = () => server !== undefined && settings.engine === 'server';

/** Shows what translates, and what can be chosen with it. */
function showEngine(): void {
  const there = remote();
  find('engines').hidden = !server;
  find<HTMLSelectElement>('engine').value = settings.engine;
  for (const id of ['choose', 'write', 'check']) find(id).hidden = there;
  const targets = server?.about.directions['en'] ?? [];
  for (const option of find<HTMLSelectElement>('language').options) option.disabled = there && !targets.includes(option.value);
  find('lead').textContent = there
    ? `Speech is recognised and translated by the server ${location.host}. A few attention heads of the translation model show which spoken word each drafted word rests on. A word is shown once it rests on speech that has been heard. Your sound is sent to this server and nowhere else.`
    : lead;
}

function engine(): Choice {
  if (!server || !remote()) return inThisTab(loadOptions());
  const { language: to, preset } = settings;
  const state = (now: string) => {
    const status = find('status');
    if (now === 'reconnecting') status.textContent = AWAY;
    else if (status.textContent === AWAY) status.textContent = '';
  };
  return onServer(server, { from: 'en', to, preset, terms: terms() }, { opened: (opened) => viewers.show(opened), state });
}

const terms = () => settings.terms.split('\n').filter((term) => term.trim() !== '');

function loadOptions(): LoadOptions {
  const { language: to, preset, models, cpu } = settings;
  const token = chooser.accessToken;
  return { to, device: cpu ? 'cpu' : 'webgpu', ...(terms().length ? { terms: terms() } : {}), ...options(SETS[models], to, preset), ...(token && models !== 'demo' ? { token } : {}) };
}

// ---- runs

async function start(get: () => Promise<Sound>): Promise<void> {
  lastSource = get;
  listing = new Listing(find('captions'), settings.language);
  transcript = new Transcript();
  offset = NO_OFFSET;
  heardMs = 0;
  highlight.leave();
  dock.clearNotice();
  figures.clear();
  follow.start();
  spoken.start(settings.language);
  find('into').textContent = LANGUAGES[settings.language];
  await run(get, 0);
}

async function run(get: () => Promise<Sound>, fromMs: number): Promise<void> {
  enter('opening');
  scrollTo({ top: document.documentElement.scrollHeight });
  find('status').textContent = 'Preparing …';
  dock.say('');
  const poll = setInterval(tick, 1000);
  latest += 1;
  const current = latest;
  const ifCurrent = <T extends unknown[]>(act: (...args: T) => void) => (...args: T) => {
    if (current === latest) act(...args);
  };
  try {
    const got = await get();
    if (current !== latest) return release(got);
    sound = got;
    warn(sound);
    await runner.run(sound, engine(), fromMs, {
      progress: ifCurrent(progress),
      started: ifCurrent(started),
      event: ifCurrent(receive),
      playbackBlocked: ifCurrent(playbackBlocked),
    });
    ifCurrent(done)();
  } catch (error) {
    ifCurrent(fail)(error);
  } finally {
    clearInterval(poll);
  }
}

function warn({ kind }: Sound): void {
  const warning = find('warning');
  warning.hidden = remote() || settings.models !== 'demo' || kind === 'sample';
  warning.textContent =
    kind === 'text'
      ? 'The demo pack translates only its own controlled English of about 600 words. For other text, choose real models.'
      : 'The demo pack understands only its own controlled English of about 600 words. It turns all other speech into these words, too. For real speech, choose real models.';
}

function progress({ stage, model, done: count, total, bytesPerSecond, secondsLeft }: Progress): void {
  const what = { asr: 'speech model', aligner: 'word times', mt: 'translator' }[model];
  const parts = [`${stage === 'fetch' ? 'Fetching' : 'Loading'} the ${what}`, `${bytes(count)} of ${bytes(total)}`];
  if (bytesPerSecond && stage === 'fetch') parts.push(`${bytes(bytesPerSecond)} a second`);
  if (secondsLeft !== undefined && stage === 'fetch') parts.push(`${left(secondsLeft)} left`);
  find('status').textContent = parts.join(' · ');
  dock.say('', total ? count / total : 0);
}

function started(): void {
  enter('running');
  find('status').textContent = sound && 'text' in sound ? '' : LISTENING;
  tick();
}

function playbackBlocked(): void {
  dock.ask('The browser plays sound only after a click. The captions continue.', [['Play the sound', () => void runner.player.play(heardMs)]]);
}

function receive(event: TranslatorEvent): void {
  transcript.take(event);
  const here = shifted(event, offset);
  heardMs = here.audio_ms;
  listing.take(here);
  spoken.take(here);
  highlight.refresh();
  if (event.type === 'target' || event.type === 'source') {
    if (find('status').textContent === LISTENING) find('status').textContent = '';
    follow.catchUp();
  }
  if (event.type === 'progress') {
    figures.progress(event);
    figures.lag(listing.captions.lag());
  }
  if (event.type === 'warning' && !event.message.startsWith('demo pack')) {
    find('warning').textContent = event.message;
    find('warning').hidden = false;
  }
  place();
}

function place(): void {
  if (phase !== 'running' || !sound) return;
  const aloud = 'blob' in sound && sound.aloud;
  dock.at(aloud ? runner.player.positionMs : heardMs, aloud ? runner.player.durationMs : undefined);
}

function tick(): void {
  place();
  if (phase !== 'running') return;
  reportDelay();
  runner.loaded?.stats().then(
    ({ memoryBytes }) => figures.memory(memoryBytes),
    () => undefined,
  );
}

/**
 * Reports when the device does not keep up with the sound that is playing. Without this it would
 * look as if nothing was heard.
 */
function reportDelay(): void {
  const status = find('status');
  const late = sound && 'blob' in sound && sound.aloud ? runner.player.positionMs - heardMs : 0;
  if (late > BEHIND_MS) status.textContent = `The captions are ${seconds(late, 0)} behind the sound`;
  else if (/behind/.test(status.textContent ?? '')) status.textContent = '';
}

function done(): void {
  enter('ended');
  find('status').textContent = listing.views.length ? '' : sound && 'text' in sound ? 'There was nothing to translate.' : 'Nothing was heard.';
}

function fail(error: unknown): void {
  const { code = 'internal', message = String(error) } = error as { code?: string; message?: string };
  const source = lastSource;
  const trouble = code === 'bad-sound' && !sound ? 'no-microphone' : code;
  const lost = trouble === 'device-lost' || trouble === 'out-of-memory' || trouble === 'internal' || trouble === 'session-lost';
  if (lost) runner.reloadNext();
  listing.breakOff();
  if (listing.captions.text('target') && sound) {
    enter('ended');
    find('status').textContent = '';
    const { title, about } = advice(trouble, message);
    // A text is translated again from its beginning, because it costs little.
    const goOn: [string, () => void] = 'text' in sound ? ['Start again', toggle] : ['Continue', resume];
    dock.ask(`${title}. ${about}`, [goOn]);
    return;
  }
  enter('idle');
  showFailure(trouble, message, source && (() => void start(source)));
}

/**
 * Continues after an interrupted run: the same sound, from where its captions were complete. What
 * is on the page stays.
 */
function resume(): void {
  const last = sound;
  if (!last) return;
  const live = 'stream' in last;
  const from = transcript.resume(live);
  offset = { ...from, segments: listing.views.length };
  void run(live && lastSource ? lastSource : () => Promise.resolve(last), live ? 0 : from.audio);
}

/** Shows the page of a failure. */
function showFailure(code: string, message: string, retry: (() => void) | undefined): void {
  find('hero').hidden = true;
  const useCpu = () => {
    settings.cpu = true;
    save(settings);
    findings();
    (retry ?? home)();
  };
  const mayCpu = !remote() && settings.models === 'demo' && !settings.cpu && advice(code, message).cpu;
  showTrouble(find('trouble'), code, message, {
    again: retry ?? (() => location.reload()),
    cpu: mayCpu ? useCpu : undefined,
    back: retry && home,
  });
}

function home(): void {
  latest += 1;
  dock.clearNotice();
  highlight.leave();
  enter('idle');
}

function stop(): void {
  // The run is still waiting for its sound, for example for a permission.
  if (phase === 'opening' && !runner.runs) return home();
  if (phase === 'opening' || phase === 'running') runner.stop();
  if (phase === 'running') find('status').textContent = 'Finishing …';
}

// ---- user actions

function wireChoice(name: 'language' | 'preset'): void {
  find<HTMLSelectElement>(name).addEventListener('change', (event) => {
    const { value } = event.target as HTMLSelectElement;
    if (name === 'language') settings.language = value as Language;
    else settings.preset = value as Preset;
    changed();
  });
}

function flash(button: HTMLElement, text: string): void {
  const before = button.textContent;
  button.textContent = text;
  setTimeout(() => (button.textContent = before), 1500);
}

async function saveAs(format: Format, which: 'source' | 'target'): Promise<void> {
  find('formats').hidePopover();
  const text = listing.captions.text(which);
  const name = `${(sound?.name ?? 'captions').replace(/\.\w+$/, '')}.${which === 'target' ? settings.language : 'en'}`;
  try {
    download(await contents(transcript.events, format, which, text, runner.loaded), name, format);
  } catch (error) {
    dock.ask(`Saving failed: ${error instanceof Error ? error.message : String(error)}`, [['Close', () => undefined]]);
  }
}

function wire(): void {
  wireChoice('language');
  wireChoice('preset');
  find<HTMLSelectElement>('engine').addEventListener('change', ({ target }) => {
    settings.engine = (target as HTMLSelectElement).value as 'tab' | 'server';
    viewers.hide();
    changed();
    findings();
  });
  find('choose').addEventListener('click', () => void chooser.open(settings.models));
  find('write').addEventListener('click', () => writing.open());
  find('play').addEventListener('click', () => void start(sample));
  find('microphone').addEventListener('click', () => void start(() => ((sound = undefined), live('microphone'))));
  // Phones cannot share the sound of a tab.
  find('tab').hidden = !navigator.mediaDevices?.getDisplayMedia;
  find('tab').addEventListener('click', () => void start(() => ((sound = undefined), live('tab'))));
  find<HTMLInputElement>('aloud').addEventListener('change', ({ target }) => {
    settings.aloud = (target as HTMLInputElement).checked;
    changed();
  });
  find<HTMLTextAreaElement>('terms').addEventListener('change', ({ target }) => {
    settings.terms = (target as HTMLTextAreaElement).value;
    changed();
  });
  const picker = find<HTMLInputElement>('picker');
  find('file').addEventListener('click', () => picker.click());
  picker.addEventListener('change', () => {
    const [chosen] = picker.files ?? [];
    picker.value = '';
    if (chosen) void start(() => file(chosen, settings.aloud));
  });
  find('stop').addEventListener('click', toggle);
  find('again').addEventListener('click', () => (stop(), home()));
  find('more').addEventListener('click', (event) => {
    const open = find('dock').classList.toggle('open');
    (event.currentTarget as HTMLElement).setAttribute('aria-expanded', String(open));
  });
  find('copy').addEventListener('click', (event) => {
    const button = event.currentTarget as HTMLElement;
    navigator.clipboard.writeText(listing.captions.text('target')).then(
      () => flash(button, 'Copied'),
      () => flash(button, 'Not allowed'),
    );
  });
  const formats: Array<[string, Format, 'source' | 'target']> = [
    ['Translation, SRT', 'srt', 'target'],
    ['Translation, WebVTT', 'vtt', 'target'],
    ['Translation, text', 'txt', 'target'],
    ['English, SRT', 'srt', 'source'],
    ['English, WebVTT', 'vtt', 'source'],
    ['English, text', 'txt', 'source'],
    ['Every event, JSONL', 'jsonl', 'target'],
  ];
  find('formats').append(...formats.map(([name, format, which]) => make('button', { type: 'button', onclick: () => void saveAs(format, which) }, name)));
  document.addEventListener('keydown', key);
  wireDrop();
}

/** The start/stop button and the space bar: stops the current run, or starts the same one again. */
function toggle(): void {
  if (phase === 'opening' || phase === 'running') stop();
  else void start(lastSource ?? sample);
}

function key(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  const target = event.target as HTMLElement;
  if (event.key === ' ' && !target.closest('button, select, input, summary, a, [popover]')) {
    if (!find('trouble').hidden) return;
    event.preventDefault();
    if (!event.repeat) toggle();
  }
  if (event.key === 'Escape' && !document.querySelector(':popover-open')) {
    if (highlight.active && phase !== 'idle') highlight.leave();
    else stop();
  }
}

function wireDrop(): void {
  const veil = find('drop');
  const carries = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
  addEventListener('dragover', (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  addEventListener('drop', (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    veil.hidden = true;
    const [dropped] = event.dataTransfer?.files ?? [];
    if (!dropped) return;
    stop();
    void start(() => file(dropped, settings.aloud));
  });
}

// ---- startup

function findings(): void {
  if (!found) return;
  showFindings(find('checked'), find('findings'), found, settings.cpu);
  figures.device(remote() ? (server?.about.device ?? '') : settings.cpu ? 'CPU' : adapterName(found));
}

/** Finds the server of the page, and asks for its token if it needs one. */
async function findServer(): Promise<void> {
  let token = serverToken();
  for (;;) {
    const found = await serverOfPage(token);
    if (found !== 'locked') {
      server = found;
      break;
    }
    const dialog = find<HTMLDialogElement>('key');
    const closed = new Promise((done) => dialog.addEventListener('close', done, { once: true }));
    dialog.returnValue = '';
    dialog.showModal();
    await closed;
    if (dialog.returnValue !== 'use') return;
    token = find<HTMLInputElement>('server-token').value.trim();
    keepServerToken(token);
  }
  if (server) find<HTMLSelectElement>('engine').options[0]!.textContent = `server ${location.host}`;
  changed();
}

async function begin(): Promise<void> {
  wire();
  changed();
  [found] = await Promise.all([check(), findServer()]);
  findings();
  const reason = found.secureContext ? found.reason : 'no-secure-context';
  const usable = settings.cpu && settings.models === 'demo' && found.secureContext;
  if (reason && !usable && !remote()) showFailure(reason, '', undefined);
  else workOffline();
}

void begin();
