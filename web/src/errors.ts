// Errors of the package. `code` is stable and meant for programs. `message` is meant for people and
// says what to do.

const CODES = [
  'no-webgpu',
  'no-adapter',
  'adapter-failed-self-test',
  'out-of-memory',
  'storage-full',
  'network',
  'bad-model',
  'bad-sound',
  'device-lost',
  'aborted',
  'busy',
  'bad-option',
  'internal',
] as const;

export type ErrorCode = (typeof CODES)[number];

export class AlignattError extends Error {
  override readonly name = 'AlignattError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** An error as it is sent from the worker: `postMessage` does not preserve classes. */
export interface ErrorData {
  code: ErrorCode;
  message: string;
}

/**
 * Converts anything that was thrown into an `AlignattError`. Unknown errors get the code
 * `internal`.
 */
export function asError(thrown: unknown): AlignattError {
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

export function toData(thrown: unknown): ErrorData {
  const { code, message } = asError(thrown);
  return { code, message };
}

export function fromData({ code, message }: ErrorData): AlignattError {
  return new AlignattError(code, message);
}

export function aborted(): AlignattError {
  return new AlignattError('aborted', 'the operation was aborted');
}

function isCode(value: unknown): value is ErrorCode {
  return CODES.includes(value as ErrorCode);
}

function partsOf(thrown: unknown): { name?: unknown; message: string; code?: unknown } {
  if (typeof thrown !== 'object' || thrown === null) return { message: String(thrown) };
  const { name, message, code } = thrown as Record<string, unknown>;
  return { name, message: typeof message === 'string' ? message : '', code };
}
