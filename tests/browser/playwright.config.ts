import { defineConfig } from '@playwright/test';
import { withWebgpu } from './browser.js';

export default defineConfig({
  testDir: '.',
  outputDir: 'results',
  // WebGPU is emulated on the CPU: run one test at a time, with a long timeout. The pages of the
  // server compute nothing and play talks in real time, so they run beside the others.
  workers: 2,
  projects: [
    { name: 'tab', testIgnore: 'serve.spec.ts', workers: 1 },
    { name: 'server', testMatch: 'serve.spec.ts', workers: 1 },
  ],
  fullyParallel: false,
  timeout: 300_000,
  forbidOnly: Boolean(process.env['CI']),
  // A test may be late once on a busy machine. If it passes the second time it is reported as
  // flaky.
  retries: process.env['CI'] ? 1 : 0,
  reporter: [['list']],
  use: { launchOptions: withWebgpu },
});
