// Failures outside of the package: the device, the microphone, the network, other tabs, and long
// runs.

import type { Page } from '@playwright/test';
import { LONG, withWebgpu } from './browser.js';
import { expect, expectInOrder, finalText, test } from './package-page.js';

// There is a microphone, and nobody allows its use.
test.use({ launchOptions: { ...withWebgpu, args: [...withWebgpu.args, '--use-fake-device-for-media-stream'] } });

/** How many minutes of sound the long stream has. */
const LONG_MINUTES = Number(process.env['LONG_MINUTES'] ?? (LONG ? 20 : 2));
/** How many bytes a heap may grow after its first minute: allocators round up. */
const GROWTH = 8e6;

/**
 * Loses the device, or traps in the module, once a stream has shown something; then opens another
 * stream. Returns what both streams gave.
 */
async function brokenBy(page: Page, order: 'lose' | 'trap', device: 'webgpu' | 'cpu') {
  return page.evaluate(
    async ([order, device]) => {
      const translator = await alignatt.Translator.load({ device, base: '/broken/' });
      const orders = new BroadcastChannel('orders');
      const file = await sample('talk-a.flac');
      let given = false;
      const read = await readAll(translator.transcribe(file), ({ type }) => {
        if (type === 'source' && !given) orders.postMessage(order);
        given ||= type === 'source';
      });
      const again = await readAll(translator.transcribe(file));
      translator.dispose();
      translator.dispose();
      return { read, again };
    },
    [order, device] as const,
  );
}

test('a lost device ends the stream with a clear error, and a translator can be loaded again', async ({ home }) => {
  test.setTimeout(900_000);
  const { read, again } = await brokenBy(home, 'lose', 'webgpu');
  expect(read).toMatchObject({ code: 'device-lost', ours: true });
  expect(read.events.some(({ type }) => type === 'source')).toBe(true);
  expectInOrder(read.events);
  expect(read.events.at(-1)).toMatchObject({ type: 'end', interrupted: true });
  expect(again).toMatchObject({ code: 'device-lost', ours: true });

  const anew = await home.evaluate(async () => {
    const translator = await alignatt.Translator.load({ device: 'webgpu' });
    const read = await readAll(translator.transcribe(await sample('talk-a.flac')), ({ type }) =>
      type === 'progress' ? 'break' : undefined,
    );
    translator.dispose();
    return read;
  });
  expect(anew.code).toBeUndefined();
});

test('a module that traps leaves nothing hanging', async ({ home }) => {
  const { read, again } = await brokenBy(home, 'trap', 'cpu');
  expect(read).toMatchObject({ code: 'internal', ours: true });
  expect(read.events.some(({ type }) => type === 'source')).toBe(true);
  expect(again).toMatchObject({ code: 'internal', ours: true });
});

test('a microphone that is denied', async ({ home }) => {
  const failed = await home.evaluate(() => failing(alignatt.microphone()));
  expect(failed).toMatchObject({ code: 'bad-sound', ours: true });
  expect(failed.message).toContain('not allowed');
});

test('the network fails while models are fetched: what arrived is kept', async ({ home, hub }) => {
  // Every transfer of the weights breaks off after 500,000 bytes.
  hub.fault = (path) => (path === '/cdn/asr/model.safetensors' ? { cut: 500_000 } : undefined);
  const load = () =>
    home.evaluate(async (endpoint) => {
      const reports: number[] = [];
      const onProgress = ({ stage, model, done }: { stage: string; model: string; done: number }) =>
        stage === 'fetch' && model === 'asr' && reports.push(done);
      const loading = alignatt.Translator.load({ asr: 'demo/asr', device: 'cpu', endpoint, onProgress });
      const failed = await failing(loading.then((translator) => translator.dispose()));
      return { failed, reports };
    }, hub.url);
  const loading = load();
  await expect.poll(() => hub.transfers.length).toBeGreaterThan(9);
  hub.fault = () => ({ status: 503 });
  const { failed } = await loading;
  expect(failed).toMatchObject({ code: 'network', ours: true });

  hub.fault = () => undefined;
  hub.requests.length = 0;
  const { failed: none } = await load();
  expect(none).toEqual({});
  expect(hub.transfers.map(({ path }) => path)).toEqual(['/cdn/asr/model.safetensors']);
});

test('two tabs translate at once, from the same stored models', async ({ home, hub, open }) => {
  const other = await open();
  const translate = (page: Page) =>
    page.evaluate(async (endpoint) => {
      const options = { asr: 'demo/asr', aligner: 'demo/aligner', mt: 'demo/mt', to: 'de', endpoint } as const;
      const translator = await alignatt.Translator.load({ ...options, device: 'cpu' });
      const read = await readAll(translator.translate(await sample('talk-a.flac')));
      translator.dispose();
      return read;
    }, hub.url);
  const [one, two] = await Promise.all([translate(home), translate(other)]);
  expect(one.code).toBeUndefined();
  expect(finalText(one.events)).toEqual(finalText(two.events));
  const paths = hub.transfers.map(({ path }) => path);
  expect(new Set(paths).size).toBe(paths.length);
});

test('dispose at any moment leaves nothing running', async ({ home }) => {
  for (const wait of [0, 50, 300, 1500]) {
    const failed = await home.evaluate(async (wait) => {
      const stop = new AbortController();
      setTimeout(() => stop.abort(), wait);
      const loading = alignatt.Translator.load({ to: 'de', signal: stop.signal });
      return failing(loading.then((translator) => translator.dispose()));
    }, wait);
    // A fast machine may have finished loading before the last of these.
    if (failed.code !== undefined) expect(failed).toMatchObject({ code: 'aborted', ours: true });
  }
  await expect.poll(() => home.workers().length).toBe(0);
});

test(`memory is flat over ${LONG_MINUTES} minutes`, async ({ home }) => {
  test.setTimeout(300_000 + LONG_MINUTES * 120_000);
  const { marks, read } = await home.evaluate(async (minutes) => {
    const translator = await alignatt.Translator.load({ to: 'de', device: 'cpu' });
    const samples = await samplesOf('talk-a.flac');
    async function* looped() {
      for (let heard = 0; heard < minutes * 60 * 16_000; heard += samples.length) yield* blocksOf(samples);
    }
    const marks: { minute: number; heapBytes: number; memoryBytes: number }[] = [];
    let last: string | undefined;
    let count = 0;
    let end: unknown;
    const stream = translator.translate(looped());
    for await (const event of stream) {
      count += 1;
      last = event.type;
      if (event.type === 'end') end = event;
      const minute = Math.floor(event.audio_ms / 60_000);
      if (event.type === 'progress' && minute > marks.length) {
        const { heapBytes, memoryBytes } = await translator.stats();
        marks.push({ minute, heapBytes, memoryBytes });
      }
    }
    translator.dispose();
    return { marks, read: { last, count, end } };
  }, LONG_MINUTES);
  for (const { minute, heapBytes, memoryBytes } of marks) {
    console.log(`minute ${minute}: heap ${(heapBytes / 1e6).toFixed(1)} MB, device ${(memoryBytes / 1e6).toFixed(1)} MB`);
  }
  console.log(`${LONG_MINUTES} minutes of sound, ${read.count} events, ${JSON.stringify(read.end)}`);
  expect(read.last).toBe('end');
  expect(marks.length).toBeGreaterThanOrEqual(LONG_MINUTES);
  expect(marks.at(-1)!.heapBytes - marks[0]!.heapBytes).toBeLessThan(GROWTH);
  expect(marks.at(-1)!.memoryBytes - marks[0]!.memoryBytes).toBeLessThan(GROWTH);
});
