// The demo pack: three small models that come with the package, in a folder beside `dist`. Each
// file is read over HTTP into memory as a whole.
//
// Each address is written out in full, so that a bundler finds the files and includes them.
// `?no-inline` is for Vite: without it, Vite turns small files into `data:` addresses, which
// content security policies forbid and service workers cannot cache.

import { AlignattError } from './errors.js';
import { get, withRetries, type Site } from './net.js';
import type { ModelFile } from './module.js';
import { Meter, type FetchProgress, type Slot } from './progress.js';

/** Size of each file in bytes, by its path. The build defines it. */
declare const DEMO_SIZES: Record<string, number>;

const addresses = (): Record<Slot, Record<string, URL>> => ({
  asr: {
    'config.json': new URL('../demo/asr/config.json?no-inline', import.meta.url),
    'generation_config.json': new URL('../demo/asr/generation_config.json?no-inline', import.meta.url),
    'preprocessor_config.json': new URL('../demo/asr/preprocessor_config.json?no-inline', import.meta.url),
    'chat_template.json': new URL('../demo/asr/chat_template.json?no-inline', import.meta.url),
    'vocab.json': new URL('../demo/asr/vocab.json?no-inline', import.meta.url),
    'merges.txt': new URL('../demo/asr/merges.txt?no-inline', import.meta.url),
    'tokenizer_config.json': new URL('../demo/asr/tokenizer_config.json?no-inline', import.meta.url),
    'model.safetensors': new URL('../demo/asr/model.safetensors?no-inline', import.meta.url),
  },
  aligner: {
    'config.json': new URL('../demo/aligner/config.json?no-inline', import.meta.url),
    'preprocessor_config.json': new URL('../demo/aligner/preprocessor_config.json?no-inline', import.meta.url),
    'vocab.json': new URL('../demo/aligner/vocab.json?no-inline', import.meta.url),
    'merges.txt': new URL('../demo/aligner/merges.txt?no-inline', import.meta.url),
    'tokenizer_config.json': new URL('../demo/aligner/tokenizer_config.json?no-inline', import.meta.url),
    'model.safetensors': new URL('../demo/aligner/model.safetensors?no-inline', import.meta.url),
  },
  mt: {
    'config.json': new URL('../demo/mt/config.json?no-inline', import.meta.url),
    'generation_config.json': new URL('../demo/mt/generation_config.json?no-inline', import.meta.url),
    'chat_template.jinja': new URL('../demo/mt/chat_template.jinja?no-inline', import.meta.url),
    'tokenizer.json': new URL('../demo/mt/tokenizer.json?no-inline', import.meta.url),
    'tokenizer_config.json': new URL('../demo/mt/tokenizer_config.json?no-inline', import.meta.url),
    'heads.en-de.json': new URL('../demo/mt/heads.en-de.json?no-inline', import.meta.url),
    'heads.en-it.json': new URL('../demo/mt/heads.en-it.json?no-inline', import.meta.url),
    'heads.en-zh.json': new URL('../demo/mt/heads.en-zh.json?no-inline', import.meta.url),
    'model.safetensors': new URL('../demo/mt/model.safetensors?no-inline', import.meta.url),
  },
});

const SITE: Site = { label: 'the demo pack', cached: true };

export function demoBytes(): number {
  return Object.values(DEMO_SIZES).reduce((sum, size) => sum + size, 0);
}

/**
 * The files of one model of the pack. They are read from `base`, or from beside this module if
 * there is no `base`.
 */
export async function demoFiles(
  slot: Slot,
  base: string | undefined,
  report: (progress: FetchProgress) => void,
): Promise<ModelFile[]> {
  const beside = addresses()[slot];
  const names = Object.keys(beside);
  const sizeOf = (name: string) => DEMO_SIZES[`${slot}/${name}`] ?? 0;
  const meter = new Meter(names.reduce((sum, name) => sum + sizeOf(name), 0), 0, report);
  return Promise.all(
    names.map(async (name) => {
      const url = base === undefined ? beside[name]! : new URL(`demo/${slot}/${name}`, base);
      meter.file(name);
      return inMemory(name, await fetchWhole(url.href, sizeOf(name), meter));
    }),
  );
}

function inMemory(name: string, bytes: Uint8Array): ModelFile {
  if (!name.endsWith('.safetensors')) return { name, bytes };
  return { name, size: bytes.length, read: async (offset, len) => bytes.subarray(offset, offset + len) };
}

async function fetchWhole(url: string, size: number, meter: Meter): Promise<Uint8Array> {
  return withRetries(SITE, async () => {
    const bytes = new Uint8Array(size);
    let at = 0;
    const { body } = await get(SITE, url);
    for await (const chunk of body) {
      if (at + chunk.length > size) throw wrongSize(url, 'larger');
      bytes.set(chunk, at);
      at += chunk.length;
      meter.add(chunk.length);
    }
    if (at === size) return bytes;
    throw wrongSize(url, 'smaller');
  });
}

function wrongSize(url: string, how: string): AlignattError {
  return new AlignattError('network', `${url} is ${how} than the file that this package was built with: deploy both from the same build`);
}
