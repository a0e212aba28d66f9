// What has arrived and has not been read yet.

/**
 * Read by one reader. What arrived before an error is read before the error is thrown.
 *
 * @template T
 * @implements {AsyncIterable<T>}
 */
export class Queue {
  /** @type {T[]} */
  #waiting = [];
  /** @type {() => void} */
  #wake = () => {};
  /** @type {{ error?: Error } | undefined} */
  #over;

  /** @param {T} item */
  push(item) {
    this.#waiting.push(item);
    this.#wake();
  }

  /** @param {Error} [error] */
  end(error) {
    this.#over ??= error ? { error } : {};
    this.#wake();
  }

  /** @returns {AsyncGenerator<T, void, undefined>} */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#waiting.length > 0) yield /** @type {T} */ (this.#waiting.shift());
      if (this.#over?.error) throw this.#over.error;
      if (this.#over) return;
      await new Promise((wake) => (this.#wake = () => wake(undefined)));
    }
  }
}
