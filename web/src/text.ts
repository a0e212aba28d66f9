// One stream whose source is text, on the worker's side: a whole text, or pieces as they are typed.

import type { Engines, TextStream } from '../wasm/alignatt.js';
import { pulled, Signal, sleep } from './feeds.js';
import type { TextFeed } from './protocol.js';
import { letMessagesIn, toEnd, type Run } from './stream.js';

/** Time between two steps while nothing is typed: a pause ends a segment. */
const TICK_MS = 100;

export function runText(engines: Engines, feed: TextFeed, emit: (event: string) => void): Run {
  const stopped = new Signal();
  const stream = engines.open_text(emit);
  const work = feed.kind === 'text' ? () => read(stream, feed, stopped) : () => listen(stream, feed.port, stopped);
  return { waitingMs: 0, stop: () => stopped.set(), over: toEnd(stream, work, () => stopped.set()) };
}

/** Translates a whole text in steps, at the pace at which it would be said or at once. */
async function read(stream: TextStream, feed: TextFeed & { kind: 'text' }, stopped: Signal): Promise<void> {
  const began = performance.now();
  stream.read(feed.text);
  for (let due = stream.due(); due !== undefined; due = stream.due()) {
    const early = began + due - performance.now();
    if (feed.realtime && early > 0) await Promise.race([sleep(early), stopped.wait()]);
    if (stopped.isSet) return;
    await stream.step(due);
    await letMessagesIn();
  }
  await stream.finish();
}

async function listen(stream: TextStream, port: MessagePort, stopped: Signal): Promise<void> {
  const began = performance.now();
  const pieces = pulled(port, (piece) => typeof piece === 'string', stopped);
  let next = pieces.next();
  for (;;) {
    const got = await Promise.race([next, sleep(TICK_MS)]);
    if (stopped.isSet) return;
    if (got?.done) break;
    const now = performance.now() - began;
    if (got) {
      stream.say(got.value, now);
      next = pieces.next();
    }
    await stream.step(now);
    await letMessagesIn();
  }
  await stream.finish();
}
