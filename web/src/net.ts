// Requests that survive a bad network. Failures that may pass are retried; the message of any other
// says what to do.

import { AlignattError } from './errors.js';

/** Where requests go. The names are for messages; the token is sent to the Hub only. */
export interface Site {
  /** The name for messages: a Hub id or an address. */
  label: string;
  /** The model's page, if it is on the Hub. */
  page?: string;
  token?: string;
  /**
   * True if the browser's own cache may keep the answers. False for files that go into the store,
   * which would otherwise be on disk twice.
   */
  cached?: boolean;
}

/** A failure that is worth a retry. */
class Retryable extends Error {
  readonly waitMs: number | undefined;

  constructor(message: string, waitMs?: number) {
    super(message);
    this.waitMs = waitMs;
  }
}

/** Attempts in a row that bring nothing before the request fails. */
const ATTEMPTS = 6;
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 20_000;
/** The request fails if its attempts together bring less than `LEAST_GAIN` bytes in this time. */
const PATIENCE_MS = 15 * 60_000;
const LEAST_GAIN = 1 << 20;
/** A connection that brings nothing for this long counts as dead. */
const STALL_MS = 30_000;

/**
 * Runs `attempt` until it succeeds. An attempt calls `progressed` with the number of bytes that it
 * received. An attempt that received something resets the count of failures.
 *
 * Errors: any error of `attempt` that is not worth a retry; `network` when too many attempts in a
 * row brought nothing, or when many attempts together brought almost nothing.
 */
export async function withRetries<T>(
  site: Site,
  attempt: (progressed: (bytes: number) => void) => Promise<T>,
): Promise<T> {
  let failures = 0;
  let since = Date.now();
  let gained = 0;
  for (;;) {
    const progressed = (bytes: number) => {
      failures = 0;
      gained += bytes;
      if (gained >= LEAST_GAIN) [since, gained] = [Date.now(), 0];
    };
    try {
      return await attempt(progressed);
    } catch (error) {
      if (!(error instanceof Retryable)) throw error;
      failures += 1;
      if (failures >= ATTEMPTS || Date.now() - since >= PATIENCE_MS) throw unreachable(site, error.message);
      await sleep(error.waitMs ?? Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - 1)));
    }
  }
}

/**
 * Sends one GET request. `from` and `to` (exclusive) ask for a range of bytes, which the server may
 * ignore (status 200). Any other status than 2xx is an error, except those in `passed`: their
 * responses are returned.
 */
export async function get(
  site: Site,
  url: string,
  wanted: { from?: number; to?: number; passed?: number[] } = {},
): Promise<{ response: Response; body: AsyncGenerator<Uint8Array<ArrayBuffer>> }> {
  const headers: Record<string, string> = {};
  if (wanted.to !== undefined) headers['Range'] = `bytes=${wanted.from ?? 0}-${wanted.to - 1}`;
  if (site.token) headers['Authorization'] = `Bearer ${site.token}`;
  const stop = new AbortController();
  const answered = setTimeout(() => stop.abort(), STALL_MS);
  let response: Response;
  try {
    response = await fetch(url, { headers, signal: stop.signal, cache: site.cached ? 'default' : 'no-store' });
  } catch (error) {
    throw new Retryable(`${url} cannot be reached (${(error as Error).message})`);
  } finally {
    clearTimeout(answered);
  }
  if (response.ok || wanted.passed?.includes(response.status)) {
    return { response, body: chunks(response, url, stop) };
  }
  stop.abort();
  throw refusal(site, url, response);
}

/** The body of the response as text. */
export async function getText(site: Site, url: string): Promise<string> {
  return withRetries(site, async () => {
    const { body } = await get(site, url);
    const decoder = new TextDecoder();
    let text = '';
    for await (const chunk of body) text += decoder.decode(chunk, { stream: true });
    return text + decoder.decode();
  });
}

/** The chunks of a body as they arrive. Leaving the loop closes the connection. */
async function* chunks(
  response: Response,
  url: string,
  stop: AbortController,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      const stalled = setTimeout(() => stop.abort(), STALL_MS);
      const part = await reader
        .read()
        .catch((error: Error) => {
          throw new Retryable(`the connection to ${url} broke (${error.message})`);
        })
        .finally(() => clearTimeout(stalled));
      if (part.done) return;
      yield part.value;
    }
  } finally {
    stop.abort();
  }
}

/** The error for a body that ended too early. It is worth a retry. */
export function endedEarly(url: string, at: number, size: number): Error {
  return new Retryable(`the connection to ${url} ended at byte ${at} of ${size}`, 0);
}

function refusal(site: Site, url: string, response: Response): Error {
  const { status } = response;
  if (status === 429 || status >= 500) {
    const seconds = Number(response.headers.get('Retry-After'));
    const waitMs = seconds > 0 ? Math.min(seconds * 1000, LONGEST_WAIT_MS) : undefined;
    return new Retryable(`${url} answers with status ${status}`, waitMs);
  }
  return new AlignattError('network', `${site.label}: ${remedyFor(site, url, status)}`);
}

function remedyFor(site: Site, url: string, status: number): string {
  const plain = `${url} answers with status ${status}`;
  if (!site.page) return `${plain}; check the address, and that its server lets this page read it (CORS)`;
  switch (status) {
    case 401:
      return site.token
        ? 'the Hub refuses the token: create a new one in the settings of your account'
        : 'the Hub asks for a token, or has no such model: check the name, or pass a `token` of your account';
    case 403:
      return `the licence must be accepted first: accept it on ${site.page}, then pass a \`token\` of that account`;
    case 404:
      return `the Hub has no such model, revision or file: check the name on ${site.page}`;
    default:
      return plain;
  }
}

function unreachable(site: Site, what: string): AlignattError {
  const remedy = 'check the connection; what has arrived is kept, and the next attempt continues from there';
  return new AlignattError('network', `${site.label}: ${what}; ${remedy}`);
}

function sleep(ms: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, ms));
}
