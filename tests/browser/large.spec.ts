// A model of a third of a gigabyte. It is loaded onto the device in pieces, and the module's heap
// stays as small as with a small model.
//
// The model is the demo pack's translation model with embedding tables of half a million tokens.
// The added rows are zeros and no text uses them, so the output is the same as the small model's.

import { closeSync, copyFileSync, ftruncateSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repo } from './browser.js';
import { nativeEvents } from './native.js';
import { expect, finalText, test } from './package-page.js';
import { Site } from './server.js';

const SMALL = repo('models/demo/mt');
const WEIGHTS = 'model.safetensors';
const VOCABULARY = 1 << 19;

interface Tensor {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Writes the large model. The zeros are a hole in the file and take no disk space. */
function widen(folder: string): number {
  for (const name of readdirSync(SMALL)) copyFileSync(join(SMALL, name), join(folder, name));
  const config = JSON.parse(readFileSync(join(SMALL, 'config.json'), 'utf8'));
  Object.assign(config.text_config, { vocab_size: VOCABULARY, vocab_size_per_layer_input: VOCABULARY });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));

  const small = readFileSync(join(SMALL, WEIGHTS));
  const data = small.subarray(8 + Number(small.readBigUInt64LE(0)));
  const header = JSON.parse(small.subarray(8, small.length - data.length).toString()) as Record<string, Tensor>;
  const wide: Record<string, Tensor> = {};
  const parts: { at: number; bytes: Buffer }[] = [];
  let end = 0;
  for (const [name, tensor] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const bytes = data.subarray(...tensor.data_offsets);
    const shape = /\.embed_tokens(_per_layer)?\.weight$/.test(name) ? [VOCABULARY, tensor.shape[1]!] : tensor.shape;
    const size = shape.reduce((all, side) => all * side, 2);
    wide[name] = { dtype: tensor.dtype, shape, data_offsets: [end, end + size] };
    parts.push({ at: end, bytes });
    end += size;
  }
  const text = Buffer.from(JSON.stringify(wide).padEnd(1 << 16));
  const file = openSync(join(folder, WEIGHTS), 'w');
  const len = Buffer.alloc(8);
  len.writeBigUInt64LE(BigInt(text.length));
  writeSync(file, Buffer.concat([len, text]));
  for (const { at, bytes } of parts) writeSync(file, bytes, 0, bytes.length, 8 + text.length + at);
  ftruncateSync(file, 8 + text.length + end);
  closeSync(file);
  return end;
}

for (const quant of ['f16', 'auto']) {
  test(`a model of 340 MB in ${quant} is loaded with a small heap and translates as the small one does`, async ({ home }) => {
    test.setTimeout(900_000);
    const folder = mkdtempSync(join(tmpdir(), 'alignatt-wide-'));
    const headers = { 'Access-Control-Allow-Origin': '*' };
    const site = await Site.serve({ '/': folder }, { headers });
    try {
      const size = widen(folder);
      const { read, stats } = await home.evaluate(
        async ([url, files, quant]) => {
          const translator = await alignatt.Translator.load({ mt: { url, files }, to: 'de', device: 'webgpu', quant });
          const read = await readAll(translator.translate(await sample('talk-a.flac')), (event) =>
            event.type === 'target' && event.delta ? 'break' : undefined,
          );
          const stats = await translator.stats();
          translator.dispose();
          return { read, stats };
        },
        [site.url, readdirSync(folder), quant] as const,
      );
      expect(read.code, read.message).toBeUndefined();
      const { heapBytes, memoryBytes } = stats;
      console.log(`${(size / 1e6).toFixed(0)} MB of weights: heap ${(heapBytes / 1e6).toFixed(0)} MB, device ${(memoryBytes / 1e6).toFixed(0)} MB`);
      const [shown] = finalText(read.events).target;
      const [whole] = finalText(await nativeEvents(repo('samples/talk-a.flac'), 'de')).target;
      expect(shown).toBeTruthy();
      expect(whole!.startsWith(shown!)).toBe(true);
      // A model of this size is quantized unless something else is asked for.
      if (quant === 'f16') expect(memoryBytes).toBeGreaterThan(size);
      else expect(memoryBytes).toBeLessThan(0.7 * size);
      expect(heapBytes).toBeLessThan(150e6);
    } finally {
      await site.close();
      rmSync(folder, { recursive: true });
    }
  });
}
