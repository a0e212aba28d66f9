// Builds the page into dist/. Any static server can serve it under any path. The package is not
// bundled: it is copied beside the page as it is published, so that it finds its worker, module and
// demo pack.

import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, transformWithEsbuild, type Plugin } from 'vite';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
/** The package's modules, beside the page's. */
const PACKAGE = { alignatt: '../alignatt/dist/index.js', 'alignatt/server': '../alignatt/dist/server.js' };
const SAMPLE = 'talk-a.flac';
/** Declarations and source maps, which are not part of the page. */
const LEFT_OUT = /\.(d\.ts|map)$/;

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort();
}

/** Copies the package and the sample beside the page. */
function beside(out: string): Plugin {
  return {
    name: 'beside',
    writeBundle() {
      const from = realpathSync(here('node_modules/alignatt'));
      for (const part of ['dist', 'wasm', 'demo']) {
        cpSync(join(from, part), join(out, 'alignatt', part), { recursive: true, filter: (path) => !LEFT_OUT.test(path) });
      }
      mkdirSync(join(out, 'samples'), { recursive: true });
      cpSync(here(`../samples/${SAMPLE}`), join(out, 'samples', SAMPLE));
    },
  };
}

/**
 * Writes the service worker, with a list of all files and their hashes. Runs last, when all of them
 * have been written.
 */
function offline(out: string): Plugin {
  return {
    name: 'offline',
    async closeBundle() {
      const list = files(out).filter((path) => path !== 'sw.js');
      const hashed = list.map((path) => [path, hash(readFileSync(join(out, path)))]);
      const source = readFileSync(here('src/sw.ts'), 'utf8');
      const define = { FILES: JSON.stringify(hashed), BUILD: JSON.stringify(hash(source + JSON.stringify(hashed))) };
      const { code } = await transformWithEsbuild(source, 'sw.ts', { define, target: 'es2022', minify: true, format: 'iife' });
      mkdirSync(dirname(join(out, 'sw.js')), { recursive: true });
      writeFileSync(join(out, 'sw.js'), code);
    },
  };
}

const hash = (content: string | Uint8Array): string => createHash('sha256').update(content).digest('hex').slice(0, 16);

const out = here('dist');

export default defineConfig({
  base: './',
  build: {
    target: 'es2022',
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: { external: Object.keys(PACKAGE), output: { paths: PACKAGE } },
  },
  plugins: [beside(out), offline(out)],
});
