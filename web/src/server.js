// Translation by a server (`alignatt serve`) instead of this tab: `alignatt/server`. The page sends
// sound and receives the events that a `Translator` gives.
//
// The server counts samples and numbers what it commits. So a connection that breaks loses nothing:
// the next one says which records it has, and sends sound again from where the server needs it.
//
// These files are plain JavaScript with types in comments, because `alignatt serve` contains them
// as they are, for its own page.

import { aborted, AlignattError } from './errors.js';
import { InOrder } from './in-order.js';
import { Queue } from './queue.js';
import { RATE } from './resample.js';
import { Kept, openSound, pcm } from './sound.js';

export { microphone, tab } from './devices.js';
export { AlignattError } from './errors.js';

/** @import { OpenSound, Sound } from './sound.js' */

/** @typedef {import('./events.js').TranslatorEvent} TranslatorEvent */
/** @typedef {import('./errors.js').ErrorCode} ErrorCode */

/**
 * Sound that is kept for a server that asks again. A server holds up to 60 s that it has not
 * processed and a segment of 20 s, and it may be away for a while.
 */
const KEPT = 150 * RATE;
/** How far sound that waits is read ahead. */
const AHEAD = 100 * RATE;
/** Bytes that may wait in the browser. What is behind them is sent later. */
const WAITING_BYTES = 64 << 10;
/** How often a full socket is looked at again. */
const LOOK_MS = 50;
/** A server that says nothing for this long, while sound is being sent, is not reached any more. */
const SILENT_MS = 30_000;
/** The wait before the first attempt to connect again, and the longest between later ones. */
const FIRST_WAIT_MS = 250;
const LAST_WAIT_MS = 5000;
/** A connection that lasted this long was a good one: the next wait is short again. */
const LASTED_MS = 5000;
/** After this time without a connection the translation fails. */
const PATIENCE_MS = 10 * 60_000;
/** How long a stream that was stopped waits for its last events. */
const GRACE_MS = 10_000;
/** What a subprotocol may consist of. */
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

/**
 * @typedef {object} ConnectOptions
 * @property {string} [token] A token of the server, if it needs one.
 * @property {string} [share] The `share` of an earlier `Server`, to go on with its link.
 * @property {AbortSignal} [signal] Ends the attempt.
 */

/**
 * What a server can do.
 *
 * @typedef {object} About
 * @property {string} version
 * @property {string} device
 * @property {string} asr
 * @property {string | null} mt
 * @property {string} from The language that is spoken where a stream names none.
 * @property {string | null} to The language to translate to where a stream names none.
 * @property {Record<string, string[]>} directions The languages that can be translated, each with
 *   those that it can be translated to.
 * @property {string | null} public_url Where others reach the server, as its operator says.
 * @property {string | null} network_url Where computers of the same network reach it.
 */

/**
 * @typedef {object} StreamOptions
 * @property {string} [from] The language that is spoken.
 * @property {string | null} [to] The language to translate to; `null`: only transcribe. Without
 *   both, the server's own.
 * @property {string[]} [also] Further languages for viewers of the same link. Their events are not
 *   delivered here.
 * @property {'low' | 'high'} [preset] `low` shows text earlier, `high` later and better.
 * @property {string} [policy] Instead of a preset: a policy with its knobs.
 * @property {string} [context] What the talk is about.
 * @property {readonly string[]} [terms] Names and terms, each `term` or `term = translation`.
 * @property {number} [history] Closed segments that the translation model sees, 0 to 8.
 * @property {number} [chunkMs] The sound of a step, if not the policy's own.
 * @property {boolean} [listen] Also sends `listen` events.
 * @property {boolean} [realtime] Sends a file at the pace at which it would play.
 * @property {AbortSignal} [signal] Ends the stream: then the loop throws `aborted`.
 * @property {(opened: Opened) => void} [onOpen] Called once the session exists.
 * @property {(state: 'connected' | 'reconnecting') => void} [onState] Called when the connection is
 *   lost and when it is there again.
 */

/**
 * A session as viewers find it.
 *
 * @typedef {object} Opened
 * @property {string} session Its id.
 * @property {string} viewer The token of those who only read it.
 * @property {string} link The address of the page for viewers. It stays the same for all streams of
 *   a `Server`.
 */

/**
 * Connects to a server.
 *
 * Errors: `network`: it cannot be reached, or is none; `no-token`: it needs a valid token.
 *
 * @param {string | URL} address Such as `https://talks.example/`.
 * @param {ConnectOptions} [options]
 * @returns {Promise<Server>}
 */
export async function connect(address, { token, share, signal } = {}) {
  const root = new URL(address, globalThis.location?.href);
  if (!root.pathname.endsWith('/')) root.pathname += '/';
  root.search = root.hash = '';
  const answer = await ask(new URL('v1/about', root), token, signal);
  /** @type {About} */
  let about;
  try {
    about = await answer.json();
  } catch (cause) {
    throw new AlignattError('network', `${root.href} is not a server of alignatt`, { cause });
  }
  const [owner, link] = share?.split(' ') ?? [];
  return new Server(root, about, token, owner && link ? { token: owner, link } : undefined);
}

/**
 * @param {URL} url
 * @param {string | undefined} token
 * @param {AbortSignal} [signal]
 */
async function ask(url, token, signal) {
  /** @type {Response} */
  let answer;
  try {
    const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    answer = await fetch(url, { headers, cache: 'no-store', signal: signal ?? null });
  } catch (cause) {
    if (signal?.aborted) throw aborted();
    throw new AlignattError('network', `the server at ${url.origin} cannot be reached`, { cause });
  }
  if (answer.status === 401) throw new AlignattError('no-token', 'the server needs a valid token');
  if (!answer.ok) throw new AlignattError('network', `the server at ${url.origin} answered ${answer.status}`);
  return answer;
}

/** @typedef {{ token: string, link: string }} Share */

/** A server. Its streams have one link, at which viewers follow all of them. */
export class Server {
  /** @readonly @type {URL} */
  address;
  /** @readonly @type {About} */
  about;
  #token;
  /** @type {Share | undefined} */
  #share;
  /** @type {Opened | undefined} */
  #last;

  /**
   * @param {URL} address
   * @param {About} about
   * @param {string | undefined} token
   * @param {Share | undefined} share
   */
  constructor(address, about, token, share) {
    this.address = address;
    this.about = about;
    this.#token = token;
    this.#share = share;
  }

  /**
   * What `connect` needs to go on with this link. It lets its holder write to all viewers: keep it
   * as a password.
   *
   * @returns {string | undefined}
   */
  get share() {
    return this.#share && `${this.#share.token} ${this.#share.link}`;
  }

  /**
   * The events of translating `source`. Leaving the loop ends the stream.
   *
   * Errors: `busy`: the server has no place for another stream; `network`: it was not reached for
   * ten minutes; `session-lost`: it does not know the stream any more, and all that it committed
   * has been delivered; `bad-option`, `bad-sound`; `aborted`.
   *
   * @param {Sound} source
   * @param {StreamOptions} [options]
   * @returns {AsyncGenerator<TranslatorEvent, void, undefined>}
   */
  async *translate(source, options = {}) {
    const { signal, realtime = false, also = [], onOpen, onState } = options;
    if (signal?.aborted) throw aborted();
    const start = startOf(options);
    const sound = await openSound(source);
    if (signal?.aborted) {
      sound.close();
      throw aborted();
    }
    /** @type {Queue<TranslatorEvent>} */
    const events = new Queue();
    const kept = new Kept(KEPT);
    /** @type {Connection[]} */
    const connections = [];
    const feeding = new Feeding(sound, kept, connections, realtime);
    /** @type {Array<Promise<void>>} */
    const others = [];
    const open = (/** @type {object} */ start, /** @type {Listener} */ listener) => {
      const connection = new Connection(this.#stream(), start, kept, listener);
      connections.push(connection);
      return connection.run().finally(() => connections.splice(connections.indexOf(connection), 1));
    };
    const opened = (/** @type {Hello} */ hello) => {
      this.#opened(hello, onOpen);
      for (const to of also) {
        const warn = (/** @type {string} */ message) => events.push({ type: 'warning', audio_ms: 0, wall_ms: 0, message: `for viewers in ${to}: ${message}` });
        const beside = { ...start, to, listen: false, tentative: true, beside: hello.token };
        others.push(open(beside, { opened: () => {}, event: () => {}, state: () => {} }).catch(({ message }) => warn(message)));
      }
    };
    const state = (/** @type {'connected' | 'reconnecting'} */ now) => onState?.(now);
    const beside = this.#share ? { beside: this.#share.token } : {};
    let stopped = false;
    const stop = () => {
      if (stopped) return;
      stopped = true;
      connections.forEach((connection) => connection.skip());
      feeding.stop();
      const late = setTimeout(() => connections.forEach((connection) => connection.stop()), GRACE_MS);
      void Promise.allSettled([primary, ...others]).then(() => clearTimeout(late));
    };
    const primary = open({ ...start, ...beside }, { opened, event: (event) => events.push(event), state });
    primary.then(() => Promise.all(others)).then(
      () => events.end(signal?.aborted ? aborted() : undefined),
      (error) => events.end(signal?.aborted ? aborted() : error),
    );
    const feed = feeding.run().catch((error) => {
      connections.forEach((connection) => connection.stop());
      events.end(error);
    });
    signal?.addEventListener('abort', stop);
    try {
      yield* events;
    } finally {
      signal?.removeEventListener('abort', stop);
      stop();
      sound.close();
      void feed;
    }
  }

  /**
   * The events of transcribing `source`, without a translation.
   *
   * @param {Sound} source
   * @param {StreamOptions} [options]
   */
  transcribe(source, options = {}) {
    return this.translate(source, { ...options, to: null });
  }

  /**
   * The captions of the last stream as a file.
   *
   * @param {'srt' | 'vtt' | 'txt' | 'jsonl'} format
   * @param {'source' | 'target'} side
   * @returns {Promise<string>}
   */
  async captions(format, side) {
    if (!this.#last) throw new AlignattError('bad-option', 'nothing was translated yet');
    const url = new URL(`v1/sessions/${this.#last.session}/captions.${format}`, this.address);
    url.search = String(new URLSearchParams({ side, token: this.#last.viewer }));
    return (await ask(url, undefined)).text();
  }

  /** The address for a stream, and the subprotocols. */
  #stream() {
    const url = new URL('v1/stream', this.address);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const protocols = ['alignatt.v1'];
    if (this.#token !== undefined && TOKEN.test(this.#token)) protocols.push('token', this.#token);
    else if (this.#token !== undefined) url.searchParams.set('token', this.#token);
    return { url, protocols };
  }

  /**
   * @param {Hello} hello
   * @param {((opened: Opened) => void) | undefined} onOpen
   */
  #opened(hello, onOpen) {
    // A session beside another one has the link of that one.
    const link = hello.link ? new URL(hello.link, this.viewersAddress()).href : (this.#share?.link ?? '');
    this.#share = { token: hello.token, link };
    this.#last = { session: hello.session, viewer: hello.viewer, link };
    onOpen?.(this.#last);
  }

  /** Where viewers reach the server: the address of this page may be that of this computer only. */
  viewersAddress() {
    const { public_url: open, network_url: near } = this.about;
    const here = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(this.address.hostname);
    return new URL(open ?? (here && near ? near : this.address.href));
  }
}

/**
 * The message `start` without what a connection adds.
 *
 * @param {StreamOptions} options
 */
function startOf({ from, to, preset, policy, context, terms, history, chunkMs, listen = false }) {
  if (preset !== undefined && policy !== undefined) throw new AlignattError('bad-option', 'pass a preset or a policy, not both');
  if (preset !== undefined && preset !== 'low' && preset !== 'high') {
    throw new AlignattError('bad-option', `unknown preset ${JSON.stringify(preset)}: use low or high`);
  }
  const chosen = policy ?? (preset === 'high' ? 'alignatt:high' : undefined);
  const format = { encoding: 's16le', rate: RATE, channels: 1 };
  // JSON leaves out what is undefined.
  return { type: 'start', from, to, format, policy: chosen, context, terms: terms?.join('\n'), history, chunk_ms: chunkMs, listen };
}

/** Reads sound, keeps it, and tells the connections. */
class Feeding {
  #sound;
  #kept;
  #connections;
  #realtime;
  #stopped = false;
  /** @type {() => void} */
  #wake = () => {};

  /**
   * @param {OpenSound} sound
   * @param {Kept} kept
   * @param {Connection[]} connections
   * @param {boolean} realtime
   */
  constructor(sound, kept, connections, realtime) {
    this.#sound = sound;
    this.#kept = kept;
    this.#connections = connections;
    this.#realtime = realtime;
  }

  async run() {
    const began = performance.now();
    for await (const block of this.#sound.blocks) {
      if (this.#stopped) break;
      this.#kept.push(pcm(block));
      this.#pump();
      if (this.#sound.live) continue;
      if (this.#realtime) await this.#pause((this.#kept.end / RATE) * 1000 - (performance.now() - began));
      // What was read too far ahead waits until the server has some of it behind it.
      while (!this.#stopped && this.#kept.end - this.#kept.start > AHEAD) await this.#pause(LOOK_MS);
    }
    this.stop();
  }

  /** No more sound: the server computes the rest, and the stream ends. */
  stop() {
    this.#stopped = true;
    this.#wake();
    this.#sound.close();
    this.#kept.over = true;
    this.#pump();
  }

  #pump() {
    const needed = Math.min(...this.#connections.map(({ keepFrom }) => keepFrom));
    if (Number.isFinite(needed)) this.#kept.release(needed);
    for (const connection of this.#connections) connection.pump();
  }

  /** @param {number} ms */
  async #pause(ms) {
    if (ms <= 0) return;
    await new Promise((wake) => {
      this.#wake = () => wake(undefined);
      setTimeout(wake, ms);
    });
    this.#pump();
  }
}

/** @typedef {{ session: string, token: string, viewer: string, link?: string }} Hello */

/**
 * @typedef {object} Listener
 * @property {(hello: Hello) => void} opened
 * @property {(event: TranslatorEvent) => void} event
 * @property {(state: 'connected' | 'reconnecting') => void} state
 */

/** Why a socket was closed. @typedef {{ code: number, reason: string }} Closed */

/** One session of a server, over as many sockets as it takes. */
class Connection {
  /** The place in the sound before which the server needs nothing again. */
  keepFrom = 0;
  #address;
  #start;
  #kept;
  #listener;
  /** @type {WebSocket | undefined} */
  #socket;
  /** Whether the socket's session goes on: sound may be sent. */
  #ready = false;
  /** @type {string | undefined} */
  #token;
  /** The place of the sound that is sent next. */
  #cursor = 0;
  #endSent = false;
  /** The rest of the sound is not wanted. */
  #skipped = false;
  #over = false;
  #stopped = false;
  /** @type {() => void} */
  #hurry = () => {};
  #heardAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #later;
  #inOrder = new InOrder();
  #complaint = '';
  #started = false;

  /**
   * @param {{ url: URL, protocols: string[] }} address
   * @param {object} start
   * @param {Kept} kept
   * @param {Listener} listener
   */
  constructor(address, start, kept, listener) {
    this.#address = address;
    this.#start = start;
    this.#kept = kept;
    this.#listener = listener;
  }

  /** Resolves when the session is over, or was stopped. */
  async run() {
    let wait = FIRST_WAIT_MS;
    let lostAt = 0;
    const online = () => this.#hurry();
    globalThis.addEventListener('online', online);
    try {
      for (;;) {
        const began = performance.now();
        const { closed, opened } = await this.#once();
        if (this.#over || this.#stopped) return;
        const error = this.#fatal(closed);
        if (error) throw error;
        if (opened) lostAt = performance.now();
        if (performance.now() - began > LASTED_MS) wait = FIRST_WAIT_MS;
        if (performance.now() - lostAt > PATIENCE_MS) throw new AlignattError('network', 'the server was not reached for ten minutes');
        this.#listener.state('reconnecting');
        await this.#pause(wait);
        if (this.#stopped) return;
        wait = Math.min(wait * 2, LAST_WAIT_MS);
      }
    } finally {
      globalThis.removeEventListener('online', online);
      clearTimeout(this.#later);
    }
  }

  /** Ends the connection at once. */
  stop() {
    this.#stopped = true;
    this.#socket?.close();
    this.#hurry();
  }

  /** Leaves out what was not sent yet. */
  skip() {
    this.#skipped = true;
  }

  /** Sends what can be sent now. */
  pump() {
    clearTimeout(this.#later);
    const socket = this.#socket;
    if (!socket || !this.#ready || socket.readyState !== WebSocket.OPEN) return;
    while (!this.#skipped && this.#cursor < this.#kept.end) {
      if (socket.bufferedAmount > WAITING_BYTES) {
        this.#later = setTimeout(() => this.pump(), LOOK_MS);
        return;
      }
      this.#send(socket);
    }
    if (this.#kept.over && !this.#endSent) {
      this.#endSent = true;
      socket.send(JSON.stringify({ type: 'end' }));
    }
  }

  /** @param {WebSocket} socket */
  #send(socket) {
    const missing = this.#kept.start - this.#cursor;
    if (missing > 0) {
      // Silence instead, so that all times stay right.
      const silence = Math.min(missing, RATE);
      if (missing === silence) this.#warn('sound was lost, because the connection was away for too long');
      socket.send(new Int16Array(silence));
      this.#cursor += silence;
      return;
    }
    const block = this.#kept.from(this.#cursor);
    socket.send(block);
    this.#cursor += block.length;
  }

  /** @param {string} message */
  #warn(message) {
    this.#listener.event({ type: 'warning', ...this.#inOrder.now, message });
  }

  /**
   * One socket, until it is closed.
   *
   * @returns {Promise<{ closed: Closed, opened: boolean }>}
   */
  #once() {
    return new Promise((done) => {
      const socket = new WebSocket(this.#address.url, this.#address.protocols);
      this.#socket = socket;
      this.#heardAt = performance.now();
      let opened = false;
      const over = (/** @type {Closed} */ closed) => {
        clearInterval(watch);
        globalThis.removeEventListener('offline', lost);
        socket.onmessage = socket.onclose = socket.onopen = null;
        this.#ready = false;
        this.#socket = undefined;
        done({ closed, opened });
      };
      // A browser does not close a socket whose network is gone for minutes.
      const lost = () => {
        socket.close();
        over({ code: 1006, reason: '' });
      };
      const watch = setInterval(() => {
        if (performance.now() - this.#heardAt > SILENT_MS) lost();
      }, 1000);
      globalThis.addEventListener('offline', lost);
      socket.onopen = () => socket.send(JSON.stringify(this.#hello()));
      socket.onmessage = ({ data }) => {
        this.#heardAt = performance.now();
        const message = JSON.parse(data);
        if (message.type === 'session') {
          opened = true;
          this.#begin(message);
        } else {
          this.#take(message);
        }
      };
      socket.onclose = ({ code, reason }) => over({ code, reason });
    });
  }

  #hello() {
    if (this.#token === undefined) return this.#start;
    return { ...this.#start, beside: undefined, resume: { token: this.#token, after: this.#inOrder.resume() } };
  }

  /** @param {any} message */
  #begin(message) {
    this.#ready = true;
    this.#endSent = false;
    this.#cursor = Math.min(message.from_sample, this.#kept.end);
    const first = this.#token === undefined;
    this.#token ??= message.token;
    if (first) this.#listener.opened(message);
    this.#listener.state('connected');
    this.pump();
  }

  /** @param {any} message */
  #take(message) {
    if (message.type === 'ack') {
      this.keepFrom = Math.max(this.keepFrom, message.keep_from);
      this.pump();
      return;
    }
    if (message.type === 'error') {
      this.#complaint = message.message;
      return;
    }
    // Every connection begins with it.
    if (message.type === 'start' && this.#started) return;
    this.#started ||= message.type === 'start';
    if (!this.#inOrder.isNew(message)) return;
    if (message.type === 'end') this.#over = true;
    this.#listener.event(this.#inOrder.timed(message));
  }

  /**
   * The error after which it makes no sense to connect again.
   *
   * @param {Closed} closed
   */
  #fatal({ code, reason }) {
    const why = this.#complaint || reason;
    const fail = (/** @type {ErrorCode} */ kind, /** @type {string} */ message) => new AlignattError(kind, why || message);
    switch (code) {
      case 4400:
        return fail('bad-option', 'the server does not take this stream');
      case 4401:
        return fail('session-lost', 'the server does not know this stream any more');
      case 4409:
        return fail('busy', 'another page goes on with this stream');
      case 1009:
        return fail('internal', 'a message was too large for the server');
      case 1013:
        return this.#token === undefined ? fail('busy', 'the server has no place for another stream') : undefined;
      default:
        return this.#token === undefined ? fail('network', 'the server closed the connection before the stream began') : undefined;
    }
  }

  /** @param {number} ms */
  #pause(ms) {
    return new Promise((wake) => {
      this.#hurry = () => wake(undefined);
      setTimeout(wake, ms);
    });
  }
}
