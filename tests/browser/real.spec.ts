// The real Gemma-3-270M in the browser: 253 MB are fetched by ranges, kept in storage and read from
// there, and a sample talk is translated. With LONG only, and only where tools/real/fetch has put
// the file.

import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { LONG } from './browser.js';
import { expect, test } from './package-page.js';
import { Hub } from './server.js';

const FOLDER = process.env['ALIGNATT_REAL'] ?? join(homedir(), '.cache/alignatt/real');
const NAME = 'gemma-3-270m-q4_k_m.gguf';
const SIZE = 253_113_024;

test('Gemma-3-270M translates what it hears', async ({ home }) => {
  test.skip(!LONG, 'takes minutes');
  const isThere = existsSync(join(FOLDER, NAME));
  if (!isThere) console.log(`NOT RUN: ${NAME} is not there (tools/real/fetch), so no real model was tried in a browser`);
  test.skip(!isThere, 'the file has not been fetched');
  test.setTimeout(1_800_000);
  const hub = await Hub.serve(FOLDER);
  const read = await home.evaluate(
    async ([url, name]) => {
      const mt = { url: url!, files: [name!] };
      const translator = await alignatt.Translator.load({ mt, to: 'de', device: 'cpu' });
      const stop = new AbortController();
      const sound = await sample('talk-a.flac');
      // Two sentences are enough.
      const read = await readAll(translator.translate(sound, { signal: stop.signal }), ({ type, audio_ms }) => {
        if (type === 'progress' && audio_ms > 12_000) stop.abort();
      });
      const { heapBytes } = await translator.stats();
      const [stored] = await alignatt.models.list();
      translator.dispose();
      return { ...read, heapBytes, stored };
    },
    [`${hub.url}/plain`, NAME],
  );
  const asked = hub.transfers.length;
  await hub.close();
  // Pieces of 8 MB, and one byte to learn the size.
  expect(asked).toBeGreaterThanOrEqual(1 + Math.ceil(SIZE / (8 << 20)));
  expect(read.stored).toMatchObject({ done: SIZE, total: SIZE });
  const text = read.events.flatMap((event) => (event.type === 'target' ? [event.delta] : [])).join('');
  console.log(`Gemma-3-270M in the browser: ${text} (heap ${(read.heapBytes / 1e6).toFixed(0)} MB)`);
  expect(text.trim()).not.toBe('');
});
