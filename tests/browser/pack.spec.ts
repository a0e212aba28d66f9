// The package as its users get it: packed, installed in a new Vite project, and built there. Tested
// both from the built files and from the development server.

import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Page, test as base } from '@playwright/test';
import type { TranslatorEvent } from '../../web/src/events.js';
import { repo } from './browser.js';
import { nativeEvents } from './native.js';
import { expect, finalText } from './package-page.js';
import { Site } from './server.js';

/** On Windows npm is a script, which only a shell can start. */
const WINDOWS = process.platform === 'win32';

const MAIN = `
import { AlignattError, Translator, type TranslatorEvent } from 'alignatt';

const events: TranslatorEvent[] = [];
try {
  const translator = await Translator.load({ to: 'de', device: 'cpu' });
  const sound = await (await fetch('talk-a.flac')).blob();
  for await (const event of translator.translate(sound)) events.push(event);
  translator.dispose();
} catch (error) {
  document.title = error instanceof AlignattError ? error.code : String(error);
}
Object.assign(globalThis, { events, done: true });
`;

const FILES: Record<string, string> = {
  'package.json': JSON.stringify({ name: 'fresh', private: true, type: 'module', scripts: { build: 'tsc && vite build' } }),
  'tsconfig.json': JSON.stringify({
    compilerOptions: { target: 'ES2022', module: 'ESNext', moduleResolution: 'bundler', strict: true, noEmit: true },
    include: ['src'],
  }),
  'index.html': '<!doctype html><title>fresh</title><script type="module" src="/src/main.ts"></script>',
  'src/main.ts': MAIN,
  // The script above uses top-level await.
  'vite.config.js': `export default { base: './', build: { target: 'es2022' } };`,
  'dev.config.js': documented(),
};

/** The settings for the development server, from the package's README. */
function documented(): string {
  const [, code] = /^```js\n(export default .*optimizeDeps.*\n)```$/m.exec(readFileSync(repo('web/README.md'), 'utf8')) ?? [];
  if (!code) throw new Error('web/README.md does not give the settings of the development server');
  return code;
}

/** Opens the project's page, which translates the sample, and compares the text. */
async function expectTranslated(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await page.waitForFunction(() => 'done' in globalThis, undefined, { timeout: 300_000 });
  expect(await page.title()).toBe('fresh');
  const events = await page.evaluate(() => (globalThis as unknown as { events: TranslatorEvent[] }).events);
  expect(finalText(events)).toEqual(finalText(await nativeEvents(repo('samples/talk-a.flac'), 'de')));
}

/** Starts the development server in `folder` and waits until it prints its address. */
async function developing(folder: string): Promise<{ url: string; stop: () => void }> {
  const args = ['node_modules/vite/bin/vite.js', '--config', 'dev.config.js'];
  const server = spawn(process.execPath, args, { cwd: folder, env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined } });
  server.stderr.pipe(process.stderr);
  let said = '';
  const url = await new Promise<string>((done, fail) => {
    server.once('exit', () => fail(new Error(`vite ended: ${said}`)));
    server.stdout.on('data', (part) => {
      said += part;
      const [address] = /http:\/\/localhost:\d+\//.exec(said) ?? [];
      if (address) done(address);
    });
  });
  return { url, stop: () => void server.kill() };
}

base('npm pack, npm install, vite build and vite: the sample is translated', async ({ page }) => {
  base.setTimeout(900_000);
  const folder = mkdtempSync(join(tmpdir(), 'alignatt-fresh-'));
  const run = (at: string, command: string, ...args: string[]) =>
    execFileSync(command, args, { cwd: at, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], shell: WINDOWS });
  try {
    const packed = JSON.parse(run(repo('web'), 'npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', folder));
    const [{ filename, size, unpackedSize, files }] = packed as [
      { filename: string; size: number; unpackedSize: number; files: { path: string }[] },
    ];
    console.log(`${filename}: ${size} bytes, ${unpackedSize} unpacked`);
    const paths = files.map(({ path }) => path);
    for (const path of ['README.md', 'LICENSE', 'dist/index.d.ts', 'wasm/alignatt_bg.wasm', 'demo/mt/model.safetensors']) {
      expect(paths).toContain(path);
    }
    expect(paths.filter((path) => !/^(dist|wasm|demo)\/|^(README\.md|LICENSE|package\.json)$/.test(path))).toEqual([]);

    for (const [name, text] of Object.entries(FILES)) {
      mkdirSync(join(folder, name, '..'), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    mkdirSync(join(folder, 'public'));
    copyFileSync(repo('samples/talk-a.flac'), join(folder, 'public/talk-a.flac'));
    run(folder, 'npm', 'install', '--no-audit', '--no-fund', `./${filename}`, 'vite@7', 'typescript');
    console.log(run(folder, 'npm', 'run', 'build'));

    page.on('console', (message) => message.type() === 'error' && console.log(`[browser] ${message.text()}`));
    const site = await Site.serve({ '/': join(folder, 'dist') });
    await expectTranslated(page, site.url).finally(() => site.close());
    const server = await developing(folder);
    await expectTranslated(page, server.url).finally(server.stop);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
