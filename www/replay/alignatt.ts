// Stands in for the package while the page is being built (`npm run replay`): the events of a recorded run, at the
// pace at which they came. Never part of the page that is published.

import type { LoadOptions, TranslatorEvent } from '../../web/src/index';

export class AlignattError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

const wait = (ms: number, signal?: AbortSignal) =>
  new Promise<void>((done) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', () => (clearTimeout(timer), done()));
  });

export class Translator {
  device = { name: 'webgpu:0 Recorded adapter' };
  private constructor(private readonly to: string) {}

  static async load(options: LoadOptions): Promise<Translator> {
    for (let done = 0; done <= 20; done += 4) {
      options.onProgress?.({ stage: 'load', model: 'mt', name: 'model.safetensors', done: done * 1e6, total: 20e6 });
      await wait(60, options.signal);
    }
    return new Translator(options.to ?? 'de');
  }

  async *translate(_source: unknown, options: { signal?: AbortSignal } = {}): AsyncGenerator<TranslatorEvent> {
    const text = await (await fetch(`./replay/talk-a.${this.to}.jsonl`)).text();
    const begun = performance.now();
    const speed = Number(new URLSearchParams(location.search).get('speed') ?? 1);
    for (const line of text.trim().split('\n')) {
      const event = JSON.parse(line) as TranslatorEvent;
      await wait(event.audio_ms / speed - (performance.now() - begun), options.signal);
      if (options.signal?.aborted) return;
      yield event;
    }
  }

  async subtitles() {
    return '';
  }

  async stats() {
    return { memoryBytes: 213e6 };
  }

  dispose(): void {}
}

export const check = async () => ({
  webgpu: true,
  secureContext: true,
  adapter: { name: 'Recorded adapter', vendor: 'recorded', architecture: 'paper', features: ['shader-f16', 'subgroups'], limits: { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 31 } },
  storage: { opfs: true, quota: 3.1e11, usage: 4e7, persisted: false },
  audioWorklet: true,
  wasm: true,
});

const GB: Record<string, number> = { 'Qwen/Qwen3-ASR-0.6B': 1.88, 'Qwen/Qwen3-ForcedAligner-0.6B': 1.84, 'google/gemma-4-E2B-it': 10.2, 'google/gemma-4-E4B-it': 16.0 };

export const models = {
  list: async () => [{ model: 'Qwen/Qwen3-ASR-0.6B', done: 1.88e9, total: 1.88e9 }],
  size: async (model: string) => ({ total: (GB[model] ?? 0.02) * 1e9, done: model === 'Qwen/Qwen3-ASR-0.6B' ? 1.88e9 : 0 }),
  fetch: async (model: string, options: { onProgress?: (p: object) => void; signal?: AbortSignal }) => {
    for (let done = 0; done < 1; done += 0.01) {
      options.onProgress?.({ name: 'model.safetensors', done: done * (GB[model] ?? 1) * 1e9, total: (GB[model] ?? 1) * 1e9, bytesPerSecond: 41e6, secondsLeft: 200 });
      await wait(300, options.signal);
      if (options.signal?.aborted) throw new AlignattError('aborted', 'aborted');
    }
  },
  remove: async () => {},
};

export const microphone = () => navigator.mediaDevices.getUserMedia({ audio: true });
export const tab = () => navigator.mediaDevices.getDisplayMedia({ audio: true, video: true });
