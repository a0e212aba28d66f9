// How the tests start Chromium. SwiftShader provides WebGPU on a machine without a graphics card.

import { type BrowserContext, chromium } from '@playwright/test';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

const QUIET = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Without these flags there is no adapter. */
const WEBGPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

export const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
export const withWebgpu = { executablePath, args: [...QUIET, ...WEBGPU] };
export const withoutWebgpu = { executablePath, args: QUIET };

/**
 * Flags that Playwright sets so that hidden tabs are not slowed down. `withHiddenTabs` removes
 * them.
 */
const SLOWED = [
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
];

/**
 * Runs `use` with a browser in which a background tab is hidden and slowed down, as in normal use.
 * Playwright makes every tab that it opens believe that it is visible. The tabs of a browser that
 * is already running can be left as they are.
 */
export async function withHiddenTabs(use: (context: BrowserContext) => Promise<void>, flags: string[] = []): Promise<void> {
  const port = await freePort();
  const args = [...withWebgpu.args, `--remote-debugging-port=${port}`, ...flags];
  const launched = await chromium.launch({ executablePath, args, ignoreDefaultArgs: SLOWED });
  try {
    const browser = await chromium.connectOverCDP(`http://127.0.0.1:${port}`, { noDefaults: true });
    await use(browser.contexts()[0]!);
    await browser.close();
  } finally {
    await launched.close();
  }
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer();
    server.once('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => done(port));
    });
  });
}

/** Whether the slow tests run too. */
export const LONG = Boolean(process.env['LONG']);

/** The absolute path of a file in the repository. */
export function repo(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
