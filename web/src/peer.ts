// The page's side of the connection to a worker of this package: calls with answers, notes during a
// call, and one defined end.

import { aborted, AlignattError, fromData } from './errors.js';
import type { Call, FromWorker, Note, ToWorker } from './protocol.js';

interface Waiting {
  resolve(value: unknown): void;
  reject(error: AlignattError): void;
  note(note: Note): void;
}

export class Peer {
  readonly #worker: Worker;
  readonly #calls = new Map<number, Waiting>();
  #next = 0;
  #closed: AlignattError | undefined;

  constructor(base?: string | URL) {
    this.#worker =
      base === undefined
        ? new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
        : new Worker(new URL('dist/worker.js', folder(base)), { type: 'module' });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      // A script that cannot be loaded causes an event without a message.
      const failed = event.message
        ? new AlignattError('internal', `the worker of alignatt failed: ${event.message}`)
        : new AlignattError('network', 'the worker of alignatt cannot be loaded: is worker.js in the same folder as index.js?');
      this.close(failed);
    };
  }

  /** Why the worker takes no more calls; undefined while it does. */
  get closed(): AlignattError | undefined {
    return this.#closed;
  }

  /**
   * Sends a call and returns its answer. Errors: those of the call; `aborted` when `signal` aborts,
   * which ends the worker.
   */
  async call<T>(
    call: Call,
    { transfer = [], signal, note = () => {} }: {
      transfer?: Transferable[] | undefined;
      signal?: AbortSignal | undefined;
      note?: ((note: Note) => void) | undefined;
    } = {},
  ): Promise<T> {
    if (this.#closed) throw this.#closed;
    const abort = () => this.close(aborted());
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort);
    try {
      return await new Promise<T>((resolve, reject) => {
        if (this.#closed) return reject(this.#closed);
        const id = this.#next++;
        this.#calls.set(id, { resolve: resolve as (value: unknown) => void, reject, note });
        this.#send({ id, call }, transfer);
      });
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Ends the running stream, if there is one. */
  stop(): void {
    if (!this.#closed) this.#send({ stop: true });
  }

  /** Ends the worker at once and frees all that it holds. Unanswered calls fail with `why`. */
  close(why: AlignattError = aborted()): void {
    if (this.#closed) return;
    this.#closed = why;
    this.#worker.terminate();
    for (const call of this.#calls.values()) call.reject(why);
    this.#calls.clear();
  }

  #send(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromWorker): void {
    if ('fatal' in message) return this.close(fromData(message.fatal));
    const call = this.#calls.get(message.id);
    if (!call) return;
    if ('note' in message) return call.note(message.note);
    this.#calls.delete(message.id);
    if ('error' in message) return call.reject(fromData(message.error));
    call.resolve(message.value);
  }
}

/** The address of a folder, to which file names can be added. */
export function folder(base: string | URL): URL {
  const url = new URL(base, location.href);
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}
