// The order of a session's events over several connections.

/** A clock that falls back by more than this was started again. */
const RESTART_MS = 2000;

/**
 * Gives every event once, with times that never decrease, over all sockets of a session.
 *
 * A record can commit several things, each an event with the record's number. A socket may break
 * between them, so the newest record is asked for again, and what is known of it is left out.
 */
export class InOrder {
  /** The newest record, how many events of it were given, and how many came on this socket. */
  #n = 0;
  #given = 0;
  #came = 0;
  #audio = 0;
  #wall = 0;
  #offset = 0;

  /** The record after which a new socket begins. */
  resume() {
    this.#came = 0;
    return Math.max(0, this.#n - 1);
  }

  /** @param {{ n?: number }} event */
  isNew({ n }) {
    if (n === undefined) return true;
    if (n < this.#n) return false;
    if (n > this.#n) {
      this.#n = n;
      this.#given = this.#came = 0;
    }
    this.#came += 1;
    if (this.#came <= this.#given) return false;
    this.#given = this.#came;
    return true;
  }

  /** The times of the last event. */
  get now() {
    return { audio_ms: this.#audio, wall_ms: this.#wall };
  }

  /**
   * @template {{ audio_ms: number, wall_ms: number }} T
   * @param {T} event
   * @returns {T}
   */
  timed(event) {
    // A server that was started again counts from 0. A record may be a little older than what was
    // told of it before it was written.
    if (event.wall_ms + this.#offset < this.#wall - RESTART_MS) this.#offset = this.#wall - event.wall_ms;
    this.#audio = Math.max(this.#audio, event.audio_ms);
    this.#wall = Math.max(this.#wall, event.wall_ms + this.#offset);
    return { ...event, audio_ms: this.#audio, wall_ms: this.#wall };
  }
}
