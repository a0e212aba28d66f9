// Saving the captions: as text, as subtitles of either side, or as all events.

import type { TranslatorEvent } from 'alignatt';
import { make } from './dom';
import type { Engine } from './engine';

export type Format = 'srt' | 'vtt' | 'jsonl' | 'txt';

const TYPES: { [format in Format]: string } = {
  srt: 'application/x-subrip',
  vtt: 'text/vtt',
  jsonl: 'application/jsonl',
  txt: 'text/plain',
};

export const lines = (events: TranslatorEvent[]): string => events.map((event) => `${JSON.stringify(event)}\n`).join('');

/**
 * The content of a file in `format`. Subtitles are made by the engine, so it must be loaded.
 */
export async function contents(
  events: TranslatorEvent[],
  format: Format,
  side: 'source' | 'target',
  text: string,
  engine: Engine | undefined,
): Promise<string> {
  if (format === 'jsonl') return lines(events);
  if (format === 'txt') return `${text}\n`;
  if (!engine) throw new Error('subtitles need the module, which is not loaded; save text or JSONL instead');
  return engine.subtitles(events, format, side);
}

export function download(text: string, name: string, format: Format): void {
  const url = URL.createObjectURL(new Blob([text], { type: `${TYPES[format]};charset=utf-8` }));
  make('a', { href: url, download: `${name}.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
