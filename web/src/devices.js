// Microphones and tabs, and their sound as it arrives.

import { AlignattError, asError } from './errors.js';

/** Streams that this package opened, and therefore must close. @type {WeakSet<MediaStream>} */
const owned = new WeakSet();

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
 *
 * @returns {Promise<MediaStream>}
 */
export async function microphone() {
  const ask = () => navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  return own(await captured('the microphone', 'allow it in the settings of this page, beside its address', ask));
}

/**
 * Asks for the sound of a tab, which the user chooses. The stream belongs to its translation, as a
 * microphone's does.
 *
 * @returns {Promise<MediaStream>}
 */
export async function tab() {
  // Browsers give a tab's sound only together with its video, which is stopped at once.
  const ask = () => navigator.mediaDevices.getDisplayMedia({ audio: true, video: true });
  const both = await captured('the sound of a tab', 'choose a tab, and share it together with its sound', ask);
  for (const track of both.getVideoTracks()) track.stop();
  const sound = both.getAudioTracks();
  if (sound.length > 0) return own(new MediaStream(sound));
  throw new AlignattError('bad-sound', 'what was shared has no sound: choose a tab, and switch on sharing its sound');
}

/**
 * The sound of a stream. Its port gives blocks of mono samples at `rate`, then `null`.
 *
 * @param {MediaStream} stream
 * @param {URL} worklet Where capture-worklet.js is.
 * @returns {Promise<{ port: MessagePort, rate: number, close: () => void }>}
 */
export async function capture(stream, worklet) {
  if (stream.getAudioTracks().length === 0) throw new AlignattError('bad-sound', 'the stream has no sound');
  const context = new AudioContext();
  const shut = () => {
    void context.close().catch(() => {});
    if (owned.has(stream)) for (const track of stream.getTracks()) track.stop();
  };
  try {
    await context.audioWorklet.addModule(worklet);
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
    return { port, rate: context.sampleRate, close };
  } catch (error) {
    shut();
    throw asError(error);
  }
}

/** @param {AudioContext} context */
async function awake(context) {
  const late = new Promise((wake) => setTimeout(wake, RESUME_MS));
  await Promise.race([context.resume(), late]);
  if (context.state === 'running') return;
  throw new AlignattError('bad-sound', 'the browser allows sound only after a click on the page: start from a click');
}

/** @param {MediaStream} stream */
function own(stream) {
  owned.add(stream);
  return stream;
}

/**
 * Calls `ask` and explains its failure. `allow` says what to do if permission was denied.
 *
 * @param {string} what
 * @param {string} allow
 * @param {() => Promise<MediaStream>} ask
 */
async function captured(what, allow, ask) {
  try {
    return await ask();
  } catch (cause) {
    const remedy = remedyFor(/** @type {Error} */ (cause), allow);
    throw new AlignattError('bad-sound', `cannot capture ${what}: ${remedy}`, { cause });
  }
}

/**
 * @param {Error} error
 * @param {string} allow
 */
function remedyFor({ name, message }, allow) {
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
