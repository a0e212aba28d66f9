// The events of a translation. Their fields are those of the JSON lines that the command line
// program writes.
//
// `start` is first, `end` is last. Within a segment, `committed` only grows and `tentative` is free
// to change. After `closed: true` there are no more events of that segment and side.

/**
 * On every event, in milliseconds: how much sound had been heard, and the time since the stream was
 * opened. Neither ever decreases.
 */
export interface Times {
  audio_ms: number;
  wall_ms: number;
}

/** The models, the languages, the policy and the device of this stream. */
export interface StartEvent extends Times {
  type: 'start';
  version: string;
  source_language: string;
  /** Absent where only the source is transcribed. */
  target_language?: string;
  /** Absent where the source is text, as is `aligner`. */
  asr?: string;
  aligner?: string;
  mt?: string;
  device: string;
  policy?: string;
  chunk_ms: number;
  /** How many closed segments the prompt contains; absent for none. */
  history?: number;
}

/** A committed source word with its punctuation. Its times count from the start of the sound. */
export interface Word {
  text: string;
  start_ms: number;
  end_ms: number;
}

/** The source of a segment changed. */
export interface SourceEvent extends Times {
  type: 'source';
  segment: number;
  /** The words of the segment that will not change: all of them so far. */
  committed: Word[];
  /** The rest of the newest hypothesis. */
  tentative: string;
  closed: boolean;
}

/** The translation of a segment changed. */
export interface TargetEvent extends Times {
  type: 'target';
  segment: number;
  /** The text that this event adds to the previous `committed`. */
  delta: string;
  committed: string;
  /** The rest of the newest draft. It follows `committed` without a separator. */
  tentative: string;
  closed: boolean;
}

/** One token of a draft, and the source words that the model looked at when it wrote it. */
export interface ListenToken {
  text: string;
  shown: boolean;
  /**
   * Why the token is held; absent where it is shown. `frontier`: it rests on words that are not
   * accessible. `open-unit`: its word is not complete. `after-held`: an earlier token is held.
   * `no-row`, `not-finite`: there is no attention, or it is not a number.
   */
  why?: 'frontier' | 'open-unit' | 'after-held' | 'no-row' | 'not-finite';
  /** Index in `source` of the word that the token rests on. */
  word?: number;
  /**
   * Attention on accessible source words, on inaccessible ones, on the rest of the prompt, and on
   * the draft. `null` is not a number.
   */
  mass: [number | null, number | null, number | null, number | null];
  /** Attention on single source words, as pairs of an index in `source` and the mass. */
  attention: [word: number, mass: number][];
}

/**
 * Where the model looked while it wrote a draft. Comes before the target event that it explains.
 */
export interface ListenEvent extends Times {
  type: 'listen';
  segment: number;
  source: string[];
  /** How many of the words in `source`, from the first, were accessible. */
  heard: number;
  /** False where an earlier draft was judged again, without the model. */
  drafted: boolean;
  tokens: ListenToken[];
}

/** The cost and state of one step. Durations are in milliseconds. */
export interface ProgressEvent extends Times {
  type: 'progress';
  /** From the arrival of this step's oldest sound to its last result. */
  lag_ms: number;
  /** Computing time over sound heard, since the start. Below 1 the device keeps up. */
  rtf: number;
  tokens_per_second: number;
  /** Sound of the open segment. */
  tail_ms: number;
  /** Sound that waits to be heard. */
  waiting_ms: number;
  recognize_ms: number;
  align_ms: number;
  translate_ms: number;
}

/** Something that the reader should know. The stream goes on. */
export interface WarningEvent extends Times {
  type: 'warning';
  message: string;
}

export interface EndEvent extends Times {
  type: 'end';
  segments: number;
  words: number;
  recognized_tokens: number;
  drafted_tokens: number;
  computed_tokens: number;
  saved_tokens: number;
  readbacks: number;
  rtf: number;
  tokens_per_second: number;
  /** True if the stream was stopped or failed: the last segment may be incomplete. */
  interrupted: boolean;
}

export type TranslatorEvent =
  | StartEvent
  | SourceEvent
  | ListenEvent
  | TargetEvent
  | ProgressEvent
  | WarningEvent
  | EndEvent;
