// One stream through the cascade. Sound is fed in while steps are computed, until the sound ends,
// the stream is stopped, or something fails. In every case the last event is sent and the engines
// are free again.

import type { Engines, Stream } from '../wasm/alignatt.js';
import { type OpenFeed, Signal } from './feeds.js';

export interface Run {
  readonly waitingMs: number;
  /** Ends the stream after the step that is running. */
  stop(): void;
  /** Settles when the stream is done, was stopped, or failed. `end` has been sent by then. */
  over: Promise<void>;
}

export function run(engines: Engines, feed: OpenFeed, translate: boolean, emit: (event: string) => void): Run {
  const stopped = new Signal();
  const stream = engines.open(feed.live, translate, emit);
  const stop = () => {
    stopped.set();
    feed.close();
  };
  return {
    get waitingMs() {
      return stream.waiting_ms;
    },
    stop,
    over: toEnd(stream, () => feedAndStep(stream, feed, stopped), stop),
  };
}

/** Does the work of a stream. In every case the last event is sent and the stream is freed. */
export async function toEnd(
  stream: { end(): void; free(): void },
  work: () => Promise<void>,
  stop: () => void,
): Promise<void> {
  try {
    try {
      await work();
    } catch (error) {
      // The first error is the one that is reported.
      try {
        stream.end();
      } catch {}
      throw error;
    } finally {
      stop();
    }
    stream.end();
  } finally {
    stream.free();
  }
}

async function feedAndStep(stream: Stream, feed: OpenFeed, stopped: Signal): Promise<void> {
  const arrived = new Signal();
  const idle = new Signal();
  let over = false;
  const feeding = (async () => {
    for await (const block of feed.blocks) {
      if (stopped.isSet) return;
      idle.reset();
      stream.push(block);
      arrived.set();
      // A file's next block is read when the last one has been processed. Live sound does not wait.
      if (!feed.live) await idle.wait();
    }
  })().finally(() => {
    over = true;
    arrived.set();
  });
  // `feeding` is awaited below, but may fail before that.
  feeding.catch(() => {});
  try {
    while (!stopped.isSet) {
      arrived.reset();
      if (await stream.step()) {
        await letMessagesIn();
        continue;
      }
      idle.set();
      if (over) break;
      await Promise.race([arrived.wait(), stopped.wait()]);
    }
  } finally {
    idle.set();
  }
  if (stopped.isSet) return;
  await feeding;
  const warning = feed.warning();
  if (warning) stream.warn(warning);
  await stream.finish();
}

/** Lets messages in: on the CPU, a step does not yield to anything else. */
export function letMessagesIn(): Promise<void> {
  return new Promise((wake) => setTimeout(wake));
}
