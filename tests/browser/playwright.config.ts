import { defineConfig } from '@playwright/test';
import { withWebgpu } from './browser.js';

export default defineConfig({
  testDir: '.',
  outputDir: 'results',
  // A graphics card that is the processor: one test at a time, and time for each.
  workers: 1,
  fullyParallel: false,
  timeout: 300_000,
  forbidOnly: Boolean(process.env['CI']),
  // A busy machine may be late once; what passes the second time is reported as flaky.
  retries: process.env['CI'] ? 1 : 0,
  reporter: [['list']],
  use: { launchOptions: withWebgpu },
});
