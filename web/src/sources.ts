// Where sound and text come from, on the page's side. Files are handed to the worker, microphone
// and tab are captured, iterables are read piece by piece.

import { AlignattError, asError, toData } from './errors.js';
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

/** Streams that this package opened, and therefore must close. */
const owned = new WeakSet<MediaStream>();

/**
 * How often a captured stream is checked for its end: no event is fired when the page itself stops
 * the stream's tracks.
 */
const WATCH_MS = 200;
/** Sound that is still suspended after this time is waiting for a click. */
const RESUME_MS = 3000;

/**
 * Asks for the microphone. The stream belongs to its translation: the stream is stopped when the
 * translation ends. When the stream's tracks are stopped, the translation ends as at the end of a
 * file.
 */
export async function microphone(): Promise<MediaStream> {
  const ask = () => navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  return own(await captured('the microphone', 'allow it in the settings of this page, beside its address', ask));
}

/**
 * Asks for the sound of a tab, which the user chooses. The stream belongs to its translation, as a
 * microphone's does.
 */
export async function tab(): Promise<MediaStream> {
  // Browsers give a tab's sound only together with its video, which is stopped at once.
  const ask = () => navigator.mediaDevices.getDisplayMedia({ audio: true, video: true });
  const both = await captured('the sound of a tab', 'choose a tab, and share it together with its sound', ask);
  for (const track of both.getVideoTracks()) track.stop();
  const sound = both.getAudioTracks();
  if (sound.length > 0) return own(new MediaStream(sound));
  throw new AlignattError('bad-sound', 'what was shared has no sound: choose a tab, and switch on sharing its sound');
}

export async function openSource(
  source: Source,
  { name, realtime, base }: { name: string | undefined; realtime: boolean; base: string | URL | undefined },
): Promise<OpenSource> {
  if (source instanceof ArrayBuffer) return file(new Blob([source]), name ?? 'the sound', realtime);
  if (source instanceof File) return file(source, name ?? source.name, realtime);
  if (source instanceof Blob) return file(source, name ?? 'the sound', realtime);
  if (source instanceof MediaStream) return capture(source, base);
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

async function capture(stream: MediaStream, base: string | URL | undefined): Promise<OpenSource> {
  if (stream.getAudioTracks().length === 0) throw new AlignattError('bad-sound', 'the stream has no sound');
  const context = new AudioContext();
  const shut = () => {
    void context.close().catch(() => {});
    if (owned.has(stream)) for (const track of stream.getTracks()) track.stop();
  };
  try {
    // Vite would make a small file a `data:` address, which content security policies forbid.
    const beside = new URL('./capture-worklet.js?no-inline', import.meta.url);
    await context.audioWorklet.addModule(base === undefined ? beside : new URL('dist/capture-worklet.js', folder(base)));
    await awake(context);
    const node = new AudioWorkletNode(context, 'alignatt-capture');
    const { port1: out, port2: port } = new MessageChannel();
    node.port.postMessage({ out }, [out]);
    // The browser may not run a node that is connected to no output. The output of this node is
    // silence.
    context.createMediaStreamSource(stream).connect(node).connect(context.destination);
    const watch = setInterval(() => {
      if (stream.active) return;
      clearInterval(watch);
      node.port.postMessage('over');
    }, WATCH_MS);
    const close = () => {
      clearInterval(watch);
      shut();
    };
    return { feed: { kind: 'live', port, rate: context.sampleRate }, transfer: [port], close };
  } catch (error) {
    shut();
    throw asError(error);
  }
}

async function awake(context: AudioContext): Promise<void> {
  const late = new Promise<void>((wake) => setTimeout(wake, RESUME_MS));
  await Promise.race([context.resume(), late]);
  if (context.state === 'running') return;
  throw new AlignattError('bad-sound', 'the browser allows sound only after a click on the page: start from a click');
}

function own(stream: MediaStream): MediaStream {
  owned.add(stream);
  return stream;
}

/** Calls `ask` and explains its failure. `allow` says what to do if permission was denied. */
async function captured(what: string, allow: string, ask: () => Promise<MediaStream>): Promise<MediaStream> {
  try {
    return await ask();
  } catch (cause) {
    throw new AlignattError('bad-sound', `cannot capture ${what}: ${remedyFor(cause as Error, allow)}`, { cause });
  }
}

function remedyFor({ name, message }: Error, allow: string): string {
  switch (name) {
    case 'NotAllowedError':
      return `access was not allowed; ${allow}`;
    case 'NotFoundError':
      return 'none was found; connect one, or check the settings of the system';
    case 'NotReadableError':
      return 'another program may be using it; close it and try again';
    case 'TypeError':
      return 'the address of this page is not secure (https or localhost), or this browser does not support it';
    default:
      return message;
  }
}
