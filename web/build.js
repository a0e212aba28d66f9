// Builds the package: compiles src/ into dist/ and copies the other files that belong to it.
// wasm.sh must have built wasm/ first.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

if (!existsSync(here('wasm/alignatt_bg.wasm'))) {
  console.error('web/wasm does not exist: build the module first, with web/wasm.sh');
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

// Bundled, so that a plain server can serve the package: a browser cannot resolve a package by its
// name.
await build({
  entryPoints: ['index.ts', 'server.js', 'worker.ts', 'capture-worklet.js'].map((name) => here(`src/${name}`)),
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

// The licences of the bundled library and of the voice detector in the module come with them.
cpSync(here('../models/vad/LICENSE'), here('dist/voice-detector.LICENSE'));
cpSync(here('node_modules/hash-wasm/LICENSE'), here('dist/hash-wasm.LICENSE'));

// Not through npx, which is a script that Node cannot start on Windows.
const tsc = spawnSync(process.execPath, [here('node_modules/typescript/bin/tsc')], { cwd: here('.'), stdio: 'inherit' });
process.exit(tsc.status ?? 1);
