// The events of a translation. Field for field what the cascade writes as JSON lines in the command line program too.
//
// `start` is first, `end` is last. In a segment `committed` only grows; `tentative` is free to change. After
// `closed: true` nothing more comes of that segment and side.

/** On every event: how much sound had been heard, and the time since the stream was opened. Neither goes back. */
export interface Times {
  audio_ms: number;
  wall_ms: number;
}

/** What runs, and on what. */
export interface StartEvent extends Times {
  type: 'start';
  version: string;
  source_language: string;
  /** Absent where nothing is translated. */
  target_language?: string;
  asr: string;
  aligner: string;
  mt?: string;
  device: string;
  policy?: string;
  chunk_ms: number;
  /** Closed segments that a prompt brings along; absent for none. */
  history?: number;
}

/** A committed source word with its punctuation. Times are absolute. */
export interface Word {
  text: string;
  start_ms: number;
  end_ms: number;
}

/** The source of a segment changed. */
export interface SourceEvent extends Times {
  type: 'source';
  segment: number;
  /** Words that stay: all of the segment's so far. */
  committed: Word[];
  /** The rest of the newest hypothesis. */
  tentative: string;
  closed: boolean;
}

/** The translation of a segment changed. */
export interface TargetEvent extends Times {
  type: 'target';
  segment: number;
  /** What this event adds to the former `committed`. */
  delta: string;
  committed: string;
  /** The rest of the newest draft, to be set directly behind `committed`. */
  tentative: string;
  closed: boolean;
}

/** One token of a draft, and where the model listened while it wrote it. */
export interface ListenToken {
  text: string;
  shown: boolean;
  /** Why it is held; absent where it is shown. */
  why?: string;
  /** The source word it rests on, by its place in `source`. */
  word?: number;
  /** Attention on source words heard, on the others, on the rest of the prompt, on the draft. `null`: not a number. */
  mass: [number | null, number | null, number | null, number | null];
  /** Attention on single source words, as pairs of their place in `source` and the mass. */
  on: [word: number, mass: number][];
}

/** Where the model listened while it wrote a draft. Comes before the target event that it explains. */
export interface ListenEvent extends Times {
  type: 'listen';
  segment: number;
  source: string[];
  /** How many of `source`, from the first, counted as heard. */
  heard: number;
  /** False: an earlier draft was judged anew, and no model was asked. */
  drafted: boolean;
  tokens: ListenToken[];
}

/** How a step went. */
export interface ProgressEvent extends Times {
  type: 'progress';
  /** From the arrival of this step's oldest sound to its last result. */
  lag_ms: number;
  /** Computing time over sound heard, since the start: below 1 keeps up. */
  rtf: number;
  tokens_per_second: number;
  /** Sound held for the open segment. */
  tail_ms: number;
  /** Sound that waits to be heard. */
  waiting_ms: number;
  recognize_ms: number;
  align_ms: number;
  translate_ms: number;
}

/** Something the reader should know; the stream goes on. */
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
  /** The stream was broken off, or something failed: the last segment may be incomplete. */
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
