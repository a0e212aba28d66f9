// Serves the built demo page from a plain server, under a path of its own. The page has either the
// real package or, for tests of the page alone, a replacement that plays recorded events.

import { type BrowserContext, expect, type Page, test as base } from '@playwright/test';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TranslatorEvent } from '../../web/src/events.js';
import { repo } from './browser.js';
import { BINARY, MODELS, nativeEvents } from './native.js';
import { Site } from './server.js';

export type Language = 'de' | 'it' | 'zh';

/** Settings of the replacement: see replay/index.js. */
export interface Replay {
  /** Replaces the events of the sample. */
  events?: { [language in Language]?: TranslatorEvent[] };
  speed?: number;
  loadMs?: number;
  fetchMs?: number;
  check?: Record<string, unknown>;
  fail?: { at: 'load' | 'stream' | 'microphone'; code: string; message?: string; after?: number };
}

/**
 * The native program's events for the page's sample. They are cached among temporary files, under
 * the time of the newest of program and models.
 */
export async function sampleEvents(to: Language): Promise<TranslatorEvent[]> {
  const weights = ['asr', 'aligner', 'mt'].map((model) => repo(`models/demo/${model}/model.safetensors`));
  const newest = Math.max(...[BINARY, ...weights].map((path) => statSync(path).mtimeMs));
  const kept = join(tmpdir(), `alignatt-talk-a-${to}-${Math.trunc(newest)}.json`);
  if (!existsSync(kept)) writeFileSync(kept, JSON.stringify(await nativeEvents(repo('samples/talk-a.flac'), to)));
  return JSON.parse(readFileSync(kept, 'utf8')) as TranslatorEvent[];
}

export function committed(events: TranslatorEvent[], side: 'source' | 'target'): string {
  const lines = new Map<number, string>();
  for (const event of events) {
    if (event.type === 'source' && side === 'source') lines.set(event.segment, event.committed.map(({ text }) => text).join(' '));
    if (event.type === 'target' && side === 'target') lines.set(event.segment, event.committed);
  }
  return [...lines.values()].filter(Boolean).join('\n');
}

/** The committed text on the page, one line for each segment. */
export function shownText(page: Page, side: 'source' | 'target'): Promise<string> {
  const [line, word] = side === 'target' ? ['.target', '.target-word.committed'] : ['.source', '.source-word.committed'];
  return page.locator('#captions').evaluate(
    (root, [line, word]) =>
      [...root.querySelectorAll(line!)]
        .map((p) => {
          const clone = p.cloneNode(true) as Element;
          for (const open of clone.querySelectorAll('.tentative')) open.remove();
          return clone.querySelector(word!) ? clone.textContent!.trim() : '';
        })
        .filter(Boolean)
        .join('\n'),
    [line, word],
  );
}

/** The native program's subtitles of the sample. */
export async function sampleSubtitles(to: Language, format: 'srt' | 'vtt'): Promise<string> {
  const args = ['translate', repo('samples/talk-a.flac'), '--to', to, '--format', format, '--device', 'cpu', ...MODELS];
  return (await promisify(execFile)(BINARY, args)).stdout;
}

/** Makes the package's worker lose its device on request. */
const LOSABLE = `
const devices = [];
const request = globalThis.GPUAdapter?.prototype.requestDevice;
if (request) GPUAdapter.prototype.requestDevice = async function (...asked) {
  const device = await request.apply(this, asked);
  devices.push(device);
  return device;
};
new BroadcastChannel('orders').onmessage = ({ data }) => data === 'lose' && devices.forEach((device) => device.destroy());
`;

export const test = base.extend<{ site: Site; replacement: Site; replayed: (replay?: Replay) => Promise<Page>; real: (device: 'cpu' | 'webgpu') => Promise<Page> }>({
  site: async ({}, use) => {
    if (!existsSync(repo('www/dist/index.html'))) throw new Error('www/dist does not exist: run npm run build in www/ first');
    const site = await Site.serve(
      { '/under/a/path/': repo('www/dist') },
      { change: (path, text) => (path.endsWith('/alignatt/dist/worker.js') ? LOSABLE + text() : undefined) },
    );
    await use(site);
    await site.close();
  },
  replacement: async ({}, use) => {
    const site = await Site.serve({ '/page/': repo('www/dist'), '/page/alignatt/dist/': repo('tests/browser/replay') });
    await use(site);
    await site.close();
  },
  replayed: async ({ context, replacement }, use) => {
    await use(async (replay = {}) => {
      const events = { de: await sampleEvents('de'), it: await sampleEvents('it'), zh: await sampleEvents('zh') };
      const page = await watched(context);
      await page.addInitScript((settings) => Object.assign(globalThis, { replay: settings }), { speed: 40, events, ...replay });
      await page.goto(`${replacement.url}/page/`);
      return page;
    });
  },
  real: async ({ context, site }, use) => {
    await use(async (device) => {
      const page = await watched(context);
      if (device === 'cpu') await page.addInitScript(() => localStorage.setItem('alignatt', JSON.stringify({ cpu: true })));
      await page.goto(`${site.url}/under/a/path/`);
      await expect(page.locator('#checked')).toContainText('This browser computes on');
      return page;
    });
  },
});

/** Opens a page on which an uncaught error fails the test. */
async function watched(context: BrowserContext): Promise<Page> {
  const page = await context.newPage();
  page.on('pageerror', (error) => expect(error, 'an error on the page').toBeUndefined());
  page.on('console', (message) => {
    if (/Content Security Policy/.test(message.text())) expect(message.text(), 'the policy of the page').toBe('');
  });
  return page;
}

export const phase = (page: Page, name: string) => expect(page.locator('body')).toHaveAttribute('data-phase', name, { timeout: 120_000 });

export { expect };
