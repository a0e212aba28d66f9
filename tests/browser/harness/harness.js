// The package on a bare page, with a few helpers for tests.

import * as alignatt from '/package/dist/index.js';

window.alignatt = alignatt;

/** Reads a stream to its end. An error is returned, not thrown. */
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

/** The error of a promise, as data; an empty object if the promise succeeded. */
window.failing = (promise) => Promise.resolve(promise).then(() => ({}), failure);

function failure(error) {
  return { code: error.code ?? `no code: ${error.name}`, message: error.message, ours: error instanceof alignatt.AlignattError };
}

window.sample = async (name) => new File([await (await fetch(`/samples/${name}`)).blob()], name);

/** A sound file as 16 kHz mono samples, decoded by the browser. */
window.samplesOf = async (name) => {
  const bytes = await (await fetch(`/samples/${name}`)).arrayBuffer();
  return (await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes)).getChannelData(0);
};

window.blocksOf = async function* (samples, len = 13600) {
  for (let at = 0; at < samples.length; at += len) yield samples.slice(at, at + len);
};

window.ready = true;
