// The rest of a file, from a position on. It is the source when an interrupted run of a file is
// continued. The browser decodes the file as a whole, which a first run does not need.

const RATE = 16_000;
const BLOCK = RATE / 10;

export class Rest implements AsyncIterable<Float32Array> {
  constructor(
    private readonly blob: Blob,
    readonly fromMs: number,
    /** True: feeds the sound at the pace at which it plays. */
    private readonly paced: boolean,
  ) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<Float32Array> {
    const samples = mono(await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await this.blob.arrayBuffer()));
    const first = Math.round((this.fromMs * RATE) / 1000);
    const begun = performance.now();
    for (let at = first; at < samples.length; at += BLOCK) {
      const early = ((at - first) * 1000) / RATE - (performance.now() - begun);
      if (this.paced && early > 0) await new Promise((go) => setTimeout(go, early));
      yield samples.subarray(at, at + BLOCK);
    }
  }
}

function mono(sound: AudioBuffer): Float32Array {
  const mixed = sound.getChannelData(0);
  for (let channel = 1; channel < sound.numberOfChannels; channel += 1) {
    const other = sound.getChannelData(channel);
    for (let at = 0; at < mixed.length; at += 1) mixed[at] = (mixed[at] ?? 0) + (other[at] ?? 0);
  }
  if (sound.numberOfChannels > 1) for (let at = 0; at < mixed.length; at += 1) mixed[at] = (mixed[at] ?? 0) / sound.numberOfChannels;
  return mixed;
}
