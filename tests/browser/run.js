// Runs the tests, or says why not. In CI a missing browser is a failure.
//
//   npm test [-- FILE… --grep …]      CHROMIUM and ALIGNATT_BIN name the browser and the native program

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const browser = process.env.CHROMIUM ?? '/usr/bin/chromium';
if (!existsSync(browser)) {
  console.error(`NOT RUN browser tests: there is no ${browser}; set CHROMIUM`);
  process.exit(process.env.CI ? 1 : 0);
}
const { status } = spawnSync('npx', ['--no-install', 'playwright', 'test', ...process.argv.slice(2)], { stdio: 'inherit' });
process.exit(status ?? 1);
