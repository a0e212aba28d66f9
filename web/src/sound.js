// Sound for a server: any source as 16-bit samples at 16 kHz, and what is kept of it until the
// server needs it no more.

import { capture } from './devices.js';
import { AlignattError } from './errors.js';
import { Queue } from './queue.js';
import { RATE, Resampler } from './resample.js';

/** Samples of a block that is sent: a fifth of a second. */
const BLOCK = 3200;
/** The largest file, in bytes: the browser decodes it as a whole. */
const LARGEST = 512 << 20;

/**
 * Sound for a server: a file that the browser can decode, captured sound, or 16 kHz mono samples in
 * blocks of any length.
 *
 * @typedef {Blob | ArrayBuffer | MediaStream | AsyncIterable<Float32Array>} Sound
 */

/**
 * @typedef {object} OpenSound
 * @property {boolean} live It does not wait.
 * @property {AsyncIterable<Float32Array>} blocks At 16 kHz, mono.
 * @property {() => void} close Releases what was opened.
 */

/**
 * @param {Sound} source
 * @returns {Promise<OpenSound>}
 */
export async function openSound(source) {
  if (source instanceof MediaStream) return captured(source);
  if (source instanceof Blob) return file(source);
  if (source instanceof ArrayBuffer) return file(new Blob([source]));
  if (typeof (/** @type {any} */ (source)?.[Symbol.asyncIterator]) === 'function') {
    return { live: false, blocks: checked(source), close: () => {} };
  }
  const kinds = 'a File, Blob, ArrayBuffer, MediaStream or AsyncIterable<Float32Array>';
  throw new AlignattError('bad-option', `sound for a server must be ${kinds}`);
}

/** @param {AsyncIterable<unknown>} source */
async function* checked(source) {
  for await (const block of source) {
    if (!(block instanceof Float32Array)) throw new AlignattError('bad-option', 'blocks of sound must be Float32Array');
    yield block;
  }
}

/**
 * @param {MediaStream} stream
 * @returns {Promise<OpenSound>}
 */
async function captured(stream) {
  // Vite would make a small file a `data:` address, which content security policies forbid.
  const { port, rate, close } = await capture(stream, new URL('./capture-worklet.js?no-inline', import.meta.url));
  /** @type {Queue<Float32Array>} */
  const blocks = new Queue();
  const resampler = new Resampler(rate);
  port.onmessage = (/** @type {MessageEvent<Float32Array | null>} */ { data }) => {
    blocks.push(data === null ? resampler.finish() : resampler.push(data));
    if (data === null) blocks.end();
  };
  const shut = () => {
    close();
    port.close();
    blocks.end();
  };
  return { live: true, blocks, close: shut };
}

/**
 * @param {Blob} blob
 * @returns {Promise<OpenSound>}
 */
async function file(blob) {
  if (blob.size > LARGEST) throw new AlignattError('bad-sound', 'the file is larger than 512 MB: cut it into parts');
  const context = new OfflineAudioContext(1, 1, RATE);
  /** @type {AudioBuffer} */
  let decoded;
  try {
    decoded = await context.decodeAudioData(await blob.arrayBuffer());
  } catch (cause) {
    throw new AlignattError('bad-sound', 'this browser cannot decode the file', { cause });
  }
  return { live: false, blocks: mixed(decoded), close: () => {} };
}

/**
 * The mean of the channels, in blocks.
 *
 * @param {AudioBuffer} sound
 */
async function* mixed(sound) {
  const channels = Array.from({ length: sound.numberOfChannels }, (_, at) => sound.getChannelData(at));
  for (let from = 0; from < sound.length; from += BLOCK) {
    const block = new Float32Array(Math.min(BLOCK, sound.length - from));
    for (const channel of channels) {
      for (let at = 0; at < block.length; at += 1) {
        block[at] = /** @type {number} */ (block[at]) + /** @type {number} */ (channel[from + at]) / channels.length;
      }
    }
    yield block;
  }
}

/**
 * As the server takes them.
 *
 * @param {Float32Array} samples
 * @returns {Int16Array<ArrayBuffer>}
 */
export function pcm(samples) {
  const whole = new Int16Array(samples.length);
  samples.forEach((value, at) => (whole[at] = Math.max(-32_768, Math.min(32_767, Math.round(value * 32_768)))));
  return whole;
}

/**
 * Sound that the server may ask for again. Places are samples from the start of the sound.
 */
export class Kept {
  /** @type {Array<{ at: number, samples: Int16Array<ArrayBuffer> }>} */
  #blocks = [];
  /** Where the kept sound begins. */
  start = 0;
  /** Where it ends. */
  end = 0;
  /** No more follows. */
  over = false;
  #most;

  /** @param {number} most The most samples. The oldest are dropped. */
  constructor(most) {
    this.#most = most;
  }

  /** @param {Int16Array<ArrayBuffer>} samples */
  push(samples) {
    for (let from = 0; from < samples.length; from += BLOCK) {
      const block = samples.slice(from, from + BLOCK);
      this.#blocks.push({ at: this.end, samples: block });
      this.end += block.length;
    }
    this.release(this.end - this.#most);
  }

  /**
   * Drops what lies before a place.
   *
   * @param {number} place
   */
  release(place) {
    let [first] = this.#blocks;
    while (first && first.at + first.samples.length <= place) {
      this.#blocks.shift();
      this.start = first.at + first.samples.length;
      [first] = this.#blocks;
    }
  }

  /**
   * Up to a block of sound from a place on, which must be kept. Empty at the end.
   *
   * @param {number} place
   * @returns {Int16Array<ArrayBuffer>}
   */
  from(place) {
    for (let index = this.#blocks.length - 1; index >= 0; index -= 1) {
      const block = this.#blocks[index];
      if (block && block.at <= place) return block.samples.subarray(place - block.at);
    }
    return new Int16Array(0);
  }
}
