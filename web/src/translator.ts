// What a page uses. Loads the models once, then gives the events of one stream after another.

import { aborted, AlignattError } from './errors.js';
import type { TranslatorEvent } from './events.js';
import type { Access } from './hub.js';
import type { EngineOptions } from './module.js';
import { folder, Peer } from './peer.js';
import { placeOf, type Model } from './place.js';
import type { Progress } from './progress.js';
import type { DeviceChoice, DeviceInfo, Loaded, Note, OpenCall, Side, Stats, SubtitleFormat } from './protocol.js';
import { Queue } from './queue.js';
import { keepStorage } from './store.js';
import { openSource, type OpenSource, type Source } from './sources.js';

/** Languages to translate into. */
const TARGETS = ['de', 'it', 'zh'] as const;

export interface LoadOptions extends Access {
  /**
   * Models for speech recognition, word times and translation. The demo pack's model is used where
   * none is given.
   */
  asr?: Model;
  aligner?: Model;
  mt?: Model;
  /** The target language. Without it, speech is only transcribed and `mt` is not loaded. */
  to?: (typeof TARGETS)[number];
  from?: string;
  /** `low` shows text earlier, `high` later and better. */
  preset?: 'low' | 'high';
  /** Instead of a preset: a policy with its knobs, as on the command line. */
  policy?: string;
  /** `auto`: a WebGPU adapter that passes a self-test, else the CPU. */
  device?: DeviceChoice;
  /**
   * What the talk is about, for the models of speech and translation. With the terms, it may take
   * up to half of what the translation model can read, and 1024 tokens of the speech model; else
   * `bad-option`.
   */
  context?: string;
  /** Names and terms of the talk, each `term` or `term = translation`. */
  terms?: readonly string[];
  /**
   * How many closed segments, with their translations, the prompt of the translation model
   * contains: 0 to 8.
   */
  history?: number;
  /** Heads of the translation model for this direction, as JSON written by `alignatt calibrate`. */
  heads?: string;
  /** The sound of one step in milliseconds, if it is not to be the policy's own. */
  chunkMs?: number;
  /**
   * How weights are kept: `auto` (as a GGUF file has them; other large models are quantized),
   * `f16`, `q8`, `q4`, or one for the layers and one for the tables, such as `q4/q8`.
   */
  quant?: string;
  onProgress?: (progress: Progress) => void;
  /** Ends loading. Files that have been fetched stay in the store. */
  signal?: AbortSignal;
  /** Where the package's folders `dist`, `wasm` and `demo` are, if not beside its modules. */
  base?: string | URL;
}

export interface StreamOptions {
  /** Ends the stream: the `end` event comes, then the loop throws `aborted`. */
  signal?: AbortSignal;
  /** Feeds a file at the pace at which it would play. */
  realtime?: boolean;
  /** The name of the sound in messages. */
  name?: string;
}

/** How long `dispose` waits for the last event of a running stream. */
const GRACE_MS = 5000;

export class Translator {
  /** The device that computes. */
  readonly device: DeviceInfo;
  /** Devices that were refused, and why. */
  readonly warnings: readonly string[];
  readonly version: string;
  readonly #peer: Peer;
  readonly #options: LoadOptions;
  /** Stops the running stream. The stream's loop throws `why`. */
  #stop: ((why: AlignattError) => void) | undefined;
  #disposed = false;

  private constructor(peer: Peer, options: LoadOptions, loaded: Loaded) {
    this.#peer = peer;
    this.#options = options;
    this.device = loaded.device;
    this.warnings = loaded.warnings;
    this.version = loaded.version;
  }

  /**
   * Checks the options, opens the device, fetches the missing files, and loads the models. Errors
   * are an `AlignattError` with a `code`; after an error nothing is left running.
   */
  static async load(options: LoadOptions = {}): Promise<Translator> {
    const { signal, onProgress, base, endpoint, token } = options;
    const { asr = 'demo', aligner = 'demo', mt = 'demo' } = options;
    if (signal?.aborted) throw aborted();
    const engines = engineOptions(options);
    const places = { asr: placeOf(asr), aligner: placeOf(aligner), mt: placeOf(mt) };
    if (Object.values(places).some((place) => place !== 'demo')) void keepStorage();
    const peer = new Peer(base);
    const note = (note: Note) => {
      if ('fetched' in note && note.slot) onProgress?.({ stage: 'fetch', model: note.slot, ...note.fetched });
      if ('loaded' in note) onProgress?.({ stage: 'load', model: note.slot, ...note.loaded });
    };
    try {
      const loaded = await peer.call<Loaded>(
        {
          do: 'load',
          device: options.device ?? 'auto',
          places,
          engines,
          access: defined({ endpoint, token }),
          ...(base !== undefined && { base: folder(base).href }),
        },
        { signal, note },
      );
      return new Translator(peer, options, loaded);
    } catch (error) {
      peer.close();
      throw error;
    }
  }

  /**
   * The events of translating `source`. Leaving the loop ends the stream. Errors: `busy` while
   * another stream runs.
   */
  translate(source: Source, options: StreamOptions = {}): AsyncGenerator<TranslatorEvent, void, undefined> {
    return this.#stream(source, options, true);
  }

  /** The events of transcribing `source`, without a translation. */
  transcribe(source: Source, options: StreamOptions = {}): AsyncGenerator<TranslatorEvent, void, undefined> {
    return this.#stream(source, options, false);
  }

  /** Memory in use and sound that waits, at this moment. Answered between two steps. */
  stats(): Promise<Stats> {
    return this.#peer.call<Stats>({ do: 'stats' });
  }

  /**
   * A subtitle file made from the events of a stream: of the transcript (`source`) or of the
   * translation (`target`).
   */
  subtitles(events: readonly TranslatorEvent[], format: SubtitleFormat, side: Side): Promise<string> {
    const lines = events.map((event) => JSON.stringify(event)).join('\n');
    return this.#peer.call<string>({ do: 'subtitles', events: lines, format, side });
  }

  /**
   * Ends the running stream, then the worker, and frees all that it holds on the device. May be
   * called at any time.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (!this.#stop) return this.#peer.close(disposed());
    this.#stop(disposed());
    setTimeout(() => this.#peer.close(disposed()), GRACE_MS);
  }

  async *#stream(
    source: Source,
    { signal, realtime = false, name }: StreamOptions,
    translate: boolean,
  ): AsyncGenerator<TranslatorEvent, void, undefined> {
    if (this.#disposed) throw disposed();
    if (this.#peer.closed) throw this.#peer.closed;
    if (signal?.aborted) throw aborted();
    const { to, base } = this.#options;
    if (translate && to === undefined) {
      throw new AlignattError('bad-option', 'this translator was loaded without `to`: it only transcribes');
    }
    if (this.#stop) throw new AlignattError('busy', 'a stream is already running: end it, or load another translator');

    let stopped: AlignattError | undefined;
    const stop = (why: AlignattError) => {
      // A stream that has already ended by itself was not stopped.
      if (stopped || this.#stop !== stop) return;
      stopped = why;
      this.#peer.stop();
    };
    const abort = () => stop(aborted());
    this.#stop = stop;
    signal?.addEventListener('abort', abort);
    const events = new Queue<TranslatorEvent>();
    const over = (error?: AlignattError) => {
      if (this.#stop === stop) this.#stop = undefined;
      events.end(error);
      if (this.#disposed) this.#peer.close(disposed());
    };
    let ended: Promise<void> | undefined;
    let sound: OpenSource | undefined;
    try {
      sound = await openSource(source, { name, realtime, base });
      if (stopped) throw stopped;
      const call: OpenCall = { do: 'open', feed: sound.feed, translate };
      const note = (note: Note) => 'event' in note && events.push(JSON.parse(note.event) as TranslatorEvent);
      ended = this.#peer.call<void>(call, { transfer: sound.transfer, note }).then(() => over(), over);
      yield* events;
      if (stopped) throw stopped;
    } finally {
      signal?.removeEventListener('abort', abort);
      abort();
      sound?.close();
      await ended;
      if (!ended) over();
    }
  }
}

function engineOptions({ from, to, preset, policy, context, terms, history, heads, chunkMs, quant }: LoadOptions): EngineOptions {
  if (preset !== undefined && policy !== undefined) {
    throw new AlignattError('bad-option', 'pass a preset or a policy, not both');
  }
  if (preset !== undefined && preset !== 'low' && preset !== 'high') {
    throw new AlignattError('bad-option', `unknown preset ${JSON.stringify(preset)}: use low or high`);
  }
  const chosen = policy ?? (preset === 'high' ? 'alignatt:high' : undefined);
  if (to !== undefined && !TARGETS.includes(to)) {
    throw new AlignattError('bad-option', `cannot translate into ${JSON.stringify(to)}: use one of ${TARGETS.join(', ')}`);
  }
  return { from: from ?? 'en', ...defined({ to, policy: chosen, context, terms, history, heads, chunk_ms: chunkMs, quant }) };
}

/** The properties that are defined. */
function defined<T extends object>(all: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as never;
}

function disposed(): AlignattError {
  return new AlignattError('aborted', 'this translator was disposed');
}
