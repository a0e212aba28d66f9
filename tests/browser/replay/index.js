// Replaces the package in tests of the page alone: plays recorded events through the same
// interface. The test sets what is played and what fails in `globalThis.replay`, before the page
// loads:
//   { events: { de: [...] }, speed, loadMs, fetchMs, check,
//     fail: { at: 'load'|'stream'|'microphone', after, code, message } }
// `fail` takes effect once. Calls are recorded in `replay.calls`.

const replay = globalThis.replay;
replay.calls = [];

export class AlignattError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

function fail(at) {
  const { fail } = replay;
  if (fail?.at !== at) return;
  replay.fail = undefined;
  throw new AlignattError(fail.code, fail.message ?? `the test asked for ${fail.code}`);
}

const wait = (ms, signal) =>
  new Promise((done) => {
    if (signal?.aborted) return done();
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', () => (clearTimeout(timer), done()), { once: true });
  });

export class Translator {
  warnings = [];
  version = '0.1.0';

  constructor(options) {
    this.options = options;
    this.device = { name: options.device === 'cpu' ? 'cpu' : 'webgpu:0 Recorded adapter', report: null, memoryBytes: 213e6 };
  }

  static async load(options) {
    const { onProgress, signal, ...plain } = options;
    replay.calls.push({ load: plain });
    for (let done = 0; done <= 8e6; done += 2e6) {
      onProgress?.({ stage: 'load', model: 'mt', name: 'model.safetensors', done, total: 8e6 });
      await wait(replay.loadMs ?? 5, signal);
    }
    if (signal?.aborted) throw new AlignattError('aborted', 'the operation was aborted');
    fail('load');
    return new Translator(options);
  }

  async *translate(source, options = {}) {
    if (this.busy) throw new AlignattError('busy', 'a stream is already running');
    this.busy = true;
    try {
      yield* this.play(source, options);
    } finally {
      this.busy = false;
    }
  }

  async *play(source, { signal, realtime = false, name }) {
    // The rest of a file, after an interrupted run, knows where it begins.
    const startMs = source.fromMs ?? 0;
    replay.calls.push({ translate: { kind: source.constructor.name, size: source.size, startMs, realtime, name } });
    const events = replay.events[this.options.to];
    // A continued run has only the segments that begin there. Their numbers count from zero, and
    // their times from there.
    const skip = startMs ? events.find((event) => event.type === 'source' && event.committed[0]?.start_ms >= startMs)?.segment : 0;
    const begun = performance.now();
    let given = 0;
    let live = source instanceof MediaStream;
    for (const event of events) {
      if ('segment' in event && event.segment < skip) continue;
      const moved = earlier(event, startMs, skip);
      await wait(moved.audio_ms / (replay.speed ?? 1) - (performance.now() - begun), signal);
      if (signal?.aborted) {
        yield { ...events.at(-1), interrupted: true };
        throw new AlignattError('aborted', 'the operation was aborted');
      }
      if (live && !source.active) return yield events.at(-1);
      if (replay.fail?.at === 'stream' && given >= replay.fail.after) {
        yield { ...events.at(-1), audio_ms: moved.audio_ms, wall_ms: moved.wall_ms, interrupted: true };
        fail('stream');
      }
      given += 1;
      yield moved;
    }
  }

  async stats() {
    return { memoryBytes: 213e6, heapBytes: 9e7, waitingMs: 0 };
  }

  async subtitles(events, format, side) {
    return `${format} of ${side}, ${events.length} events\n`;
  }

  dispose() {
    replay.calls.push({ dispose: true });
  }
}

function earlier(event, ms, skip) {
  const at = (time) => Math.max(0, time - ms);
  const moved = { ...event, audio_ms: at(event.audio_ms) };
  if ('segment' in event) moved.segment = event.segment - skip;
  if (event.type === 'source') {
    moved.committed = event.committed.map((word) => ({ ...word, start_ms: at(word.start_ms), end_ms: at(word.end_ms) }));
  }
  return moved;
}

export async function check() {
  const found = {
    webgpu: true,
    secureContext: true,
    adapter: {
      name: 'Recorded adapter',
      vendor: 'recorded',
      architecture: 'paper',
      software: false,
      features: ['shader-f16', 'subgroups'],
      limits: { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 31 },
    },
    storage: { opfs: true, quota: 3.1e11, usage: 4e7, persisted: false },
    audioWorklet: true,
    wasm: true,
  };
  return { ...found, ...replay.check };
}

const SIZES = {
  'Qwen/Qwen3-ASR-0.6B': 1.88e9,
  'Qwen/Qwen3-ForcedAligner-0.6B': 1.84e9,
  'google/gemma-4-E2B-it': 10.2e9,
  'google/gemma-3-270m': 0.54e9,
  'google/gemma-4-E4B-it': 16e9,
};
const stored = new Map([['Qwen/Qwen3-ASR-0.6B', 1.88e9]]);

export const models = {
  async list() {
    return [...stored].map(([model, done]) => ({ model, done, total: SIZES[model] }));
  },
  async size(model) {
    replay.calls.push({ size: model });
    return { done: stored.get(model) ?? 0, total: SIZES[model] };
  },
  async fetch(model, { onProgress, signal, token } = {}) {
    replay.calls.push({ fetch: model, token });
    const total = SIZES[model];
    for (let done = stored.get(model) ?? 0; done < total; ) {
      done = Math.min(total, done + 3e8);
      onProgress?.({ name: 'model.safetensors', done, total, bytesPerSecond: 4.1e7, secondsLeft: (total - done) / 4.1e7 });
      stored.set(model, done);
      await wait(replay.fetchMs ?? 5, signal);
      if (signal?.aborted) throw new AlignattError('aborted', 'the operation was aborted');
    }
  },
  async remove(model) {
    stored.delete(model);
  },
};

export async function microphone() {
  fail('microphone');
  return navigator.mediaDevices.getUserMedia({ audio: true });
}

export const tab = () => microphone();
