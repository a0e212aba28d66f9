// The worker. Everything that computes or writes to storage runs here; the page only receives
// messages.

import init, { check_options, Device, Engines, subtitles, version } from '../wasm/alignatt.js';
import { adapterName } from './capabilities.js';
import { demoFiles } from './demo.js';
import { fetchModel } from './download.js';
import { AlignattError, asError, toData, type ErrorData } from './errors.js';
import { openFeed } from './feeds.js';
import type { Access } from './hub.js';
import type { ModelFile, ModelFiles } from './module.js';
import { label, type Place } from './place.js';
import type { FetchProgress, Slot } from './progress.js';
import type { Call, DeviceChoice, DeviceInfo, FromWorker, LoadCall, Loaded } from './protocol.js';
import type { Note, OpenCall, Stats, ToWorker } from './protocol.js';
import { ModelFolder } from './store.js';
import { run, type Run } from './stream.js';
import { runText } from './text.js';

const page = globalThis as unknown as DedicatedWorkerScope;

/** The result of `load`. It is kept until the worker ends. */
interface Ready {
  device: Device;
  engines: Engines;
  heap: WebAssembly.Memory;
}

let ready: Ready | undefined;
let running: Run | undefined;

page.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if ('stop' in data) return running?.stop();
  const { id, call } = data;
  const note = (note: Note) => post({ id, note });
  answer(call, note).then(
    (value) => post({ id, value }),
    (error: unknown) => (isTrap(error) ? reportFatal(error) : post({ id, error: toData(error) })),
  );
};

function answer(call: Call, note: (note: Note) => void): Promise<unknown> {
  switch (call.do) {
    case 'load':
      return load(call, note);
    case 'open':
      return open(call, note);
    case 'fetch':
      return fetchModel(call.place, call.access, (fetched) => note({ fetched }));
    case 'subtitles':
      return Promise.resolve().then(() => subtitles(call.events, call.format, call.side));
    case 'stats':
      return stats();
  }
}

async function load(
  { device: choice, places, engines: options, access, base }: LoadCall,
  note: (note: Note) => void,
): Promise<Loaded> {
  if (choice === 'webgpu' && !('gpu' in navigator)) {
    throw new AlignattError('no-webgpu', 'this browser has no WebGPU, or it is switched off: try a newer browser, or the CPU');
  }
  const { memory } = await init(base === undefined ? {} : { module_or_path: new URL('wasm/alignatt_bg.wasm', base) });
  // Options and device are checked before anything large is fetched.
  const json = JSON.stringify(options);
  check_options(json);
  const device = await Device.open(choice);
  const wanted: Slot[] = options.to === undefined ? ['asr', 'aligner'] : ['asr', 'aligner', 'mt'];
  const files: Partial<Record<Slot, ModelFiles>> = {};
  for (const slot of wanted) files[slot] = await filesOf(slot, places[slot], access, base, note);
  const slotOf = (what: string) => wanted.find((slot) => slot === what || files[slot]?.label === what) ?? 'asr';
  const progress = (what: string, done: number, total: number) =>
    note({ loaded: { name: what, done, total }, slot: slotOf(what) });
  const engines = await Engines.load(device, json, files.asr, files.aligner, files.mt, progress);
  ready = { device, engines, heap: memory };
  return {
    device: await describe(device),
    warnings: cpuReasons(choice, device),
    version: version(),
  };
}

/** Why the CPU was chosen: the adapters that were refused, or that there is none. */
function cpuReasons(choice: DeviceChoice, device: Device): string[] {
  const { warnings } = device;
  if (choice !== 'auto' || device.name !== 'cpu' || warnings.length > 0) return warnings;
  return ['this browser offers no WebGPU adapter: the CPU is used, which is slow for real models'];
}

async function describe(device: Device): Promise<DeviceInfo> {
  const report = JSON.parse(device.report) as DeviceInfo['report'];
  const about = { report, memoryBytes: device.memory_bytes() };
  if (!report || report.name) return { name: device.name, ...about };
  // In a browser, the module does not learn the adapter's name.
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  return { name: `${device.name.trim()} ${adapter ? adapterName(adapter.info) : ''}`.trim(), ...about };
}

/**
 * A model's files: those of the demo pack, or those in the store. A model that isn't stored is
 * fetched first.
 */
async function filesOf(
  slot: Slot,
  place: Place | 'demo',
  access: Access,
  base: string | undefined,
  note: (note: Note) => void,
): Promise<ModelFiles> {
  const report = (fetched: FetchProgress) => note({ fetched, slot });
  if (place === 'demo') {
    return { label: `the demo pack's ${slot}`, demo: true, files: await demoFiles(slot, base, report) };
  }
  const there = await (await ModelFolder.find(place))?.complete();
  const manifest = there ?? (await fetchModel(place, access, report));
  const folder = await ModelFolder.create(place);
  const files = await Promise.all(
    manifest.files.map(async (file) => {
      const stored = await folder.file(file);
      if (stored) return fromStore(file.name, stored);
      const what = `${label(place)}: ${file.name} is not in this browser's storage any more`;
      throw new AlignattError('bad-model', `${what}: remove the model and fetch it again`);
    }),
  );
  return { label: label(place), demo: false, files };
}

/**
 * Weights are read by ranges, and any number of tabs can read them at once. Small files are read
 * whole.
 */
async function fromStore(name: string, file: File): Promise<ModelFile> {
  const read = async (offset: number, len: number) => {
    try {
      return new Uint8Array(await file.slice(offset, offset + len).arrayBuffer());
    } catch (cause) {
      throw new AlignattError('bad-model', `${name} can no longer be read from storage; was it deleted?`, { cause });
    }
  };
  if (/\.(safetensors|gguf)$/i.test(name)) return { name, size: file.size, read };
  return { name, bytes: await read(0, file.size) };
}

async function open({ feed, translate }: OpenCall, note: (note: Note) => void): Promise<void> {
  const { engines } = loaded();
  if (running) throw new AlignattError('busy', 'a stream is already running; end it first');
  if (feed.kind === 'text' || feed.kind === 'typed') {
    if (!translate) throw new AlignattError('bad-option', 'a text is not transcribed: translate it');
    try {
      running = runText(engines, feed, (event) => note({ event }));
      return await running.over;
    } finally {
      running = undefined;
    }
  }
  const sound = openFeed(feed);
  try {
    running = run(engines, sound, translate, (event) => note({ event }));
    await running.over;
  } finally {
    sound.close();
    await sound.blocks.return(undefined);
    running = undefined;
  }
}

async function stats(): Promise<Stats> {
  const { device, heap } = loaded();
  return {
    memoryBytes: device.memory_bytes(),
    heapBytes: heap.buffer.byteLength,
    waitingMs: running?.waitingMs ?? 0,
  };
}

function loaded(): Ready {
  if (ready) return ready;
  throw new AlignattError('internal', 'nothing is loaded');
}

// A panic of the module traps. If a call is waiting at that moment, the call's promise is never
// settled: the error arrives here, and all that can be done is to report it.
page.addEventListener('error', (event) => {
  const { error, message } = event as ErrorEvent;
  event.preventDefault();
  reportFatal(error ?? message);
});
page.addEventListener('unhandledrejection', (event) => {
  event.preventDefault();
  reportFatal((event as PromiseRejectionEvent).reason);
});

/** The module's panic hook writes the cause to the console. The trap itself does not contain it. */
let panic: string | undefined;
const consoleError = console.error.bind(console);
console.error = (...parts: unknown[]) => {
  const text = String(parts[0]);
  if (text.includes('panicked at')) panic ??= text.split('\n\nStack:')[0]?.trim();
  consoleError(...parts);
};

function reportFatal(reason: unknown): void {
  consoleError(reason);
  const deviceError = deviceComplaint();
  const fatal: ErrorData = deviceError
    ? { code: 'device-lost', message: deviceError }
    : { code: asError(reason).code, message: panic ?? asError(reason).message };
  post({ fatal });
}

/** The error that the device reported on its own, if the device can still be asked. */
function deviceComplaint(): string | undefined {
  try {
    return ready?.device.complaint();
  } catch {
    return undefined;
  }
}

function isTrap(error: unknown): boolean {
  return error instanceof WebAssembly.RuntimeError;
}

function post(message: FromWorker): void {
  page.postMessage(message);
}
