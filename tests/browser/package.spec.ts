// The package end to end on the demo pack: its final text equals the native program's; its errors;
// and how streams end.

import type { Page } from '@playwright/test';
import { readFileSync } from 'node:fs';
import { LONG, repo } from './browser.js';
import { nativeEvents, nativeTextEvents } from './native.js';
import { expect, expectInOrder, finalText, type Read, test } from './package-page.js';
import { Hub } from './server.js';

type Language = 'de' | 'it' | 'zh';

/** Loads a translator for all steps of a test. */
async function load(page: Page, options: object): Promise<void> {
  await page.evaluate(async (options) => {
    Object.assign(globalThis, { translator: await alignatt.Translator.load(options) });
  }, options);
}

declare global {
  var translator: import('../../web/src/index.js').Translator;
}

async function translate(page: Page, device: 'cpu' | 'webgpu', sound: string, to: Language) {
  const began = Date.now();
  const read = await page.evaluate(
    async ([device, sound, to]) => {
      const translator = await alignatt.Translator.load({ to, device });
      let early: { heapBytes: number; memoryBytes: number } | undefined;
      const read = await readAll(translator.translate(await (await fetch(sound)).blob(), { name: sound }), async (event) => {
        if (event.type === 'progress' && event.audio_ms > 20_000) early ??= await translator.stats();
      });
      const stats = await translator.stats();
      translator.dispose();
      return { ...read, early: early!, stats, device: translator.device.name };
    },
    [device, sound, to] as const,
  );
  expect(read.code, read.message).toBeUndefined();
  expectInOrder(read.events);
  const end = read.events.at(-1)!;
  expect(end).toMatchObject({ interrupted: false });
  const seconds = ((Date.now() - began) / 1000).toFixed(0);
  const { heapBytes, memoryBytes } = read.stats;
  console.log(
    `${sound.slice(0, 40)} into ${to} on ${read.device}: ${(end.audio_ms / 1000).toFixed(0)} s of sound in ${seconds} s ` +
      `with loading; heap ${(heapBytes / 1e6).toFixed(0)} MB, device ${(memoryBytes / 1e6).toFixed(0)} MB`,
  );
  expect(heapBytes).toBeLessThan(300e6);
  // After some sentences everything needed has been allocated; allocators round up.
  expect(heapBytes - read.early.heapBytes).toBeLessThan(8e6);
  expect(memoryBytes - read.early.memoryBytes).toBeLessThan(8e6);
  return finalText(read.events);
}

for (const [talk, to] of [
  ['talk-a.flac', 'de'],
  ['talk-b.flac', 'it'],
  ['talk-c.flac', 'zh'],
] as [string, Language][]) {
  for (const device of ['cpu', 'webgpu'] as const) {
    test(`${talk} into ${to} on ${device} is the native program's text`, async ({ home }) => {
      // One sample on WebGPU and the others on the CPU; with LONG, all of them on both.
      test.skip(!LONG && (device === 'webgpu') !== (talk === 'talk-a.flac'), 'one device for each sample');
      // WebGPU emulated on a CPU takes some seconds for one second of sound.
      test.setTimeout(1_800_000);
      const text = await translate(home, device, `/samples/${talk}`, to);
      const native = finalText(await nativeEvents(repo(`samples/${talk}`), to));
      expect(text).toEqual(native);
      expect(native.target.join('')).not.toBe('');
    });
  }
}

test('a translator on the CPU: streams one after another, and how each can end', async ({ home }) => {
  await load(home, { to: 'de', device: 'cpu' });

  await test.step('a second stream at the same time is busy', async () => {
    const { second, first } = await home.evaluate(async () => {
      const file = await sample('talk-a.flac');
      let second: Awaited<ReturnType<typeof readAll>> | undefined;
      const first = await readAll(translator.translate(file), async ({ type }) => {
        if (type !== 'progress') return undefined;
        second = await readAll(translator.translate(file));
        return 'break';
      });
      return { second, first };
    });
    expect(second).toMatchObject({ events: [], code: 'busy', ours: true });
    expect(first.code).toBeUndefined();
  });

  await test.step('an abort ends it: the last event, then the error', async () => {
    const read = await home.evaluate(async () => {
      const stop = new AbortController();
      const stream = translator.translate(await sample('talk-a.flac'), { signal: stop.signal });
      return readAll(stream, ({ type }) => void (type === 'progress' && stop.abort()));
    });
    expect(read).toMatchObject({ code: 'aborted', ours: true });
    expectInOrder(read.events);
    expect(read.events.at(-1)).toMatchObject({ interrupted: true });
  });

  await test.step('what was aborted before never begins', async () => {
    const read = await home.evaluate(async () =>
      readAll(translator.translate(new Blob([]), { signal: AbortSignal.abort() })),
    );
    expect(read).toMatchObject({ events: [], code: 'aborted', ours: true });
  });

  await test.step('samples from an iterable, which is closed when the loop is left', async () => {
    const { read, closed } = await home.evaluate(async () => {
      const samples = await samplesOf('talk-a.flac');
      let closed = false;
      async function* blocks() {
        try {
          yield* blocksOf(samples);
        } finally {
          closed = true;
        }
      }
      const read = await readAll(translator.transcribe(blocks()), ({ type }) => (type === 'source' ? 'break' : undefined));
      await new Promise((wake) => setTimeout(wake, 100));
      return { read, closed };
    });
    expect(read.code).toBeUndefined();
    expect(read.events.some(({ type }) => type === 'target')).toBe(false);
    expect(closed).toBe(true);
  });

  await test.step('an iterable that fails', async () => {
    const read = await home.evaluate(async () => {
      async function* blocks() {
        yield new Float32Array(16_000);
        throw new Error('the cable is out');
      }
      return readAll(translator.transcribe(blocks()));
    });
    expect(read).toMatchObject({ code: 'bad-sound', message: 'the cable is out', ours: true });
    expectInOrder(read.events);
    expect(read.events.at(-1)).toMatchObject({ interrupted: true });
  });

  await test.step('what is no sound', async () => {
    const text = await home.evaluate(async () => readAll(translator.translate(new Blob(['no sound at all']))));
    expect(text).toMatchObject({ code: 'bad-sound', ours: true });
    const number = await home.evaluate(async () => readAll(translator.translate(7 as never)));
    expect(number).toMatchObject({ events: [], code: 'bad-option', ours: true });
  });

  await test.step('a file is fed at its own pace, and its lag is small', async () => {
    const { read, ms } = await home.evaluate(async () => {
      const began = performance.now();
      const stream = translator.transcribe(await sample('talk-a.flac'), { realtime: true });
      const read = await readAll(stream, ({ audio_ms }) => (audio_ms > 5000 ? 'break' : undefined));
      return { read, ms: performance.now() - began };
    });
    expect(read.code).toBeUndefined();
    expect(ms).toBeGreaterThan(read.events.at(-1)!.audio_ms - 100);
  });

  await test.step('subtitles of the events', async () => {
    const [srt, vtt] = await home.evaluate(async () => {
      const times = { audio_ms: 900, wall_ms: 900, segment: 0, tentative: '', closed: true };
      const word = { text: 'Hello.', start_ms: 100, end_ms: 600 };
      const events = [
        { type: 'source', committed: [word], ...times },
        { type: 'target', delta: 'Hallo.', committed: 'Hallo.', ...times },
      ] as const;
      const all = events.map((event) => ({ ...event, ...('delta' in event ? {} : { committed: [word] }) }));
      return Promise.all([
        translator.subtitles(all as never, 'srt', 'target'),
        translator.subtitles(all as never, 'vtt', 'source'),
      ]);
    });
    expect(srt).toContain('00:00:00,100 --> ');
    expect(srt).toContain('Hallo.');
    expect(vtt).toContain('WEBVTT');
    expect(vtt).toContain('Hello.');
  });

  await test.step('dispose in the middle: the last event, then the error, and nothing after', async () => {
    const read = await home.evaluate(async () => {
      const stream = translator.translate(await sample('talk-a.flac'));
      return readAll(stream, ({ type }) => void (type === 'progress' && translator.dispose()));
    });
    expect(read).toMatchObject({ code: 'aborted', ours: true });
    expect(read.events.at(-1)).toMatchObject({ type: 'end', interrupted: true });
    const after = await home.evaluate(async () => readAll(translator.translate(await sample('talk-a.flac'))));
    expect(after).toMatchObject({ events: [], code: 'aborted', ours: true });
    expect(await home.evaluate(() => failing(translator.stats()))).toMatchObject({ code: 'aborted', ours: true });
  });
});

test('a text instead of sound: the native text, typed text, and how it can end', async ({ home }) => {
  const words = JSON.parse(readFileSync(repo('samples/talk-a.json'), 'utf8')).words as object[];
  const text = words.map((word) => JSON.stringify(word)).join('\n');
  await load(home, { to: 'de', device: 'cpu' });
  const read: Read = await home.evaluate((text) => readAll(translator.translate({ text })), text);
  expectInOrder(read.events);
  expect(read.events[0]).not.toHaveProperty('asr');
  const native = finalText(await nativeTextEvents(text, 'de'));
  expect(finalText(read.events)).toEqual(native);
  expect(native.target.join('')).not.toBe('');

  await test.step('pieces that are typed, with a pause between them', async () => {
    const typed: Read = await home.evaluate(() => {
      async function* pieces() {
        yield 'We can wait';
        yield 'in Vienna.';
        await new Promise((go) => setTimeout(go, 300));
        yield 'She will support me';
        await new Promise((go) => setTimeout(go, 1600));
        yield 'this week';
      }
      return readAll(translator.translate({ text: pieces() }));
    });
    expectInOrder(typed.events);
    expect(finalText(typed.events).source).toEqual(['We can wait in Vienna.', 'She will support me', 'this week']);
    expect(finalText(typed.events).target).toHaveLength(3);
  });

  await test.step('a malformed line, no text, and no transcription of text', async () => {
    const failed = await home.evaluate(async () => [
      await readAll(translator.translate({ text: '{"text": "Hi"}\n{"text": 3}' })),
      await readAll(translator.translate({ text: ' \n' })),
      await readAll(translator.transcribe({ text: 'Hi' })),
      await readAll(translator.translate({ text: 3 } as never)),
    ]);
    expect(failed.map(({ code }) => code)).toEqual(['bad-option', 'bad-option', 'bad-option', 'bad-option']);
    expect(failed[0]!.message).toContain('line 2 of the text has a `text` that is not a text');
  });

  await test.step('stopped in the middle, then sound on the same models', async () => {
    const stopped: Read = await home.evaluate((text) => {
      const stop = new AbortController();
      const events = translator.translate({ text }, { signal: stop.signal, realtime: true });
      return readAll(events, (event) => event.type === 'target' && stop.abort());
    }, text);
    expect(stopped).toMatchObject({ code: 'aborted' });
    expect(stopped.events.at(-1)).toMatchObject({ type: 'end', interrupted: true });
    const heard: Read = await home.evaluate(async () => {
      const stop = new AbortController();
      const events = translator.translate(await sample('talk-a.flac'), { signal: stop.signal });
      return readAll(events, (event) => event.type === 'target' && stop.abort());
    });
    expect(heard.events[0]).toHaveProperty('asr');
    expect(heard.events.some(({ type }) => type === 'target')).toBe(true);
  });
});

test('wrong options are reported before anything is fetched', async ({ home }) => {
  const codes = await home.evaluate(async () => {
    const load = (options: object) => failing(alignatt.Translator.load(options));
    return [
      await load({ preset: 'low', policy: 'ref' }),
      await load({ preset: 'medium' }),
      await load({ asr: 'not a model' }),
      await load({ to: 'xx' }),
      await load({ signal: AbortSignal.abort() }),
    ];
  });
  expect(codes.map(({ code }) => code)).toEqual(['bad-option', 'bad-option', 'bad-option', 'bad-option', 'aborted']);
});

test('options that the module refuses cost no download', async ({ home, hub }) => {
  const load = (options: object) =>
    home.evaluate(
      ([endpoint, options]) => {
        const models = { asr: 'demo/asr', aligner: 'demo/aligner', mt: 'demo/mt' };
        return failing(alignatt.Translator.load({ ...models, to: 'de', device: 'cpu', endpoint, ...options }));
      },
      [hub.url, options] as const,
    );
  // The Hub has no models. The last load, which has valid options, shows that the Hub would have
  // been asked.
  hub.fault = () => ({ status: 404 });
  for (const wrong of [
    { policy: 'guess' },
    { policy: 'alignatt:top-heads=none' },
    { heads: '{"heads": []' },
    { heads: '{}' },
    { from: 'xx' },
    { chunkMs: 5 },
    { chunkMs: 850.5 },
    { history: -1 },
    { terms: ['= Kopf'] },
    { terms: 'Kopf' },
    { device: 'abacus' },
  ]) {
    expect(await load(wrong), JSON.stringify(wrong)).toMatchObject({ code: 'bad-option', ours: true });
  }
  expect(hub.requests).toEqual([]);
  expect(await load({})).toMatchObject({ code: 'network', ours: true });
  expect(hub.requests).not.toEqual([]);
});

test('without `to` speech is transcribed, and translating is refused', async ({ home }) => {
  await load(home, { device: 'cpu' });
  const read: Read = await home.evaluate(async () => readAll(translator.translate(await sample('talk-a.flac'))));
  expect(read).toMatchObject({ events: [], code: 'bad-option', ours: true });
});

test('progress of loading, and an abort in its middle', async ({ home }) => {
  const { reports, failed } = await home.evaluate(async () => {
    const stop = new AbortController();
    const reports: { stage: string; model: string; done: number; total: number }[] = [];
    const onProgress = (progress: (typeof reports)[number]) => {
      reports.push(progress);
      if (progress.stage === 'load') stop.abort();
    };
    const failed = await failing(alignatt.Translator.load({ to: 'de', device: 'cpu', onProgress, signal: stop.signal }));
    return { reports, failed };
  });
  expect(failed).toMatchObject({ code: 'aborted', ours: true });
  for (const model of ['asr', 'aligner', 'mt']) {
    const last = reports.filter((progress) => progress.stage === 'fetch' && progress.model === model).at(-1)!;
    expect(last.done).toBe(last.total);
  }
});

test('models from the Hub give the same text as the pack that comes with the package', async ({ home, hub }) => {
  const read = await home.evaluate(async (endpoint) => {
    const translator = await alignatt.Translator.load({
      asr: 'demo/asr',
      aligner: 'demo/aligner',
      mt: 'demo/mt',
      to: 'de',
      device: 'cpu',
      endpoint,
    });
    const read = await readAll(translator.translate(await sample('talk-a.flac')));
    translator.dispose();
    return read;
  }, hub.url);
  expect(read.code).toBeUndefined();
  expect(read.events[0]).toMatchObject({ asr: 'demo/asr', aligner: 'demo/aligner', mt: 'demo/mt' });
  expect(finalText(read.events)).toEqual(finalText(await nativeEvents(repo('samples/talk-a.flac'), 'de')));
});

test('a GGUF file is fetched alone, read by ranges, and gives the native text', async ({ home }) => {
  const hub = await Hub.serve(repo('tests/fixtures'));
  const mt = 'demo/gguf/gemma3_like-q8_0.gguf';
  const read = await home.evaluate(
    async ([endpoint, mt]) => {
      const translator = await alignatt.Translator.load({ mt, to: 'de', device: 'cpu', policy: 'local-agreement', endpoint });
      const read = await readAll(translator.translate(await sample('talk-a.flac')));
      const [stored] = await alignatt.models.list();
      translator.dispose();
      return { ...read, stored };
    },
    [hub.url, mt] as const,
  );
  const fetched = new Set(hub.transfers.map(({ path }) => path));
  await hub.close();
  expect(read.code, read.message).toBeUndefined();
  expect([...fetched]).toEqual(['/cdn/gguf/gemma3_like-q8_0.gguf']);
  expect(read.stored).toMatchObject({ model: mt, done: 418112, total: 418112 });
  expect(read.events[0]).toMatchObject({ mt });
  const file = repo('tests/fixtures/gguf/gemma3_like-q8_0.gguf');
  const native = await nativeEvents(repo('samples/talk-a.flac'), 'de', ['--mt', file, '--policy', 'local-agreement']);
  expect(finalText(read.events)).toEqual(finalText(native));
});

test('what this browser can do is found out without fetching anything', async ({ home }) => {
  const asked: string[] = [];
  home.on('request', (request) => asked.push(request.url()));
  const found = await home.evaluate(() => alignatt.check());
  expect(found).toMatchObject({ webgpu: true, secureContext: true, audioWorklet: true, wasm: true });
  expect(found.storage).toMatchObject({ opfs: true });
  expect(found.adapter?.limits.maxStorageBufferBindingSize).toBeGreaterThan(100e6);
  expect(found.reason).toBeUndefined();
  expect(asked).toEqual([]);
});
