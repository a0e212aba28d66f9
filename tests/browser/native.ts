// The native program, whose final text is what the browser is held to.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { TranslatorEvent } from '../../web/src/events.js';
import { repo } from './browser.js';

export const BINARY = process.env['ALIGNATT_BIN'] ?? repo('target/debug/alignatt');

export async function nativeEvents(sound: string, to: string, ...more: string[]): Promise<TranslatorEvent[]> {
  const args = ['translate', sound, '--to', to, '--format', 'jsonl', '--device', 'cpu', ...more];
  const { stdout } = await promisify(execFile)(BINARY, args, { maxBuffer: 1 << 28 });
  const lines = stdout.split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as TranslatorEvent);
}
