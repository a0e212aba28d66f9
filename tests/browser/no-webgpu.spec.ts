// A browser without WebGPU: this is reported, and the CPU computes.

import { withoutWebgpu } from './browser.js';
import { expect, test } from './package-page.js';

test.use({ launchOptions: withoutWebgpu });

test('what is missing is reported before anything is fetched', async ({ home }) => {
  const found = await home.evaluate(() => alignatt.check());
  expect(found.webgpu).toBe(false);
  expect(['no-webgpu', 'no-adapter']).toContain(found.reason);
  const asked: string[] = [];
  home.on('request', (request) => asked.push(request.url()));
  const failed = await home.evaluate(() => failing(alignatt.Translator.load({ to: 'de', device: 'webgpu' })));
  expect(failed).toMatchObject({ code: found.reason, ours: true });
  expect(asked.filter((url) => url.includes('/demo/'))).toEqual([]);
});

test('the CPU is used, with the reason', async ({ home }) => {
  const { device, warnings, read } = await home.evaluate(async () => {
    const translator = await alignatt.Translator.load({ to: 'de' });
    const { device, warnings } = translator;
    const read = await readAll(translator.translate(await sample('talk-a.flac')), ({ type }) =>
      type === 'target' ? 'break' : undefined,
    );
    translator.dispose();
    return { device, warnings: [...warnings], read };
  });
  expect(device).toMatchObject({ name: 'cpu', report: null });
  expect(warnings.length).toBeGreaterThan(0);
  expect(read.code).toBeUndefined();
  expect(read.events.at(-1)?.type).toBe('target');
});
