// The messages between the page and the worker. A call is answered once, by its id; notes may come
// before the answer. `fatal` answers all calls at once, and nothing comes after it.

import type { ErrorData } from './errors.js';
import type { Access } from './hub.js';
import type { EngineOptions } from './module.js';
import type { Place } from './place.js';
import type { FetchProgress, Slot } from './progress.js';

export type DeviceChoice = 'auto' | 'webgpu' | 'cpu';
export type SubtitleFormat = 'srt' | 'vtt';
export type Side = 'source' | 'target';

/** Where the source of a stream comes from. */
export type Feed = SoundFeed | TextFeed;

/** A source that is text. */
export type TextFeed =
  /** A whole text. With `realtime` its words come when they would be said. */
  | { kind: 'text'; text: string; realtime: boolean }
  /** The port answers each message with a piece of text, with `null` at the end, or an error. */
  | { kind: 'typed'; port: MessagePort };

/** A source that is sound. */
export type SoundFeed =
  /** A whole sound file. With `realtime` it is fed at the pace at which it would play. */
  | { kind: 'file'; blob: Blob; name: string; realtime: boolean }
  /** The port sends mono blocks at `rate` as they are captured, then `null`. */
  | { kind: 'live'; port: MessagePort; rate: number }
  /**
   * The port answers each message with 16 kHz mono samples, with `null` at the end, or with the
   * source's error.
   */
  | { kind: 'pulled'; port: MessagePort };

export interface LoadCall {
  do: 'load';
  device: DeviceChoice;
  places: Record<Slot, Place | 'demo'>;
  engines: EngineOptions;
  access: Access;
  base?: string;
}

export interface OpenCall {
  do: 'open';
  feed: Feed;
  translate: boolean;
}

export interface SubtitlesCall {
  do: 'subtitles';
  events: string;
  format: SubtitleFormat;
  side: Side;
}

export interface FetchCall {
  do: 'fetch';
  place: Place;
  access: Access;
}

export type Call = LoadCall | OpenCall | SubtitlesCall | FetchCall | { do: 'stats' };

/** Messages from the page to the worker. `stop` ends the running stream. */
export type ToWorker = { id: number; call: Call } | { stop: true };

export type Note =
  | { fetched: FetchProgress; slot?: Slot }
  | { loaded: FetchProgress; slot: Slot }
  | { event: string };

export type FromWorker =
  | { id: number; value: unknown }
  | { id: number; error: ErrorData }
  | { id: number; note: Note }
  | { fatal: ErrorData };

/** Answer to `load`. */
export interface Loaded {
  device: DeviceInfo;
  warnings: string[];
  version: string;
}

export interface DeviceReport {
  name: string;
  driver: string;
  /** True for a software adapter, which computes on the CPU. */
  software: boolean;
  max_binding: number;
  max_buffer: number;
  max_invocations: number;
  max_shared: number;
  features: string[];
}

export interface DeviceInfo {
  /** For example `webgpu:0 NVIDIA …`, or `cpu`. */
  name: string;
  /** `null` for the CPU. */
  report: DeviceReport | null;
  /** Memory reserved on the device when loading was done. */
  memoryBytes: number;
}

/** Answer to `stats`. */
export interface Stats {
  /** Memory reserved on the device now. */
  memoryBytes: number;
  /** Size of the module's heap, which never shrinks. */
  heapBytes: number;
  /** Sound of the running stream that waits to be heard. */
  waitingMs: number;
}
