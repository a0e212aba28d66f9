// Fetching models into the browser's storage: whole, by ranges, resumed, checked, shared. These
// tests do not need the module.

import type { Page } from '@playwright/test';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repo } from './browser.js';
import { expect, type Failure, test } from './package-page.js';
import { Hub } from './server.js';

const MODEL = 'demo/asr';
const WEIGHTS = 'model.safetensors';

function fetchModel(
  page: Page,
  endpoint: string,
  model: string | { url: string } = MODEL,
  token?: string,
): Promise<Failure> {
  return page.evaluate(
    ([model, endpoint, token]) => failing(alignatt.models.fetch(model, { endpoint, ...(token && { token }) })),
    [model, endpoint, token] as const,
  );
}

/** SHA-256 of the stored content of a file. */
function storedHash(page: Page, model: string, name: string): Promise<string> {
  return page.evaluate(
    async ([model, name]) => {
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('alignatt');
      const folder = await root.getDirectoryHandle(encodeURIComponent(model!));
      for await (const [entry, handle] of folder.entries()) {
        if (!entry.startsWith(`${name}.`)) continue;
        const bytes = await (await (handle as FileSystemFileHandle).getFile()).arrayBuffer();
        const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
        return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
      }
      return 'no such file';
    },
    [model, name],
  );
}

function trueHash(name: string): string {
  return createHash('sha256').update(readFileSync(repo(`models/demo/asr/${name}`))).digest('hex');
}

function list(page: Page) {
  return page.evaluate(() => alignatt.models.list());
}

test('a model is fetched, listed, measured, used from storage, and removed', async ({ home, hub }) => {
  const progress = await home.evaluate(
    async ([model, endpoint]) => {
      const reports: { done: number; total: number }[] = [];
      await alignatt.models.fetch(model!, { endpoint: endpoint!, onProgress: (progress) => reports.push(progress) });
      return reports;
    },
    [MODEL, hub.url],
  );
  const total = progress.at(-1)!.total;
  expect(progress.at(-1)!.done).toBe(total);
  expect(await list(home)).toEqual([{ model: MODEL, done: total, total }]);
  expect(await storedHash(home, `${MODEL}@main`, WEIGHTS)).toBe(trueHash(WEIGHTS));
  expect(await storedHash(home, `${MODEL}@main`, 'vocab.json')).toBe(trueHash('vocab.json'));
  expect(hub.transfers.some(({ path }) => path.endsWith('README.md'))).toBe(false);

  const before = hub.requests.length;
  expect(await home.evaluate((model) => alignatt.models.size(model), MODEL)).toEqual({ done: total, total });
  expect(hub.requests.length).toBe(before);
  expect(await fetchModel(home, hub.url)).toEqual({});
  expect(hub.requests.length).toBe(before + 1);

  await home.evaluate((model) => alignatt.models.remove(model), MODEL);
  expect(await list(home)).toEqual([]);
});

test('a GGUF file is a model of its own', async ({ home }) => {
  const hub = await Hub.serve(repo('tests/fixtures'));
  const [model, name] = ['demo/gguf/gemma3_like-q4_0.gguf', 'gemma3_like-q4_0.gguf'];
  expect(await fetchModel(home, hub.url, model)).toEqual({});
  expect(new Set(hub.transfers.map(({ path }) => path))).toEqual(new Set([`/cdn/gguf/${name}`]));
  expect(await list(home)).toEqual([{ model, done: 246080, total: 246080 }]);
  const hash = createHash('sha256').update(readFileSync(repo(`tests/fixtures/gguf/${name}`))).digest('hex');
  expect(await storedHash(home, `${model}@main`, name)).toBe(hash);
  for (const [wrong, code] of [
    ['demo/gguf/none.gguf', 'bad-model'],
    ['demo/gguf/x-00001-of-00002.gguf', 'bad-model'],
    ['demo/gguf', 'bad-model'],
    ['demo/gguf/../none.gguf', 'bad-option'],
    ['demo/gguf/none.bin', 'bad-option'],
  ] as const) {
    expect(await fetchModel(home, hub.url, wrong), wrong).toMatchObject({ code, ours: true });
  }
  await hub.close();
});

test('the size of a model that is not stored is asked for', async ({ home, hub }) => {
  const size = await home.evaluate(
    ([model, endpoint]) => alignatt.models.size(model!, { endpoint: endpoint! }),
    [MODEL, hub.url],
  );
  expect(size.done).toBe(0);
  expect(size.total).toBeGreaterThan(6_000_000);
  expect(hub.transfers).toHaveLength(0);
});

test('a broken connection continues where it broke', async ({ home, hub }) => {
  let cuts = 0;
  hub.fault = (path) => (path.endsWith(WEIGHTS) && path.startsWith('/cdn/') && cuts++ < 3 ? { cut: 1_000_000 } : {});
  expect(await fetchModel(home, hub.url)).toEqual({});
  const ranges = hub.transfers.filter(({ path }) => path.endsWith(WEIGHTS)).map(({ range }) => range!.split(/[=-]/)[1]);
  expect(ranges).toEqual(['0', '1000000', '2000000', '3000000']);
  expect(await storedHash(home, `${MODEL}@main`, WEIGHTS)).toBe(trueHash(WEIGHTS));
});

test('what arrived before a visit ended is not fetched again', async ({ home, hub, open }) => {
  hub.fault = (path) => (path.startsWith('/cdn/') && path.endsWith(WEIGHTS) ? { slow: 200_000 } : {});
  const aborted = await home.evaluate(
    async ([model, endpoint]) => {
      const stop = new AbortController();
      const onProgress = ({ name }: { name: string }) => name === 'model.safetensors' && stop.abort();
      return failing(alignatt.models.fetch(model!, { endpoint: endpoint!, signal: stop.signal, onProgress }));
    },
    [MODEL, hub.url],
  );
  expect(aborted).toMatchObject({ code: 'aborted', ours: true });
  const [half] = await list(home);
  expect(half!.done).toBeGreaterThan(0);
  expect(half!.done).toBeLessThan(half!.total);
  await home.close();

  hub.fault = () => undefined;
  hub.requests.length = 0;
  const again = await open();
  expect(await fetchModel(again, hub.url)).toEqual({});
  expect(hub.transfers.map(({ path }) => path)).toEqual([`/cdn/asr/${WEIGHTS}`]);
  expect(await storedHash(again, `${MODEL}@main`, WEIGHTS)).toBe(trueHash(WEIGHTS));
});

test('an aborted fetch can be started again at once', async ({ home, hub }) => {
  hub.fault = (path) => (path.endsWith(WEIGHTS) ? { slow: 4_000_000 } : {});
  for (const wait of [100, 300, 600]) {
    const failed = await home.evaluate(
      ([model, endpoint, wait]) =>
        failing(alignatt.models.fetch(model, { endpoint, signal: AbortSignal.timeout(wait) })),
      [MODEL, hub.url, wait] as const,
    );
    expect(failed).toMatchObject({ code: 'aborted', ours: true });
  }
  expect(await fetchModel(home, hub.url)).toEqual({});
  expect(await storedHash(home, `${MODEL}@main`, WEIGHTS)).toBe(trueHash(WEIGHTS));
});

test('a large file is fetched in pieces, several at a time, and pieces that arrived are kept', async ({ home, open }) => {
  const root = mkdtempSync(join(tmpdir(), 'alignatt-hub-'));
  mkdirSync(join(root, 'large'));
  writeFileSync(join(root, 'large', 'config.json'), '{}');
  writeFileSync(join(root, 'large', WEIGHTS), randomBytes(45_000_000));
  const large = await Hub.serve(root);
  try {
    // The first piece is fast, so that it is complete when the visit ends.
    large.fault = (path, range) => (path.endsWith(WEIGHTS) && range !== 'bytes=0-8388607' ? { slow: 400_000 } : {});
    const stopped = await home.evaluate(async (endpoint) => {
      const stop = new AbortController();
      const onProgress = ({ done }: { done: number }) => done > 10_000_000 && stop.abort();
      return failing(alignatt.models.fetch('demo/large', { endpoint, signal: stop.signal, onProgress }));
    }, large.url);
    expect(stopped.code).toBe('aborted');
    expect(large.transfers.filter(({ path }) => path.endsWith(WEIGHTS)).length).toBeGreaterThanOrEqual(4);
    expect((await list(home))[0]!.done).toBe(2 + 8_388_608);
    await home.close();

    large.fault = () => undefined;
    large.requests.length = 0;
    const again = await open();
    expect(await fetchModel(again, large.url, 'demo/large')).toEqual({});
    const ranges = large.transfers.map(({ range }) => range);
    expect(ranges).toHaveLength(5);
    expect(ranges).not.toContain('bytes=0-8388607');
    const [there] = await list(again);
    expect(there!.done).toBe(there!.total);
  } finally {
    await large.close();
    rmSync(root, { recursive: true });
  }
});

test('a file with a wrong hash is fetched once more, and then refused', async ({ home, hub }) => {
  let times = 0;
  hub.fault = (path) => (path === `/cdn/asr/${WEIGHTS}` && times++ < 1 ? { corrupt: true } : {});
  expect(await fetchModel(home, hub.url)).toEqual({});
  expect(await storedHash(home, `${MODEL}@main`, WEIGHTS)).toBe(trueHash(WEIGHTS));

  await home.evaluate((model) => alignatt.models.remove(model), MODEL);
  hub.fault = (path) => (path === '/cdn/asr/vocab.json' ? { corrupt: true } : {});
  const failed = await fetchModel(home, hub.url);
  expect(failed).toMatchObject({ code: 'network', ours: true });
  expect(failed.message).toContain('vocab.json');
  expect(await storedHash(home, `${MODEL}@main`, 'vocab.json')).toBe('no such file');
});

for (const [status, remedy] of [
  [401, 'token'],
  [403, 'licence'],
  [404, 'check the name'],
] as const) {
  test(`status ${status} says what to do`, async ({ home, hub }) => {
    hub.fault = () => ({ status });
    const failed = await fetchModel(home, hub.url);
    expect(failed).toMatchObject({ code: 'network', ours: true });
    expect(failed.message).toContain(remedy);
    expect(hub.requests).toHaveLength(1);
  });
}

test('the token is sent to the Hub', async ({ home, hub }) => {
  expect(await fetchModel(home, hub.url, MODEL, 'secret')).toEqual({});
  const asked = hub.requests.filter(({ path }) => path.startsWith('/api/'));
  expect(asked.map(({ authorization }) => authorization)).toEqual(['Bearer secret']);
});

test('a failing server is asked again, until the fetch fails', async ({ home, hub }) => {
  let times = 0;
  hub.fault = () => (times++ < 2 ? { status: 503 } : {});
  expect(await fetchModel(home, hub.url)).toEqual({});

  await home.evaluate((model) => alignatt.models.remove(model), MODEL);
  hub.fault = (path) => (path.endsWith(WEIGHTS) ? { status: 503 } : {});
  const failed = await fetchModel(home, hub.url);
  expect(failed).toMatchObject({ code: 'network', ours: true });
  expect(failed.message).toContain('503');
});

test('a folder on a plain server is a model too, with ranges or without', async ({ home, hub }) => {
  const model = { url: `${hub.url}/plain/asr` };
  expect(await fetchModel(home, hub.url, model)).toEqual({});
  const [there] = await list(home);
  expect(there!.done).toBe(there!.total);
  await home.evaluate((model) => alignatt.models.remove(model), model);

  let cut = false;
  hub.fault = (path, range) => {
    if (!path.endsWith(WEIGHTS) || range === 'bytes=0-0' || cut) return { noRanges: true };
    cut = true;
    return { noRanges: true, cut: 1_000_000 };
  };
  expect(await fetchModel(home, hub.url, model)).toEqual({});
  expect(await storedHash(home, model.url, WEIGHTS)).toBe(trueHash(WEIGHTS));
  expect(cut).toBe(true);
});

test('what is not a model is refused', async ({ home, hub }) => {
  const empty = await fetchModel(home, hub.url, { url: `${hub.url}/plain/nothing` });
  expect(empty).toMatchObject({ code: 'bad-model', ours: true });
  expect(empty.message).toContain('config.json');
  const name = await fetchModel(home, hub.url, 'not a model');
  expect(name).toMatchObject({ code: 'bad-option', ours: true });
});

test('two tabs fetch a model once', async ({ home, hub, open }) => {
  hub.fault = (path) => (path.endsWith(WEIGHTS) ? { slow: 4_000_000 } : {});
  const other = await open();
  expect(await Promise.all([fetchModel(home, hub.url), fetchModel(other, hub.url)])).toEqual([{}, {}]);
  const paths = hub.transfers.map(({ path }) => path);
  expect(new Set(paths).size).toBe(paths.length);
});

test('a model that a tab fetches cannot be removed meanwhile', async ({ home, hub, open }) => {
  hub.fault = (path) => (path.endsWith(WEIGHTS) ? { slow: 3_000_000 } : {});
  const other = await open();
  const fetched = fetchModel(home, hub.url);
  await expect.poll(() => hub.transfers.length).toBeGreaterThan(0);
  const removed = await other.evaluate((model) => failing(alignatt.models.remove(model)), MODEL);
  expect(removed).toMatchObject({ code: 'busy', ours: true });
  expect(await fetched).toEqual({});
});

test('full storage is reported, and what arrived before is kept', async ({ home, hub, context, site }) => {
  const devtools = await context.newCDPSession(home);
  await devtools.send('Storage.overrideQuotaForOrigin', { origin: site.url, quotaSize: 3_000_000 });
  expect(await fetchModel(home, hub.url)).toMatchObject({ code: 'storage-full', ours: true });
  const [half] = await list(home);
  expect(half!.done).toBeGreaterThan(0);

  await devtools.send('Storage.overrideQuotaForOrigin', { origin: site.url });
  hub.requests.length = 0;
  expect(await fetchModel(home, hub.url)).toEqual({});
  expect(hub.transfers.map(({ path }) => path)).toEqual([`/cdn/asr/${WEIGHTS}`]);
});

test('where storage is known to be too small nothing is fetched', async ({ home, hub }) => {
  await home.evaluate(() => {
    const Real = Worker;
    globalThis.Worker = class extends Real {
      constructor(url: string | URL, options?: WorkerOptions) {
        super(`/little-storage.js?url=${encodeURIComponent(String(url))}`, options);
      }
    };
  });
  const failed = await fetchModel(home, hub.url);
  expect(failed).toMatchObject({ code: 'storage-full', ours: true });
  expect(failed.message).toContain('6.5 MB');
  expect(failed.message).toContain('3.0 MB');
  expect(hub.transfers).toHaveLength(0);
});

test('without the Hub, stored models stay, and others are reported', async ({ home, hub }) => {
  expect(await fetchModel(home, hub.url)).toEqual({});
  await hub.close();
  expect((await list(home)).map(({ model }) => model)).toEqual([MODEL]);
  const failed = await fetchModel(home, hub.url, 'demo/mt');
  expect(failed).toMatchObject({ code: 'network', ours: true });
  expect(failed.message).toContain('check the connection');
});
