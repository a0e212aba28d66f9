// The native program. The final text of the browser must equal its text.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TranslatorEvent } from '../../web/src/events.js';
import { repo } from './browser.js';

export const BINARY = process.env['ALIGNATT_BIN'] ?? repo(`target/debug/alignatt${process.platform === 'win32' ? '.exe' : ''}`);

/**
 * The demo pack that the package was built with. A program built earlier may contain another one.
 */
export const MODELS = ['asr', 'aligner', 'mt'].flatMap((model) => [`--${model}`, repo(`models/demo/${model}`)]);

/** `mt`: the translation model's flags, if it is not the demo pack's. */
export function nativeEvents(sound: string, to: string, mt: string[] = MODELS.slice(4)): Promise<TranslatorEvent[]> {
  return events([sound, '--to', to, ...MODELS.slice(0, 4), ...mt]);
}

/** The native program's events for a text, which is written to a file among temporary files. */
export async function nativeTextEvents(text: string, to: string): Promise<TranslatorEvent[]> {
  const folder = mkdtempSync(join(tmpdir(), 'alignatt-text-'));
  try {
    writeFileSync(join(folder, 'text'), text);
    return await events(['--text', join(folder, 'text'), '--to', to, '--mt', repo('models/demo/mt')]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function events(source: string[]): Promise<TranslatorEvent[]> {
  const args = ['translate', ...source, '--format', 'jsonl', '--device', 'cpu'];
  const { stdout } = await promisify(execFile)(BINARY, args, { maxBuffer: 1 << 28 });
  const lines = stdout.split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as TranslatorEvent);
}
