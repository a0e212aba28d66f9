// What translates: the models in this tab, or the server that the page comes from. Both take the
// same sound and give the same events.

import { Translator, type LoadOptions, type Progress, type Source, type StreamOptions, type TranslatorEvent } from 'alignatt';
import type { Opened, Server, StreamOptions as ServerOptions } from 'alignatt/server';

export interface Engine {
  translate(source: Source, options: StreamOptions): AsyncGenerator<TranslatorEvent, void, undefined>;
  subtitles(events: readonly TranslatorEvent[], format: 'srt' | 'vtt', side: 'source' | 'target'): Promise<string>;
  stats(): Promise<{ memoryBytes: number }>;
  dispose(): void;
}

/** How to get an engine. Two choices with the same key give the same engine. */
export interface Choice {
  key: string;
  load(signal: AbortSignal, onProgress: (progress: Progress) => void): Promise<Engine>;
}

export function inThisTab(options: LoadOptions): Choice {
  return { key: JSON.stringify(options), load: (signal, onProgress) => Translator.load({ ...options, signal, onProgress }) };
}

export interface Watcher {
  opened: (opened: Opened) => void;
  state: (state: 'connected' | 'reconnecting') => void;
}

export function onServer(server: Server, options: ServerOptions, watcher: Watcher): Choice {
  const engine: Engine = {
    // Other sources are refused by the server's module, with a message.
    translate: (source, { signal, realtime }) =>
      server.translate(source as Blob, {
        ...options,
        listen: true,
        onOpen: watcher.opened,
        onState: watcher.state,
        ...(signal && { signal }),
        ...(realtime && { realtime }),
      }),
    subtitles: (_, format, side) => server.captions(format, side),
    stats: () => Promise.resolve({ memoryBytes: 0 }),
    dispose: () => {},
  };
  return { key: JSON.stringify([server.address, options]), load: () => Promise.resolve(engine) };
}

/**
 * The server of this page. `undefined`: the page comes from a server of files. `locked`: it needs a
 * token.
 */
export async function serverOfPage(token: string | undefined): Promise<Server | 'locked' | undefined> {
  const about = new URL('./v1/about', location.href);
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const answer = await fetch(about, { headers, cache: 'no-store' }).catch(() => undefined);
  if (!answer?.headers.get('Content-Type')?.startsWith('application/json')) return undefined;
  if (answer.status === 401) return 'locked';
  if (!answer.ok) return undefined;
  const { connect } = await import('alignatt/server');
  return connect(new URL('./', location.href), token === undefined ? {} : { token });
}
