// The page. Checks what the browser can do, starts and stops runs, and passes their events to the
// views.

import '@fontsource-variable/atkinson-hyperlegible-next/wght.css';
import './style/page.css';
import './style/captions.css';
import './style/dock.css';
import './style/dialogs.css';

import { check, type Capabilities, type LoadOptions, type Progress, type TranslatorEvent } from 'alignatt';
import { Chooser } from './chooser';
import { Dock } from './dock';
import { find, make } from './dom';
import { Example } from './example';
import { Figures } from './figures';
import { adapterName, showFindings } from './findings';
import { bytes, left, seconds } from './format';
import { advice } from './help';
import { Hold } from './hold';
import { Listing } from './listing';
import { Live } from './live';
import { workOffline } from './offline';
import { Runner } from './run';
import { contents, download, type Format } from './save';
import { Follow } from './scroll';
import { options, SETS } from './sets';
import { keep, LANGUAGES, load, type Language, type Preset } from './settings';
import { file, letGo, live, sample, type Sound } from './sound';
import { NOWHERE, shifted, Transcript, type Offset } from './transcript';
import { showTrouble } from './trouble';
import { keepAwake, letSleep } from './wake';

/**
 * A step takes in up to 1.5 s of sound and may take as long to compute, so a shorter delay is
 * normal.
 */
const BEHIND_MS = 5000;

const LISTENING = 'Listening …';

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
let found: Capabilities | undefined;
let listing = new Listing(find('captions'), settings.language);
let transcript = new Transcript();
let offset: Offset = NOWHERE;
let again: (() => Promise<Sound>) | undefined;
let sound: Sound | undefined;
let phase: Phase = 'idle';
let heardMs = 0;
/**
 * Counts runs. An earlier run that was left for a new one, or for the first view, may still send
 * events; they are ignored.
 */
let latest = 0;
const hold = new Hold(find('captions'), () => listing, find('readout'));
const chooser = new Chooser(find<HTMLDialogElement>('models'), (models) => {
  settings.models = models;
  changed();
});

// ---- phases

function enter(next: Phase): void {
  phase = next;
  document.body.dataset['phase'] = next;
  const busy = next === 'opening' || next === 'running';
  for (const id of ['language', 'preset', 'choose']) {
    const control = find<HTMLButtonElement>(id);
    control.disabled = busy;
    control.title = busy ? 'Stop first' : '';
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
  else letSleep();
  if (next === 'idle') example.rest();
}

function changed(): void {
  keep(settings);
  find<HTMLSelectElement>('language').value = settings.language;
  find<HTMLSelectElement>('preset').value = settings.preset;
  find<HTMLInputElement>('aloud').checked = settings.aloud;
  find('chosen').textContent = SETS[settings.models].name;
  find('pack').textContent =
    settings.models === 'demo'
      ? 'With the demo pack: 20 MB, a controlled English of some hundred words. It proves the machine, not the quality of the real models.'
      : `With ${SETS[settings.models].name}, stored in this browser.`;
  if (phase === 'idle') example.show(settings.language);
}

function loadOptions(): LoadOptions {
  const { language: to, preset, models, cpu } = settings;
  const token = chooser.accessToken;
  return { to, device: cpu ? 'cpu' : 'webgpu', ...options(SETS[models], to, preset), ...(token && models !== 'demo' ? { token } : {}) };
}

// ---- runs

async function start(get: () => Promise<Sound>): Promise<void> {
  again = get;
  listing = new Listing(find('captions'), settings.language);
  transcript = new Transcript();
  offset = NOWHERE;
  heardMs = 0;
  hold.leave();
  dock.quiet();
  figures.clear();
  follow.start();
  spoken.start(settings.language);
  find('into').textContent = LANGUAGES[settings.language];
  await run(get, 0);
}

async function run(get: () => Promise<Sound>, fromMs: number): Promise<void> {
  enter('opening');
  scrollTo({ top: document.documentElement.scrollHeight });
  find('quiet').textContent = 'One moment …';
  dock.say('');
  const poll = setInterval(tick, 1000);
  latest += 1;
  const mine = latest;
  const now = <T extends unknown[]>(act: (...told: T) => void) => (...told: T) => {
    if (mine === latest) act(...told);
  };
  try {
    const got = await get();
    if (mine !== latest) return letGo(got);
    sound = got;
    warn(sound);
    await runner.run(sound, loadOptions(), fromMs, { progress: now(progress), begun: now(begun), event: now(heard), silent: now(silent) });
    now(done)();
  } catch (error) {
    now(fail)(error);
  } finally {
    clearInterval(poll);
  }
}

function warn({ kind }: Sound): void {
  const warning = find('warning');
  warning.hidden = settings.models !== 'demo' || kind === 'sample';
  warning.textContent =
    'The demo pack understands only its own controlled English of some hundred words. Other speech comes out as those words, whatever was said. For real speech, choose real models.';
}

function progress({ stage, model, done: count, total, bytesPerSecond, secondsLeft }: Progress): void {
  const what = { asr: 'speech model', aligner: 'word times', mt: 'translator' }[model];
  const parts = [`${stage === 'fetch' ? 'Fetching' : 'Loading'} the ${what}`, `${bytes(count)} of ${bytes(total)}`];
  if (bytesPerSecond && stage === 'fetch') parts.push(`${bytes(bytesPerSecond)} a second`);
  if (secondsLeft !== undefined && stage === 'fetch') parts.push(`${left(secondsLeft)} left`);
  find('quiet').textContent = parts.join(' · ');
  dock.say('', total ? count / total : 0);
}

function begun(): void {
  enter('running');
  find('quiet').textContent = LISTENING;
  tick();
}

function silent(): void {
  dock.ask('The browser plays no sound before you click. The captions go on.', [['Play aloud', () => void runner.player.play(heardMs)]]);
}

function heard(event: TranslatorEvent): void {
  transcript.take(event);
  const here = shifted(event, offset);
  heardMs = here.audio_ms;
  listing.take(here);
  spoken.take(here);
  hold.refresh();
  if (event.type === 'target' || event.type === 'source') {
    if (find('quiet').textContent === LISTENING) find('quiet').textContent = '';
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
  behind();
  runner.loaded?.stats().then(
    ({ memoryBytes }) => figures.memory(memoryBytes),
    () => undefined,
  );
}

/**
 * Reports when the device does not keep up with the sound that is playing. Without this it would
 * look as if nothing was heard.
 */
function behind(): void {
  const quiet = find('quiet');
  const late = sound && 'blob' in sound && sound.aloud ? runner.player.positionMs - heardMs : 0;
  if (late > BEHIND_MS) quiet.textContent = `Computing is ${seconds(late, 0)} behind the sound`;
  else if (/behind/.test(quiet.textContent ?? '')) quiet.textContent = '';
}

function done(): void {
  enter('ended');
  find('quiet').textContent = listing.views.length ? '' : 'Nothing was heard.';
}

function fail(error: unknown): void {
  const { code = 'internal', message = String(error) } = error as { code?: string; message?: string };
  const asked = again;
  const trouble = code === 'bad-sound' && !sound ? 'no-microphone' : code;
  const lost = trouble === 'device-lost' || trouble === 'out-of-memory' || trouble === 'internal';
  if (lost) runner.distrust();
  listing.breakOff();
  if (listing.captions.text('target') && sound) {
    enter('ended');
    find('quiet').textContent = '';
    const { title, about } = advice(trouble, message);
    dock.ask(`${title}. ${about}`, [['Go on', goOn]]);
    return;
  }
  enter('idle');
  trip(trouble, message, asked && (() => void start(asked)));
}

/**
 * Continues after an interrupted run: the same sound, from where its captions were complete. What
 * is on the page stays.
 */
function goOn(): void {
  const last = sound;
  if (!last) return;
  const live = 'stream' in last;
  const from = transcript.goOn(live);
  offset = { ...from, segments: listing.views.length };
  void run(live && again ? again : () => Promise.resolve(last), live ? 0 : from.audio);
}

/** Shows the page of a failure. */
function trip(code: string, message: string, retry: (() => void) | undefined): void {
  find('hero').hidden = true;
  const useCpu = () => {
    settings.cpu = true;
    keep(settings);
    findings();
    (retry ?? home)();
  };
  const mayCpu = settings.models === 'demo' && !settings.cpu && advice(code, message).cpu;
  showTrouble(find('trouble'), code, message, {
    again: retry ?? (() => location.reload()),
    cpu: mayCpu ? useCpu : undefined,
    back: retry && home,
  });
}

function home(): void {
  latest += 1;
  dock.quiet();
  hold.leave();
  enter('idle');
}

function stop(): void {
  // The run is still waiting for its sound, for example for a permission.
  if (phase === 'opening' && !runner.runs) return home();
  if (phase === 'opening' || phase === 'running') runner.stop();
  if (phase === 'running') find('quiet').textContent = 'Finishing …';
}

// ---- user actions

function side(name: 'language' | 'preset'): void {
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
    dock.ask(`This could not be saved: ${error instanceof Error ? error.message : String(error)}`, [['Close', () => undefined]]);
  }
}

function wire(): void {
  side('language');
  side('preset');
  find('choose').addEventListener('click', () => void chooser.open(settings.models));
  find('play').addEventListener('click', () => void start(sample));
  find('microphone').addEventListener('click', () => void start(() => ((sound = undefined), live('microphone'))));
  // Phones cannot share the sound of a tab.
  find('tab').hidden = !navigator.mediaDevices?.getDisplayMedia;
  find('tab').addEventListener('click', () => void start(() => ((sound = undefined), live('tab'))));
  find<HTMLInputElement>('aloud').addEventListener('change', ({ target }) => {
    settings.aloud = (target as HTMLInputElement).checked;
    changed();
  });
  const picker = find<HTMLInputElement>('picker');
  find('file').addEventListener('click', () => picker.click());
  picker.addEventListener('change', () => {
    const [chosen] = picker.files ?? [];
    picker.value = '';
    if (chosen) void start(() => Promise.resolve(file(chosen, settings.aloud)));
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
  drops();
}

/** The start/stop button and the space bar: stops the current run, or starts the same one again. */
function toggle(): void {
  if (phase === 'opening' || phase === 'running') stop();
  else void start(again ?? sample);
}

function key(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || find<HTMLDialogElement>('models').open) return;
  const target = event.target as HTMLElement;
  if (event.key === ' ' && !target.closest('button, select, input, summary, a, [popover]')) {
    if (!find('trouble').hidden) return;
    event.preventDefault();
    if (!event.repeat) toggle();
  }
  if (event.key === 'Escape' && !document.querySelector(':popover-open')) {
    if (hold.holds && phase !== 'idle') hold.leave();
    else stop();
  }
}

function drops(): void {
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
    void start(() => Promise.resolve(file(dropped, settings.aloud)));
  });
}

// ---- startup

function findings(): void {
  if (!found) return;
  showFindings(find('checked'), find('findings'), found, settings.cpu);
  figures.device(settings.cpu ? 'CPU' : adapterName(found));
}

async function begin(): Promise<void> {
  wire();
  changed();
  found = await check();
  findings();
  const reason = found.secureContext ? found.reason : 'no-secure-context';
  const served = settings.cpu && settings.models === 'demo' && found.secureContext;
  if (reason && !served) trip(reason, '', undefined);
  else workOffline();
}

void begin();
