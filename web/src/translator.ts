// What a page uses: loads the models once and gives the events of one stream after another.

import { aborted, AlignattError } from './errors.js';
import type { TranslatorEvent } from './events.js';
import type { Access } from './hub.js';
import type { EngineOptions } from './module.js';
import { folder, Peer } from './peer.js';
import { placeOf, type Model } from './place.js';
import type { Progress } from './progress.js';
import type { DeviceChoice, DeviceInfo, Loaded, Note, OpenCall, Side, Stats, SubtitleFormat } from './protocol.js';
import { keepStorage } from './store.js';
import { openSource, type OpenSource, type Source } from './sources.js';

/** Languages to translate into. */
const TO = ['de', 'it', 'zh'] as const;

export interface LoadOptions extends Access {
  /** Speech recognition, word times, translation. Each is the demo pack's where it is not given. */
  asr?: Model;
  aligner?: Model;
  mt?: Model;
  /** The language to translate into. Without it speech is transcribed only, and no `mt` is loaded. */
  to?: (typeof TO)[number];
  from?: string;
  /** `low` shows earlier, `high` later and better. */
  preset?: 'low' | 'high';
  /** In place of a preset: a policy with its knobs, as on the command line. */
  policy?: string;
  /** `auto`: a WebGPU adapter that passes a self-test, else the CPU. */
  device?: DeviceChoice;
  /** Title, names and terms, told to the translation model: up to half of what it can read, else `bad-option`. */
  context?: string;
  /** How many segments before, with their translations, the translation model is told: 0 to 8. */
  history?: number;
  /** Attention heads of the translation model for this direction, as `alignatt calibrate` writes them. */
  heads?: string;
  /** How much sound a step hears, where it shall not be the policy's own measure. */
  chunkMs?: number;
  onProgress?: (progress: Progress) => void;
  /** Ends loading. What was fetched is kept. */
  signal?: AbortSignal;
  /** Where the package's `dist`, `wasm` and `demo` lie, if not where its modules are. */
  base?: string | URL;
}

export interface StreamOptions {
  /** Ends the stream: `end` comes, then the loop throws `aborted`. */
  signal?: AbortSignal;
  /** A file is fed at the pace at which it would play. */
  realtime?: boolean;
  /** What messages call the sound. */
  name?: string;
}

/** How long `dispose` waits for the last event of a stream that runs. */
const GRACE_MS = 5000;

export class Translator {
  /** Where it computes. */
  readonly device: DeviceInfo;
  /** What was refused on the way, and why. */
  readonly warnings: readonly string[];
  readonly version: string;
  readonly #peer: Peer;
  readonly #options: LoadOptions;
  /** Stops the stream that runs, for a reason that its loop throws. */
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
   * Checks the options, opens the device, fetches what is not there yet, and loads. Errors carry a `code`; nothing is
   * left running.
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
          access: given({ endpoint, token }),
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

  /** The events of translating `source`. Leaving the loop ends the stream. One stream at a time: another is `busy`. */
  translate(source: Source, options: StreamOptions = {}): AsyncGenerator<TranslatorEvent, void, undefined> {
    return this.#stream(source, options, true);
  }

  /** The same, of what is said only. */
  transcribe(source: Source, options: StreamOptions = {}): AsyncGenerator<TranslatorEvent, void, undefined> {
    return this.#stream(source, options, false);
  }

  /** Memory and what waits, at this moment. Answered between two steps. */
  stats(): Promise<Stats> {
    return this.#peer.call<Stats>({ do: 'stats' });
  }

  /** The events of a stream as a subtitle file of what was said (`source`) or of its translation (`target`). */
  subtitles(events: readonly TranslatorEvent[], format: SubtitleFormat, side: Side): Promise<string> {
    const lines = events.map((event) => JSON.stringify(event)).join('\n');
    return this.#peer.call<string>({ do: 'subtitles', events: lines, format, side });
  }

  /** Ends the stream that runs, then the worker with all that it holds on the device. May be called at any moment. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (!this.#stop) return this.#peer.close(gone());
    this.#stop(gone());
    setTimeout(() => this.#peer.close(gone()), GRACE_MS);
  }

  async *#stream(
    source: Source,
    { signal, realtime = false, name }: StreamOptions,
    translate: boolean,
  ): AsyncGenerator<TranslatorEvent, void, undefined> {
    if (this.#disposed) throw gone();
    if (this.#peer.over) throw this.#peer.over;
    if (signal?.aborted) throw aborted();
    const { to, base } = this.#options;
    if (translate && to === undefined) {
      throw new AlignattError('bad-option', 'this translator was loaded without `to`: it transcribes only');
    }
    if (this.#stop) throw new AlignattError('busy', 'a stream runs already: end it, or load another translator');

    let stopped: AlignattError | undefined;
    const stop = (why: AlignattError) => {
      // What has come to its end by itself was not stopped.
      if (stopped || this.#stop !== stop) return;
      stopped = why;
      this.#peer.stop();
    };
    const abort = () => stop(aborted());
    this.#stop = stop;
    signal?.addEventListener('abort', abort);
    const events = new Events();
    const over = (error?: AlignattError) => {
      if (this.#stop === stop) this.#stop = undefined;
      events.end(error);
      if (this.#disposed) this.#peer.close(gone());
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

/** Events that came and were not read yet. What was read before an error comes before the error. */
class Events implements AsyncIterable<TranslatorEvent> {
  readonly #queue: TranslatorEvent[] = [];
  #wake: () => void = () => {};
  #over: { error?: AlignattError } | undefined;

  push(event: TranslatorEvent): void {
    this.#queue.push(event);
    this.#wake();
  }

  end(error?: AlignattError): void {
    this.#over = error ? { error } : {};
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TranslatorEvent, void, undefined> {
    for (;;) {
      for (let event = this.#queue.shift(); event; event = this.#queue.shift()) yield event;
      if (this.#over?.error) throw this.#over.error;
      if (this.#over) return;
      await new Promise<void>((wake) => (this.#wake = wake));
    }
  }
}

function engineOptions({ from, to, preset, policy, context, history, heads, chunkMs }: LoadOptions): EngineOptions {
  if (preset !== undefined && policy !== undefined) {
    throw new AlignattError('bad-option', 'give a preset or a policy, not both');
  }
  if (preset !== undefined && preset !== 'low' && preset !== 'high') {
    throw new AlignattError('bad-option', `${JSON.stringify(preset)} is no preset: low or high`);
  }
  const chosen = policy ?? (preset === 'high' ? 'alignatt:high' : undefined);
  if (to !== undefined && !TO.includes(to)) {
    throw new AlignattError('bad-option', `${JSON.stringify(to)} is no language to translate into: ${TO.join(', ')}`);
  }
  return { from: from ?? 'en', ...given({ to, policy: chosen, context, history, heads, chunk_ms: chunkMs }) };
}

/** The properties that have a value. */
function given<T extends object>(all: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as never;
}

function gone(): AlignattError {
  return new AlignattError('aborted', 'this translator was disposed');
}
