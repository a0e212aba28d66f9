// The page on which the package is tested, and helpers for tests. The page's content security
// policy forbids everything that the package's README says is not needed.

import { type BrowserContext, expect, type Page, test as base } from '@playwright/test';
import type * as Alignatt from '../../web/src/index.js';
import type { TranslatorEvent } from '../../web/src/events.js';
import { repo } from './browser.js';
import { Hub, Site } from './server.js';

/** The result of `readAll`: the events, and the error if one was thrown. */
export interface Read {
  events: TranslatorEvent[];
  code?: string;
  message?: string;
  ours?: boolean;
}

export interface Failure {
  code?: string;
  message?: string;
  ours?: boolean;
}

declare global {
  var alignatt: typeof Alignatt;
  var ready: boolean;
  var readAll: (
    stream: AsyncIterable<TranslatorEvent>,
    each?: (event: TranslatorEvent, events: TranslatorEvent[]) => unknown,
  ) => Promise<Read>;
  var failing: (promise: unknown) => Promise<Failure>;
  var sample: (name: string) => Promise<File>;
  var samplesOf: (name: string) => Promise<Float32Array>;
  var blocksOf: (samples: Float32Array, len?: number) => AsyncGenerator<Float32Array>;
}

/** Under `/broken/`, the package's worker obeys two messages: to lose its device, and to trap. */
const BROKEN = `
const devices = [];
const request = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...asked) {
  const device = await request.apply(this, asked);
  devices.push(device);
  return device;
};
new BroadcastChannel('orders').onmessage = ({ data }) => {
  if (data === 'lose') devices.forEach((device) => device.destroy());
  if (data === 'trap') void Promise.reject(new WebAssembly.RuntimeError('unreachable'));
};
`;

export const test = base.extend<{ home: Page; open: () => Promise<Page>; hub: Hub; site: Site }>({
  hub: async ({}, use) => {
    const hub = await Hub.serve();
    await use(hub);
    await hub.close();
  },
  site: async ({}, use) => {
    const scripts = `script-src 'self' 'wasm-unsafe-eval'`;
    const policy = `default-src 'none'; ${scripts}; connect-src 'self' http://localhost:*; img-src data:`;
    const site = await Site.serve(
      {
        '/': repo('tests/browser/harness'),
        '/package/': repo('web'),
        '/broken/': repo('web'),
        '/samples/': repo('samples'),
      },
      {
        headers: { 'Content-Security-Policy': policy },
        change: (path, text) => (path === '/broken/dist/worker.js' ? BROKEN + text() : undefined),
      },
    );
    await use(site);
    await site.close();
  },
  open: async ({ context, site }, use) => {
    await use(() => openPage(context, site));
  },
  home: async ({ open }, use) => {
    await use(await open());
  },
});

export { expect };

export async function openPage(context: BrowserContext, site: Site): Promise<Page> {
  const page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error' || process.env['VERBOSE']) console.log(`[browser] ${message.text()}`);
  });
  page.on('pageerror', (error) => console.log(`[browser] uncaught: ${error.message}`));
  await page.goto(`${site.url}/index.html`);
  await page.waitForFunction(() => globalThis.ready);
  return page;
}

/** The final text: each segment's words and translation. */
export function finalText(events: TranslatorEvent[]): { source: string[]; target: string[] } {
  const source: string[] = [];
  const target: string[] = [];
  for (const event of events) {
    if (event.type === 'source') source[event.segment] = event.committed.map((word) => word.text).join(' ');
    if (event.type === 'target') target[event.segment] = event.committed;
  }
  return { source, target };
}

/** Checks what holds for every run that came to an end, for whatever reason. */
export function expectInOrder(events: TranslatorEvent[]): void {
  expect(events[0]?.type).toBe('start');
  expect(events.at(-1)?.type).toBe('end');
  expect(events.filter(({ type }) => type === 'end')).toHaveLength(1);
  const shown = new Map<number, string>();
  for (const event of events) {
    if (event.type !== 'target') continue;
    const before = shown.get(event.segment) ?? '';
    expect(event.committed).toBe(before + event.delta);
    shown.set(event.segment, event.committed);
  }
}
