// Resampling to the rate of the models, on the page: a server gets exactly as many samples as it
// counts, and a third of what a microphone gives.

/** Samples per second of the models. */
export const RATE = 16_000;

/** Crossings of zero of the filter on each side. */
const ZEROS = 24;
/** Entries of the filter's table between two crossings. */
const FINE = 256;
/** The pass band, as a share of what the lower of both rates can hold. */
const BAND = 0.94;

/** A sinc under a Hann window: the entries from its middle to its end, and one more. */
const TABLE = Float64Array.from({ length: ZEROS * FINE + 2 }, (_, at) => {
  const x = at / FINE;
  if (x >= ZEROS) return 0;
  const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
  return sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / ZEROS));
});

/** Converts a stream of mono samples to 16 kHz. */
export class Resampler {
  /** Input samples for one output sample. */
  #step;
  /** The filter's crossings of zero per input sample. */
  #cutoff;
  /** Input samples on each side of the filter. */
  #half;
  /** Input samples that are still needed. They begin with silence. */
  #kept;
  /** The place of the next output sample in `#kept`. */
  #at;

  /** @param {number} rate Samples per second of the input. */
  constructor(rate) {
    if (!(rate >= 4000 && rate <= 384_000)) throw new RangeError(`a rate of ${rate} is out of range`);
    this.#step = rate / RATE;
    this.#cutoff = BAND * Math.min(1, RATE / rate);
    this.#half = Math.ceil(ZEROS / this.#cutoff);
    this.#kept = new Float32Array(this.#half);
    this.#at = this.#half;
  }

  /**
   * @param {Float32Array} samples
   * @returns {Float32Array}
   */
  push(samples) {
    if (this.#step === 1) return samples;
    const input = new Float32Array(this.#kept.length + samples.length);
    input.set(this.#kept);
    input.set(samples, this.#kept.length);
    const output = new Float32Array(Math.max(0, Math.ceil((input.length - this.#half - this.#at) / this.#step)));
    for (let n = 0; n < output.length; n += 1) {
      output[n] = this.#filtered(input, this.#at);
      this.#at += this.#step;
    }
    const unneeded = Math.min(input.length, Math.max(0, Math.floor(this.#at) - this.#half));
    this.#kept = input.slice(unneeded);
    this.#at -= unneeded;
    return output;
  }

  /**
   * The last samples, when no input follows.
   *
   * @returns {Float32Array}
   */
  finish() {
    return this.push(new Float32Array(this.#half));
  }

  /**
   * @param {Float32Array} input
   * @param {number} at
   */
  #filtered(input, at) {
    const first = Math.max(0, Math.ceil(at - this.#half));
    const last = Math.min(input.length - 1, Math.floor(at + this.#half));
    let sum = 0;
    for (let index = first; index <= last; index += 1) {
      const place = Math.abs(index - at) * this.#cutoff * FINE;
      const whole = Math.min(Math.trunc(place), ZEROS * FINE);
      const low = /** @type {number} */ (TABLE[whole]);
      sum += /** @type {number} */ (input[index]) * (low + (place - whole) * (/** @type {number} */ (TABLE[whole + 1]) - low));
    }
    return sum * this.#cutoff;
  }
}
