// Errors of the package. `code` is stable and meant for programs. `message` is meant for people and
// says what to do.

const CODES = /** @type {const} */ ([
  'no-webgpu',
  'no-adapter',
  'adapter-failed-self-test',
  'out-of-memory',
  'storage-full',
  'network',
  'bad-model',
  'bad-sound',
  'device-lost',
  'no-token',
  'session-lost',
  'aborted',
  'busy',
  'bad-option',
  'internal',
]);

/** @typedef {(typeof CODES)[number]} ErrorCode */

export class AlignattError extends Error {
  /** @override @readonly @type {'AlignattError'} */
  name = 'AlignattError';
  /** @readonly @type {ErrorCode} */
  code;

  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.code = code;
  }
}

/**
 * An error as it is sent from the worker: `postMessage` does not preserve classes.
 *
 * @typedef {{ code: ErrorCode, message: string }} ErrorData
 */

/**
 * Converts anything that was thrown into an `AlignattError`. Unknown errors get the code
 * `internal`.
 *
 * @param {unknown} thrown
 * @returns {AlignattError}
 */
export function asError(thrown) {
  if (thrown instanceof AlignattError) return thrown;
  const { name, message, code } = partsOf(thrown);
  const cause = { cause: thrown };
  if (isCode(code)) return new AlignattError(code, message, cause);
  switch (name) {
    case 'AbortError':
      return new AlignattError('aborted', message || 'the operation was aborted', cause);
    case 'QuotaExceededError':
      return new AlignattError('storage-full', `this browser allows the page no more storage (${message})`, cause);
    default:
      return new AlignattError('internal', message || String(thrown), cause);
  }
}

/**
 * @param {unknown} thrown
 * @returns {ErrorData}
 */
export function toData(thrown) {
  const { code, message } = asError(thrown);
  return { code, message };
}

/**
 * @param {ErrorData} data
 * @returns {AlignattError}
 */
export function fromData({ code, message }) {
  return new AlignattError(code, message);
}

/** @returns {AlignattError} */
export function aborted() {
  return new AlignattError('aborted', 'the operation was aborted');
}

/**
 * @param {unknown} value
 * @returns {value is ErrorCode}
 */
function isCode(value) {
  return CODES.includes(/** @type {ErrorCode} */ (value));
}

/**
 * @param {unknown} thrown
 * @returns {{ name?: unknown, message: string, code?: unknown }}
 */
function partsOf(thrown) {
  if (typeof thrown !== 'object' || thrown === null) return { message: String(thrown) };
  const { name, message, code } = /** @type {Record<string, unknown>} */ (thrown);
  return { name, message: typeof message === 'string' ? message : '', code };
}
