// Runs on the audio thread. Takes the sound of a microphone or a tab, averages its channels, and
// sends blocks directly to whoever needs them, through a port of their own, so that a busy page
// delays nothing. The page posts 'over' when the capture ends.

/** About 40 ms at 48 kHz: few messages, and a delay that is short beside a chunk. */
const BLOCK = 2048;

class Capture extends AudioWorkletProcessor {
  /** @type {MessagePort | undefined} */
  #out;
  #block = new Float32Array(BLOCK);
  #len = 0;
  #over = false;

  constructor() {
    super();
    this.port.onmessage = (/** @type {MessageEvent<{ out: MessagePort } | 'over'>} */ { data }) => {
      if (data === 'over') this.#end();
      else this.#out = data.out;
    };
  }

  /**
   * Called for every 128 frames. Returns false when this processor is not needed any more.
   *
   * @param {Float32Array[][]} inputs
   */
  process([channels = []]) {
    const frames = channels[0]?.length ?? 0;
    for (let at = 0; at < frames && !this.#over; at += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[at] ?? 0;
      this.#block[this.#len++] = sum / channels.length;
      if (this.#len === BLOCK) this.#send();
    }
    return !this.#over;
  }

  #send() {
    const block = this.#block.slice(0, this.#len);
    this.#len = 0;
    this.#out?.postMessage(block, [block.buffer]);
  }

  #end() {
    if (this.#over) return;
    this.#over = true;
    this.#send();
    this.#out?.postMessage(null);
  }
}

registerProcessor('alignatt-capture', Capture);
