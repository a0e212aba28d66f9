// Servers for the tests: a site with the package, and a fake Hub that can simulate
// faults.

import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize, sep } from 'node:path';
import { repo } from './browser.js';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.webmanifest': 'application/manifest+json',
  '.wasm': 'application/wasm',
};

/**
 * A plain static server. `folders` maps the first part of a path to a folder; the longest match is
 * used.
 */
export class Site {
  readonly url: string;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.url = urlOf(server);
  }

  static async serve(
    folders: Record<string, string>,
    {
      headers = {},
      change,
    }: { headers?: Record<string, string>; change?: (path: string, text: () => string) => string | undefined } = {},
  ): Promise<Site> {
    const prefixes = Object.keys(folders).sort((a, b) => b.length - a.length);
    const server = createServer((request, response) => {
      const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
      const prefix = prefixes.find((prefix) => path.startsWith(prefix));
      let file = prefix === undefined ? undefined : inside(folders[prefix]!, path.slice(prefix.length));
      if (file && existsSync(file) && statSync(file).isDirectory()) file = join(file, 'index.html');
      if (!file || !existsSync(file)) return void response.writeHead(404).end();
      const type = TYPES[extname(file)] ?? 'application/octet-stream';
      const changed = change?.(path, () => readFileSync(file, 'utf8'));
      response.writeHead(200, {
        'Content-Type': type,
        'Content-Length': changed === undefined ? statSync(file).size : Buffer.byteLength(changed),
        'Cache-Control': 'no-cache',
        ...headers,
      });
      if (changed !== undefined) return void response.end(changed);
      createReadStream(file).pipe(response);
    });
    return new Site(await listening(server));
  }

  close(): Promise<void> {
    return closed(this.#server);
  }
}

/** A simulated fault in the answer to a request. */
export interface Fault {
  status?: number;
  /** Break the connection after this many bytes. */
  cut?: number;
  /** Send content that differs from the file. */
  corrupt?: boolean;
  /** Ignore the range: answer 200 with the whole file. */
  noRanges?: boolean;
  /** Bytes per second. */
  slow?: number;
}

const COMMIT = '0123456789abcdef0123456789abcdef01234567';

/**
 * The Hub, as far as the package uses it: listings, and files behind a redirect to another address.
 * A model `demo/asr` is the folder `asr` under `root`. Also serves plain folders of files under
 * `/plain`.
 */
export class Hub {
  readonly url: string;
  readonly requests: { path: string; range?: string; authorization?: string }[] = [];
  fault: (path: string, range: string | undefined) => Fault | undefined = () => undefined;
  readonly #server: Server;
  readonly #root: string;

  private constructor(server: Server, root: string) {
    this.#server = server;
    this.#root = root;
    this.url = urlOf(server);
  }

  static async serve(root = repo('models/demo')): Promise<Hub> {
    let hub: Hub | undefined;
    const server = createServer((request, response) => hub!.#answer(request, response));
    hub = new Hub(await listening(server), root);
    return hub;
  }

  close(): Promise<void> {
    return closed(this.#server);
  }

  /** Requests for content, not for listings or redirects. */
  get transfers(): { path: string; range?: string }[] {
    return this.requests.filter(({ path }) => path.startsWith('/cdn/') || path.startsWith('/plain/'));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    const { range, authorization } = request.headers;
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Allow-Headers', 'Authorization');
    response.setHeader('Access-Control-Expose-Headers', 'Content-Range, ETag, Retry-After');
    if (request.method === 'OPTIONS') return void response.writeHead(204).end();
    this.requests.push({ path, ...(range && { range }), ...(authorization && { authorization }) });
    const fault = this.fault(path, range) ?? {};
    if (fault.status) return void response.writeHead(fault.status).end();
    const [, listed] = /^\/api\/models\/demo\/([a-z]+)\/revision\/main$/.exec(path) ?? [];
    if (listed) return void response.end(JSON.stringify(this.#listing(listed)));
    const [, model, name] = /^\/demo\/([a-z]+)\/resolve\/\w+\/([\w.-]+)$/.exec(path) ?? [];
    if (model) return void response.writeHead(302, { Location: `/cdn/${model}/${name}` }).end();
    const [, content] = /^\/(?:cdn|plain)\/(.+)$/.exec(path) ?? [];
    const file = content && inside(this.#root, content);
    if (!file || !existsSync(file)) return void response.writeHead(404).end();
    void send(response, readFileSync(file), range, fault);
  }

  #listing(model: string): unknown {
    const folder = join(this.#root, model);
    const names = readdirSync(folder).filter((name) => statSync(join(folder, name)).isFile());
    const siblings = names.map((rfilename) => {
      const bytes = readFileSync(join(folder, rfilename));
      const blobId = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      const lfs = rfilename.endsWith('.safetensors') ? { lfs: { sha256, size: bytes.length } } : {};
      return { rfilename, size: bytes.length, blobId, ...lfs };
    });
    return { sha: COMMIT, siblings: [...siblings, { rfilename: 'README.md', size: 1, blobId: COMMIT }] };
  }
}

async function send(response: ServerResponse, whole: Buffer, range: string | undefined, fault: Fault): Promise<void> {
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
  const partial = from !== undefined && !fault.noRanges;
  const start = partial ? Number(from) : 0;
  const end = partial && to ? Math.min(Number(to) + 1, whole.length) : whole.length;
  const bytes = Buffer.from(whole.subarray(start, end));
  if (fault.corrupt && bytes.length > 0) bytes[bytes.length - 1]! ^= 1;
  response.writeHead(partial ? 206 : 200, {
    'Content-Length': bytes.length,
    ETag: `"${createHash('sha1').update(whole).digest('hex')}"`,
    ...(partial && { 'Content-Range': `bytes ${start}-${end - 1}/${whole.length}` }),
  });
  const sent = fault.cut === undefined ? bytes : bytes.subarray(0, fault.cut);
  const step = fault.slow ? Math.max(1, Math.floor(fault.slow / 20)) : sent.length;
  for (let at = 0; at < sent.length && !response.destroyed; at += step) {
    response.write(sent.subarray(at, at + step));
    if (fault.slow) await new Promise((wake) => setTimeout(wake, 50));
  }
  if (sent.length === bytes.length) return void response.end();
  // The bytes that were written are sent first.
  setTimeout(() => response.destroy(), 50);
}

function inside(folder: string, path: string): string | undefined {
  const file = normalize(join(folder, path));
  return file === normalize(folder) || file.startsWith(normalize(folder + sep)) ? file : undefined;
}

function urlOf(server: Server): string {
  return `http://localhost:${(server.address() as AddressInfo).port}`;
}

function listening(server: Server): Promise<Server> {
  return new Promise((done, fail) => {
    server.once('error', fail);
    server.listen(0, 'localhost', () => done(server));
  });
}

function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((done) => server.close(() => done()));
}
