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
  #over: AlignattError | undefined;

  constructor(base?: string | URL) {
    this.#worker =
      base === undefined
        ? new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
        : new Worker(new URL('dist/worker.js', folder(base)), { type: 'module' });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#hear(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      // A script that cannot be loaded causes an event without a message.
      const failed = event.message
        ? new AlignattError('internal', `the worker of alignatt failed: ${event.message}`)
        : new AlignattError('network', 'the worker of alignatt cannot be loaded: is dist/worker.js beside the page?');
      this.close(failed);
    };
  }

  /** Why the worker takes no more calls; undefined while it does. */
  get over(): AlignattError | undefined {
    return this.#over;
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
    if (this.#over) throw this.#over;
    const abort = () => this.close(aborted());
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort);
    try {
      return await new Promise<T>((resolve, reject) => {
        if (this.#over) return reject(this.#over);
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
    if (!this.#over) this.#send({ stop: true });
  }

  /** Ends the worker at once and frees all that it holds. Unanswered calls fail with `why`. */
  close(why: AlignattError = aborted()): void {
    if (this.#over) return;
    this.#over = why;
    this.#worker.terminate();
    for (const call of this.#calls.values()) call.reject(why);
    this.#calls.clear();
  }

  #send(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #hear(message: FromWorker): void {
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
