// Caches every file of the page under the hash of the build. Once a build is cached completely, the
// page works without a network. A new build is cached beside the old one and copies unchanged files
// from it. It is used when no tab needs the old one.

declare const FILES: Array<[path: string, hash: string]>;
declare const BUILD: string;

interface ExtendableEvent extends Event {
  waitUntil(done: Promise<unknown>): void;
}
interface FetchEvent extends ExtendableEvent {
  request: Request;
  respondWith(answer: Promise<Response>): void;
}

const PREFIX = 'alignatt-';
const NAME = `${PREFIX}${BUILD}`;
/** The file in a cache that holds the hashes of the other files. */
const HASHES = './hashes.json';
const hashes = new Map(FILES);

async function install(): Promise<void> {
  const cache = await caches.open(NAME);
  const old = await former();
  for (const [path, hash] of hashes) {
    const kept = old?.hashes.get(path) === hash ? await old.cache.match(path) : undefined;
    const answer = kept ?? (await fetch(path, { cache: 'no-cache' }));
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    await cache.put(path, answer);
  }
  await cache.put(HASHES, new Response(JSON.stringify([...hashes])));
}

/** The newest completely cached build before this one. */
async function former(): Promise<{ cache: Cache; hashes: Map<string, string> } | undefined> {
  for (const name of (await caches.keys()).toReversed()) {
    if (!name.startsWith(PREFIX) || name === NAME) continue;
    const cache = await caches.open(name);
    const list = await cache.match(HASHES);
    if (list) return { cache, hashes: new Map(await list.json()) };
  }
  return undefined;
}

async function activate(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== NAME).map((name) => caches.delete(name)));
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(NAME);
  // Other pages of a server that also translates are its own.
  const own = request.mode === 'navigate' && new URL(request.url).pathname === new URL('./', location.href).pathname;
  const page = own ? './index.html' : request;
  return (await cache.match(page, { ignoreSearch: true })) ?? fetch(request);
}

addEventListener('install', (event) => (event as ExtendableEvent).waitUntil(install()));
addEventListener('activate', (event) => (event as ExtendableEvent).waitUntil(activate()));
addEventListener('fetch', (event) => {
  const { request, respondWith } = event as FetchEvent;
  if (request.method !== 'GET' || new URL(request.url).origin !== location.origin) return;
  respondWith.call(event, answer(request));
});

export {};
