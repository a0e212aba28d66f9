// Types of the compiled Rust module. The generated declarations leave objects and JSON untyped;
// their contents are declared here.

/** A file of a model. Small files are read whole, weights by ranges. */
export type ModelFile =
  | { name: string; bytes: Uint8Array }
  | { name: string; size: number; read(offset: number, len: number): Promise<Uint8Array> };

export interface ModelFiles {
  /** The name of the model in messages and in the `start` event. */
  label: string;
  demo: boolean;
  files: ModelFile[];
}

/** Options of the engines, passed as JSON. Without `to`, nothing is translated. */
export interface EngineOptions {
  from: string;
  to?: string;
  policy?: string;
  context?: string;
  terms?: readonly string[];
  history?: number;
  heads?: string;
  chunk_ms?: number;
  quant?: string;
}
