// The native program. The final text of the browser must equal its text.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { TranslatorEvent } from '../../web/src/events.js';
import { repo } from './browser.js';

export const BINARY = process.env['ALIGNATT_BIN'] ?? repo(`target/debug/alignatt${process.platform === 'win32' ? '.exe' : ''}`);

/**
 * The demo pack that the package was built with. A program built earlier may contain another one.
 */
export const MODELS = ['asr', 'aligner', 'mt'].flatMap((model) => [`--${model}`, repo(`models/demo/${model}`)]);

/** `mt`: the translation model's flags, if it is not the demo pack's. */
export async function nativeEvents(sound: string, to: string, mt: string[] = MODELS.slice(4)): Promise<TranslatorEvent[]> {
  const models = [...MODELS.slice(0, 4), ...mt];
  const args = ['translate', sound, '--to', to, '--format', 'jsonl', '--device', 'cpu', ...models];
  const { stdout } = await promisify(execFile)(BINARY, args, { maxBuffer: 1 << 28 });
  const lines = stdout.split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as TranslatorEvent);
}
