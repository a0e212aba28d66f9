// Where sound comes from, on the worker's side. Every feed yields blocks of 16 kHz mono samples.

import { Resampler, Sound } from '../wasm/alignatt.js';
import { fromData, type ErrorData } from './errors.js';
import type { SoundFeed } from './protocol.js';

export interface OpenFeed {
  blocks: AsyncGenerator<Float32Array>;
  /**
   * True for sound that arrives at its own pace and is taken in at once. Otherwise the feed yields
   * the next block when the last one has been processed.
   */
  live: boolean;
  /** A warning about the source, known once all of it has been read. */
  warning(): string | undefined;
  /** Ends `blocks`, even while it waits. */
  close(): void;
}

/** Length of the slices of a file that is fed at the pace at which it would play. */
const SLICE_MS = 100;
const RATE = 16_000;

export function openFeed(feed: SoundFeed): OpenFeed {
  switch (feed.kind) {
    case 'file':
      return file(feed.blob, feed.name, feed.realtime);
    case 'live':
      return live(feed.port, feed.rate);
    case 'pulled': {
      const over = new Signal();
      const blocks = pulled(feed.port, (block) => block instanceof Float32Array, over);
      return { blocks, live: false, warning: () => undefined, close: () => over.set() };
    }
  }
}

function file(blob: Blob, name: string, realtime: boolean): OpenFeed {
  const sound = Sound.open(blob, name);
  const over = new Signal();
  let warning: string | undefined;
  async function* blocks() {
    try {
      for (let block = sound.next(); block && !over.isSet; block = sound.next()) yield block;
      warning = sound.warning;
    } finally {
      sound.free();
    }
  }
  const run = realtime ? paced(blocks(), over) : blocks();
  return { blocks: run, live: realtime, warning: () => warning, close: () => over.set() };
}

/**
 * The same sound, in slices. Each slice is yielded no sooner than its end would have been heard.
 */
async function* paced(blocks: AsyncGenerator<Float32Array>, over: Signal): AsyncGenerator<Float32Array> {
  const began = performance.now();
  const slice = (SLICE_MS * RATE) / 1000;
  let heard = 0;
  for await (const block of blocks) {
    for (let at = 0; at < block.length; at += slice) {
      const part = block.subarray(at, at + slice);
      heard += part.length;
      const early = began + (heard * 1000) / RATE - performance.now();
      if (early > 0) await Promise.race([sleep(early), over.wait()]);
      if (over.isSet) return;
      yield part;
    }
  }
}

function live(port: MessagePort, rate: number): OpenFeed {
  const resampler = new Resampler(rate);
  const arrived = new Signal();
  const queue: (Float32Array | null)[] = [];
  port.onmessage = ({ data }: MessageEvent<Float32Array | null>) => {
    queue.push(data);
    arrived.set();
  };
  async function* blocks(): AsyncGenerator<Float32Array> {
    try {
      for (;;) {
        await arrived.wait();
        arrived.reset();
        for (let block = queue.shift(); block !== undefined; block = queue.shift()) {
          if (block === null) return yield resampler.finish();
          yield resampler.push(block);
        }
      }
    } finally {
      port.close();
      resampler.free();
    }
  }
  const close = () => {
    queue.push(null);
    arrived.set();
  };
  return { blocks: blocks(), live: true, warning: () => undefined, close };
}

/** What the other side of `port` gives, piece by piece: each message asks for one. */
export async function* pulled<T>(
  port: MessagePort,
  is: (answer: unknown) => answer is T,
  over: Signal,
): AsyncGenerator<T, void> {
  let take: (answer: T | null | ErrorData) => void = () => {};
  port.onmessage = ({ data }) => take(data);
  try {
    while (!over.isSet) {
      const answer = new Promise<T | null | ErrorData>((resolve) => (take = resolve));
      port.postMessage('next');
      const piece = await Promise.race([answer, over.wait()]);
      if (piece === null || piece === undefined) return;
      if (!is(piece)) throw fromData(piece as ErrorData);
      yield piece;
    }
  } finally {
    port.close();
  }
}

/** A flag that can be awaited, before or after it is set. */
export class Signal {
  isSet = false;
  #wake: (() => void)[] = [];

  set(): void {
    this.isSet = true;
    for (const wake of this.#wake.splice(0)) wake();
  }

  reset(): void {
    this.isSet = false;
  }

  wait(): Promise<void> {
    return this.isSet ? Promise.resolve() : new Promise((wake) => this.#wake.push(wake));
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, ms));
}
