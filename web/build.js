// Builds the package: dist/ from src/, and copies of what else belongs to it. wasm/ is built by wasm.sh before.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

if (!existsSync(here('wasm/alignatt_bg.wasm'))) {
  console.error('web/wasm is not there: build the module first, with web/wasm.sh');
  process.exit(1);
}

for (const made of ['dist', 'demo']) rmSync(here(made), { recursive: true, force: true });
cpSync(here('../models/demo'), here('demo'), { recursive: true });
cpSync(here('../LICENSE'), here('LICENSE'));

const sizes = {};
for (const model of readdirSync(here('demo'))) {
  for (const name of readdirSync(here(`demo/${model}`))) {
    sizes[`${model}/${name}`] = statSync(here(`demo/${model}/${name}`)).size;
  }
}

const modelFiles = readFileSync(here('../models/files.json'), 'utf8');

// Bundled, so that a plain server can serve it: a browser finds no package by its name.
await build({
  entryPoints: ['index', 'worker', 'capture-worklet'].map((name) => here(`src/${name}.ts`)),
  outdir: here('dist'),
  bundle: true,
  format: 'esm',
  target: 'es2022',
  external: ['../wasm/alignatt.js'],
  define: { DEMO_SIZES: JSON.stringify(sizes), MODEL_FILES: modelFiles },
  legalComments: 'inline',
  sourcemap: true,
  logLevel: 'warning',
});

// What is bundled keeps its licence.
cpSync(here('node_modules/hash-wasm/LICENSE'), here('dist/hash-wasm.LICENSE'));

const tsc = spawnSync('npx', ['--no-install', 'tsc'], { cwd: here('.'), stdio: 'inherit' });
process.exit(tsc.status ?? 1);
