// Progress of fetching and loading: bytes, and the rate and time left that follow from them.

export type Slot = 'asr' | 'aligner' | 'mt';

export interface FetchProgress {
  /** The file that is being fetched or loaded. */
  name: string;
  /** Bytes of the model that are done, and bytes of the whole model. */
  done: number;
  total: number;
  /** Measured over the last seconds; absent at first. */
  bytesPerSecond?: number;
  secondsLeft?: number;
}

export interface Progress extends FetchProgress {
  /** `fetch`: from the network into storage. `load`: from storage onto the device. */
  stage: 'fetch' | 'load';
  model: Slot;
}

const WINDOW_MS = 5000;
const LEAST_WINDOW_MS = 500;
const REPORT_EVERY_MS = 100;

/** Counts the bytes of one model. Reports at most ten times a second, and always at the end. */
export class Meter {
  readonly #total: number;
  readonly #report: (progress: FetchProgress) => void;
  #name = '';
  #done: number;
  #reportedAt = -Infinity;
  /** Times within the last seconds and the bytes that were done then, oldest first. */
  #marks: { at: number; done: number }[] = [];

  constructor(total: number, done: number, report: (progress: FetchProgress) => void) {
    this.#total = total;
    this.#done = done;
    this.#report = report;
    this.#mark(performance.now());
  }

  file(name: string): void {
    this.#name = name;
  }

  /** Adds bytes that are done. A negative number takes back bytes that turned out to be wrong. */
  add(bytes: number): void {
    const now = performance.now();
    this.#done += bytes;
    if (bytes < 0) this.#marks = [];
    if (now - this.#reportedAt < REPORT_EVERY_MS && this.#done < this.#total) return;
    this.#reportedAt = now;
    this.#mark(now);
    this.#report({ name: this.#name, done: this.#done, total: this.#total, ...this.#pace(now) });
  }

  #mark(now: number): void {
    this.#marks.push({ at: now, done: this.#done });
    while (this.#marks.length > 2 && now - this.#marks[0]!.at > WINDOW_MS) this.#marks.shift();
  }

  #pace(now: number): { bytesPerSecond?: number; secondsLeft?: number } {
    const first = this.#marks[0];
    if (!first || now - first.at < LEAST_WINDOW_MS || this.#done <= first.done) return {};
    const bytesPerSecond = ((this.#done - first.done) * 1000) / (now - first.at);
    return { bytesPerSecond, secondsLeft: (this.#total - this.#done) / bytesPerSecond };
  }
}
