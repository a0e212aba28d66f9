// Live sound: a fake microphone that beeps, through the AudioWorklet, in real time.

import { withWebgpu } from './browser.js';
import { expect, expectInOrder, test } from './package-page.js';

test.use({
  launchOptions: {
    ...withWebgpu,
    args: [...withWebgpu.args, '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'],
  },
});

test('the microphone is heard until its tracks are stopped', async ({ home }) => {
  const { read, tracks } = await home.evaluate(async () => {
    const translator = await alignatt.Translator.load({ device: 'cpu' });
    const stream = await alignatt.microphone();
    setTimeout(() => stream.getTracks().forEach((track) => track.stop()), 4000);
    const read = await readAll(translator.transcribe(stream, { signal: AbortSignal.timeout(60_000) }));
    translator.dispose();
    return { read, tracks: stream.getTracks().map(({ readyState }) => readyState) };
  });
  expect(read.code).toBeUndefined();
  expectInOrder(read.events);
  expect(read.events.at(-1)).toMatchObject({ interrupted: false });
  expect(read.events.at(-1)!.audio_ms).toBeGreaterThan(2500);
  expect(read.events.at(-1)!.audio_ms).toBeLessThan(6000);
  expect(tracks).toEqual(['ended']);
});

test('leaving the loop releases the microphone', async ({ home }) => {
  const tracks = await home.evaluate(async () => {
    const translator = await alignatt.Translator.load({ device: 'cpu' });
    const stream = await alignatt.microphone();
    await readAll(translator.transcribe(stream), () => 'break');
    translator.dispose();
    return stream.getTracks().map(({ readyState }) => readyState);
  });
  expect(tracks).toEqual(['ended']);
});
