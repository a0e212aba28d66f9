// A link as its viewers see it: its sessions, and the events of those that a viewer chose.
//
// The events come by `fetch` and not by an `EventSource`. A phone that slept holds a connection
// that is dead and does not say so; here the server's pings are seen, so their absence is, too.

import { Captions, joined } from './captions.js';

/** The server pings after 15 s without news. Without two of them, the connection is dead. */
const SILENT_MS = 40_000;
/** A page that wakes trusts a connection that was heard of within this time. */
const FRESH_MS = 16_000;
const FIRST_WAIT_MS = 300;
const LAST_WAIT_MS = 5000;
/** How often the link is asked for new sessions: while one is live, else, and if it is unknown. */
const LOOK_MS = 20_000;
const LOOK_SOON_MS = 3000;
const LOOK_SLOWLY_MS = 30_000;
/** An answer that takes longer does not come: its connection may be dead. */
const ANSWER_MS = 20_000;
/** Sessions that begin within this time belong to one sound. */
const TOGETHER_MS = 10_000;

/** The server's address: this file is in its folder `pages`. */
export const ROOT = new URL('..', import.meta.url);

/** Where to read: a link `w/CODE`, or a session with a token of its viewers. */
export function placeOf(location) {
  const { searchParams: query, pathname } = new URL(location);
  // Somebody who types a code may write it in capitals.
  const code = /\/w\/([0-9a-z]+)/i.exec(pathname)?.[1]?.toLowerCase();
  if (code) return { list: new URL(`v1/links/${code}`, ROOT), token: code };
  const session = query.get('session') ?? '';
  const token = query.get('token') ?? '';
  const list = new URL(`v1/sessions/${encodeURIComponent(session)}`, ROOT);
  list.searchParams.set('token', token);
  return { list, token };
}

/**
 * The sessions whose text belongs to a choice: a target language, or `source`. Several sessions of
 * one sound have the same source, which is shown once.
 */
export function chosen(sessions, choice) {
  if (choice !== 'source') return sessions.filter(({ to }) => to === choice);
  const found = [];
  for (const session of sessions) {
    const last = found.at(-1);
    if (!last || session.to === last.to || session.opened_ms - last.opened_ms > TOGETHER_MS) found.push(session);
  }
  return found;
}

export class Link {
  #place;
  #captions;
  #on;
  #choice = 'source';
  #sessions = [];
  #followed = new Map();
  #looking;
  #states = new Map();

  /**
   * `on.sessions(list)` is called when there are new sessions, and returns the choice.
   * `on.state(now)` is called with `waiting`, `live`, `lost`, `ended` or `unknown`: the link leads
   * nowhere, or does no more.
   */
  constructor(place, captions, on) {
    this.#place = place;
    this.#captions = captions;
    this.#on = on;
    addEventListener('online', () => void this.look());
    document.addEventListener('visibilitychange', () => document.hidden || void this.look());
  }

  /** Follows another choice. */
  choose(choice) {
    if (choice === this.#choice) return;
    this.#choice = choice;
    for (const [, stop] of this.#followed) stop.abort();
    this.#followed.clear();
    this.#states.clear();
    this.#captions.clear();
    this.#follow();
  }

  /** Asks for the link's sessions, now and from then on. */
  async look() {
    clearTimeout(this.#looking);
    const sessions = await listed(this.#place.list);
    if (sessions) this.#found(sessions);
    else if (this.#sessions.length === 0) this.#on.state('lost');
    clearTimeout(this.#looking);
    const live = [...this.#states.values()].includes('live');
    const wait = sessions?.length === 0 ? LOOK_SLOWLY_MS : live ? LOOK_MS : LOOK_SOON_MS;
    this.#looking = setTimeout(() => void this.look(), wait * (0.7 + 0.6 * Math.random()));
  }

  #found(sessions) {
    // A server that was started again without a folder knows none of them.
    for (const [session, stop] of this.#followed) {
      if (sessions.some((known) => known.session === session)) continue;
      stop.abort();
      this.#followed.delete(session);
      this.#states.delete(session);
    }
    this.#sessions = sessions;
    if (sessions.length === 0) return this.#on.state('unknown');
    const choice = this.#on.sessions(sessions);
    if (choice !== this.#choice) this.choose(choice);
    else this.#follow();
  }

  #follow() {
    for (const session of chosen(this.#sessions, this.#choice)) {
      if (this.#followed.has(session.session)) continue;
      const stop = new AbortController();
      this.#followed.set(session.session, stop);
      this.#states.set(session.session, 'waiting');
      void this.#read(session, stop.signal);
    }
    this.#tell();
  }

  async #read({ session, from, to, opened_ms: stream }, signal) {
    const captions = this.#captions;
    const url = new URL(`v1/sessions/${session}/events`, ROOT);
    url.search = String(new URLSearchParams({ tentative: '1', token: this.#place.token }));
    const event = (kind, data) => {
      captions.languages(from, to ?? from);
      if (kind === 'source') captions.commit(stream, data.segment, 'source', joined(data.committed.map(({ text }) => text)));
      if (kind === 'target') captions.commit(stream, data.segment, 'target', data.committed);
      if (kind !== 'tentative') return;
      for (const side of ['source', 'target']) {
        const open = data[side];
        captions.tentative(stream, open?.segment ?? -1, side, open?.text ?? '');
      }
    };
    const state = (now) => {
      if (signal.aborted) return;
      if (now !== 'live') captions.settle(stream);
      if (now === 'live') captions.sayAfter(1500);
      this.#states.set(session, now);
      this.#tell();
      if (now === 'ended') setTimeout(() => void this.look(), LOOK_SOON_MS);
    };
    await follow(url, { event, state, signal });
    captions.settle(stream);
  }

  /** The best of what the sessions say: one that is live is what the viewer waits for. */
  #tell() {
    const states = [...this.#states.values()];
    this.#on.state(['live', 'lost', 'waiting', 'ended'].find((state) => states.includes(state)) ?? 'waiting');
  }
}

/** The sessions of a link; none: the link is not known; `undefined`: nobody could say. */
async function listed(list) {
  const attempt = new AbortController();
  const late = setTimeout(() => attempt.abort(), ANSWER_MS);
  try {
    const answer = await fetch(list, { cache: 'no-store', signal: attempt.signal });
    if (answer.status === 404) return [];
    if (!answer.ok) return undefined;
    const found = await answer.json();
    return found.sessions ?? [found];
  } catch {
    return undefined;
  } finally {
    clearTimeout(late);
  }
}

/**
 * The events of a session, from the first to the last, over as many connections as it takes. What a
 * broken connection has begun to send may come twice, always with the whole text of its segment.
 */
async function follow(url, { event, state, signal }) {
  let after = 0;
  let wait = FIRST_WAIT_MS;
  let over = false;
  const message = (kind, id, data) => {
    event(kind, data);
    if (id) after = Number(id);
    over ||= kind === 'end';
  };
  while (!signal.aborted && !over) {
    url.searchParams.set('after', String(after));
    const opened = await connection(url, signal, () => state('live'), message);
    if (signal.aborted || over) break;
    if (opened) wait = FIRST_WAIT_MS;
    state('lost');
    await pause(wait * (0.5 + Math.random()), signal);
    wait = Math.min(wait * 2, LAST_WAIT_MS);
  }
  if (over) state('ended');
}

/** One connection, until it ends for whatever reason. Whether it was opened. */
async function connection(url, signal, live, message) {
  const attempt = new AbortController();
  const stop = () => attempt.abort();
  let opened = false;
  let heard = Date.now();
  const woken = () => !document.hidden && Date.now() - heard > FRESH_MS && stop();
  const watch = setInterval(() => Date.now() - heard > SILENT_MS && stop(), 2000);
  signal.addEventListener('abort', stop);
  addEventListener('offline', stop);
  document.addEventListener('visibilitychange', woken);
  try {
    const answer = await fetch(url, { signal: attempt.signal, cache: 'no-store' });
    if (!answer.ok || !answer.body) return false;
    opened = true;
    live();
    const lines = new Lines(message);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return true;
      heard = Date.now();
      lines.push(value);
    }
  } catch {
    return opened;
  } finally {
    clearInterval(watch);
    signal.removeEventListener('abort', stop);
    removeEventListener('offline', stop);
    document.removeEventListener('visibilitychange', woken);
    stop();
  }
}

/** Reads server-sent events. */
export class Lines {
  #message;
  #rest = '';
  #fields = {};

  constructor(message) {
    this.#message = message;
  }

  push(text) {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === '') {
      const { event, id, data } = this.#fields;
      this.#fields = {};
      if (data !== undefined) this.#message(event, id, JSON.parse(data));
      return;
    }
    const at = line.indexOf(':');
    // A line without a name is a comment: a ping.
    if (at > 0) this.#fields[line.slice(0, at)] = line.slice(at + 1).trimStart();
  }
}

/** Waits, but not while the page wakes or the network is back. */
function pause(ms, signal) {
  return new Promise((done) => {
    const wake = () => {
      if (document.hidden && !signal.aborted) return;
      clearTimeout(late);
      for (const [target, name] of wakers) target.removeEventListener(name, wake);
      done();
    };
    const late = setTimeout(() => {
      for (const [target, name] of wakers) target.removeEventListener(name, wake);
      done();
    }, ms);
    const wakers = [[window, 'online'], [document, 'visibilitychange'], [signal, 'abort']];
    for (const [target, name] of wakers) target.addEventListener(name, wake);
  });
}
