// Where sound and text come from, on the page's side. Files are handed to the worker, microphone
// and tab are captured, iterables are read piece by piece.

import { capture } from './devices.js';
import { AlignattError, toData } from './errors.js';
import { folder } from './peer.js';
import type { Feed } from './protocol.js';

/**
 * A sound file, captured sound, 16 kHz mono samples in blocks of any length, or text: a whole one
 * (words with times as JSON lines, subtitles, plain lines), or pieces as they are typed.
 */
export type Source = Blob | ArrayBuffer | MediaStream | AsyncIterable<Float32Array> | Text;

export interface Text {
  text: string | AsyncIterable<string>;
}

export interface OpenSource {
  feed: Feed;
  transfer: Transferable[];
  /** Releases what was opened: nodes, ports, the iterator. */
  close(): void;
}

export async function openSource(
  source: Source,
  { name, realtime, base }: { name: string | undefined; realtime: boolean; base: string | URL | undefined },
): Promise<OpenSource> {
  if (source instanceof ArrayBuffer) return file(new Blob([source]), name ?? 'the sound', realtime);
  if (source instanceof File) return file(source, name ?? source.name, realtime);
  if (source instanceof Blob) return file(source, name ?? 'the sound', realtime);
  if (source instanceof MediaStream) return captured(source, base);
  if (isIterable<Float32Array>(source)) return pulled('pulled', source, samplesOf);
  const text = (source as Partial<Text> | undefined)?.text;
  if (typeof text === 'string') return { feed: { kind: 'text', text, realtime }, transfer: [], close: () => {} };
  if (isIterable<string>(text)) return pulled('typed', text, textOf);
  const sound = 'a File, Blob, ArrayBuffer, MediaStream or AsyncIterable<Float32Array>';
  throw new AlignattError('bad-option', `a source must be ${sound}, or { text } with a string or AsyncIterable<string>`);
}

function file(blob: Blob, name: string, realtime: boolean): OpenSource {
  return { feed: { kind: 'file', blob, name, realtime }, transfer: [], close: () => {} };
}

function isIterable<T>(source: unknown): source is AsyncIterable<T> {
  return typeof (source as Partial<AsyncIterable<T>> | undefined)?.[Symbol.asyncIterator] === 'function';
}

function samplesOf(value: unknown): Float32Array {
  if (value instanceof Float32Array) return value.slice();
  throw new AlignattError('bad-option', 'blocks of sound must be Float32Array');
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  throw new AlignattError('bad-option', 'pieces of text must be strings');
}

/**
 * Each message from the worker asks for one piece, so that nothing is read before it is needed.
 * `checked` returns a piece that may be sent, or throws.
 */
function pulled<T>(
  kind: 'pulled' | 'typed',
  source: AsyncIterable<T>,
  checked: (value: unknown) => Float32Array | string,
): OpenSource {
  const { port1: ours, port2: port } = new MessageChannel();
  const pieces = source[Symbol.asyncIterator]();
  let over = false;
  ours.onmessage = async () => {
    try {
      const { done, value } = await pieces.next();
      if (done) over = true;
      if (done) return ours.postMessage(null);
      const piece = checked(value);
      ours.postMessage(piece, typeof piece === 'string' ? [] : [piece.buffer]);
    } catch (error) {
      over = true;
      const { code, message } = toData(error);
      ours.postMessage({ code: code === 'internal' ? 'bad-sound' : code, message });
    }
  };
  const close = () => {
    ours.close();
    if (!over) void pieces.return?.()?.catch(() => {});
  };
  return { feed: { kind, port }, transfer: [port], close };
}

async function captured(stream: MediaStream, base: string | URL | undefined): Promise<OpenSource> {
  // Vite would make a small file a `data:` address, which content security policies forbid.
  const beside = new URL('./capture-worklet.js?no-inline', import.meta.url);
  const { port, rate, close } = await capture(stream, base === undefined ? beside : new URL('dist/capture-worklet.js', folder(base)));
  return { feed: { kind: 'live', port, rate }, transfer: [port], close };
}
