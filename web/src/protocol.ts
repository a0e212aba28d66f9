// What the page and the worker say to each other. A call is answered once, by its id, and may send notes before;
// `fatal` answers all calls at once and nothing comes after it.

import type { ErrorData } from './errors.js';
import type { Access } from './hub.js';
import type { EngineOptions } from './module.js';
import type { Place } from './place.js';
import type { FetchProgress, Slot } from './progress.js';

export type DeviceChoice = 'auto' | 'webgpu' | 'cpu';
export type SubtitleFormat = 'srt' | 'vtt';
export type Side = 'source' | 'target';

/** Where the sound of a stream comes from. */
export type Feed =
  /** A whole sound file; `realtime`: at the pace at which it would play. */
  | { kind: 'file'; blob: Blob; name: string; realtime: boolean }
  /** Mono blocks at `rate` come by the port as they are captured, then `null`. */
  | { kind: 'live'; port: MessagePort; rate: number }
  /** Each message to the port is answered by 16 kHz mono, `null` at the end, or the error of the source. */
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

/** The page to the worker. `stop` ends the stream that runs. */
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
  /** It computes on the processor. */
  software: boolean;
  max_binding: number;
  max_buffer: number;
  max_invocations: number;
  max_shared: number;
  features: string[];
}

export interface DeviceInfo {
  /** Such as `webgpu:0 NVIDIA …`, or `cpu`. */
  name: string;
  /** Nothing for the CPU. */
  report: DeviceReport | null;
  /** Memory reserved on it when loading was done. */
  memoryBytes: number;
}

/** Answer to `stats`. */
export interface Stats {
  /** Memory reserved on the device now. */
  memoryBytes: number;
  /** Size of the module's heap, which never shrinks. */
  heapBytes: number;
  /** Sound that waits to be heard in the stream that runs. */
  waitingMs: number;
}
