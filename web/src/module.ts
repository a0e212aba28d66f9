// The compiled Rust, as this package uses it. The generated declarations leave objects and JSON untyped; here is what
// they hold.

/** A file of a model: read whole where it is small, by ranges where it is weights. */
export type ModelFile =
  | { name: string; bytes: Uint8Array }
  | { name: string; size: number; read(offset: number, len: number): Promise<Uint8Array> };

export interface ModelFiles {
  /** What messages and the `start` event call the model. */
  label: string;
  demo: boolean;
  files: ModelFile[];
}

/** Options of the engines, as JSON. Without `to` nothing is translated. */
export interface EngineOptions {
  from: string;
  to?: string;
  policy?: string;
  context?: string;
  history?: number;
  heads?: string;
  chunk_ms?: number;
}
