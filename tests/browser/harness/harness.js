// The package on a bare page, with a few helpers that tests call.

import * as alignatt from '/package/dist/index.js';

window.alignatt = alignatt;

/** Reads a stream to its end; what it threw is told, not thrown. */
window.readAll = async (stream, each = () => {}) => {
  const events = [];
  try {
    for await (const event of stream) {
      events.push(event);
      if ((await each(event, events)) === 'break') break;
    }
    return { events };
  } catch (error) {
    return { events, ...failure(error) };
  }
};

/** What a promise threw, as data; nothing where it succeeded. */
window.failing = (promise) => Promise.resolve(promise).then(() => ({}), failure);

function failure(error) {
  return { code: error.code ?? `no code: ${error.name}`, message: error.message, ours: error instanceof alignatt.AlignattError };
}

window.sample = async (name) => new File([await (await fetch(`/samples/${name}`)).blob()], name);

/** A sound file as 16 kHz mono samples, by the browser's own decoder. */
window.samplesOf = async (name) => {
  const bytes = await (await fetch(`/samples/${name}`)).arrayBuffer();
  return (await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes)).getChannelData(0);
};

window.blocksOf = async function* (samples, len = 13600) {
  for (let at = 0; at < samples.length; at += len) yield samples.slice(at, at + len);
};

window.ready = true;
