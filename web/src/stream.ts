// One stream through the cascade: sound is fed in while steps are taken, until it is over, stopped, or something fails.
// Whatever happens, the last event is sent and the engines are free again.

import type { Engines, Stream } from '../wasm/alignatt.js';
import { type OpenFeed, Signal } from './feeds.js';

export interface Run {
  readonly waitingMs: number;
  /** Ends it after the step that runs. */
  stop(): void;
  /** Done, stopped or failed; `end` has been sent. */
  over: Promise<void>;
}

export function run(engines: Engines, feed: OpenFeed, translate: boolean, emit: (event: string) => void): Run {
  const stopped = new Signal();
  const stream = engines.open(feed.live, translate, emit);
  const stop = () => {
    stopped.give();
    feed.close();
  };
  const whole = async () => {
    try {
      await hear(stream, feed, stopped);
    } catch (error) {
      // The first error is the one to tell.
      try {
        stream.end();
      } catch {}
      throw error;
    } finally {
      stop();
    }
    stream.end();
  };
  return {
    get waitingMs() {
      return stream.waiting_ms;
    },
    stop,
    over: whole().finally(() => stream.free()),
  };
}

async function hear(stream: Stream, feed: OpenFeed, stopped: Signal): Promise<void> {
  const arrived = new Signal();
  const room = new Signal();
  let over = false;
  const feeding = (async () => {
    for await (const block of feed.blocks) {
      if (stopped.given) return;
      room.reset();
      stream.push(block);
      arrived.give();
      // A file waits until what it gave was heard; what is live does not.
      if (!feed.live) await room.wait();
    }
  })().finally(() => {
    over = true;
    arrived.give();
  });
  // It is awaited below, but may fail before that.
  feeding.catch(() => {});
  try {
    while (!stopped.given) {
      arrived.reset();
      if (await stream.step()) {
        await turn();
        continue;
      }
      room.give();
      if (over) break;
      await Promise.race([arrived.wait(), stopped.wait()]);
    }
  } finally {
    room.give();
  }
  if (stopped.given) return;
  await feeding;
  const warning = feed.warning();
  if (warning) stream.warn(warning);
  await stream.finish();
}

/** Lets messages in: on the CPU a step gives way to nothing else. */
function turn(): Promise<void> {
  return new Promise((wake) => setTimeout(wake));
}
