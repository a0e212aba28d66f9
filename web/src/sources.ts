// Where sound comes from, on the page's side: files are handed over, microphone and tab are captured, iterables are pulled.

import { AlignattError, asError, toData } from './errors.js';
import { folder } from './peer.js';
import type { Feed } from './protocol.js';

/** A sound file, captured sound, or 16 kHz mono samples in blocks of any length. */
export type Source = Blob | ArrayBuffer | MediaStream | AsyncIterable<Float32Array>;

export interface OpenSource {
  feed: Feed;
  transfer: Transferable[];
  /** Gives back what was taken: nodes, ports, the iterator. */
  close(): void;
}

/** Streams that this package opened, and therefore closes. */
const owned = new WeakSet<MediaStream>();

/** How often a captured stream is asked whether it still is: no event tells when the page itself stopped its tracks. */
const WATCH_MS = 200;
/** Sound that is still suspended after this waits for a click. */
const RESUME_MS = 3000;

/**
 * Asks for the microphone. The stream belongs to its translation: it is stopped when that ends, and stopping its tracks
 * ends that as the end of a file does.
 */
export async function microphone(): Promise<MediaStream> {
  const ask = () => navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  return own(await captured('the microphone', 'allow it in the settings of this page, beside its address', ask));
}

/** Asks for the sound of a tab, which the person chooses. The stream belongs to its translation, as a microphone's does. */
export async function tab(): Promise<MediaStream> {
  // Browsers give a tab's sound only together with its picture, which is dropped at once.
  const ask = () => navigator.mediaDevices.getDisplayMedia({ audio: true, video: true });
  const both = await captured('the sound of a tab', 'choose a tab, and share it with its sound', ask);
  for (const track of both.getVideoTracks()) track.stop();
  const sound = both.getAudioTracks();
  if (sound.length > 0) return own(new MediaStream(sound));
  throw new AlignattError('bad-sound', 'that shares no sound: choose a tab, and switch on the sharing of its sound');
}

export async function openSource(
  source: Source,
  { name, realtime, base }: { name: string | undefined; realtime: boolean; base: string | URL | undefined },
): Promise<OpenSource> {
  if (source instanceof ArrayBuffer) return file(new Blob([source]), name ?? 'the sound', realtime);
  if (source instanceof File) return file(source, name ?? source.name, realtime);
  if (source instanceof Blob) return file(source, name ?? 'the sound', realtime);
  if (source instanceof MediaStream) return capture(source, base);
  if (typeof source?.[Symbol.asyncIterator] === 'function') return pulled(source);
  throw new AlignattError('bad-option', 'sound is a File, Blob, ArrayBuffer, MediaStream or AsyncIterable<Float32Array>');
}

function file(blob: Blob, name: string, realtime: boolean): OpenSource {
  return { feed: { kind: 'file', blob, name, realtime }, transfer: [], close: () => {} };
}

/** Each message asks for one block: what nobody asks for yet stays where it is. */
function pulled(source: AsyncIterable<Float32Array>): OpenSource {
  const { port1: ours, port2: port } = new MessageChannel();
  const blocks = source[Symbol.asyncIterator]();
  let over = false;
  ours.onmessage = async () => {
    try {
      const { done, value } = await blocks.next();
      if (done) over = true;
      if (done) return ours.postMessage(null);
      if (!(value instanceof Float32Array)) throw new AlignattError('bad-option', 'blocks of sound are Float32Array');
      const copy = value.slice();
      ours.postMessage(copy, [copy.buffer]);
    } catch (error) {
      over = true;
      const { code, message } = toData(error);
      ours.postMessage({ code: code === 'internal' ? 'bad-sound' : code, message });
    }
  };
  const close = () => {
    ours.close();
    if (!over) void blocks.return?.()?.catch(() => {});
  };
  return { feed: { kind: 'pulled', port }, transfer: [port], close };
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
    // A node that leads nowhere may not be run. What this one plays is silence.
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
  throw new AlignattError('bad-sound', 'the browser keeps sound off until the page is clicked: begin from a click');
}

function own(stream: MediaStream): MediaStream {
  owned.add(stream);
  return stream;
}

/** `allow` is what to do where it was not allowed. */
async function captured(what: string, allow: string, ask: () => Promise<MediaStream>): Promise<MediaStream> {
  try {
    return await ask();
  } catch (cause) {
    throw new AlignattError('bad-sound', `${what} cannot be had: ${mend(cause as Error, allow)}`, { cause });
  }
}

function mend({ name, message }: Error, allow: string): string {
  switch (name) {
    case 'NotAllowedError':
      return `it was not allowed; ${allow}`;
    case 'NotFoundError':
      return 'there is none; plug one in, or check the settings of the system';
    case 'NotReadableError':
      return 'another program may be using it; close that and try again';
    case 'TypeError':
      return 'this page has no secure address (https or localhost), or this browser cannot capture it';
    default:
      return message;
  }
}
