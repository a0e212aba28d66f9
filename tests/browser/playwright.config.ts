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
  reporter: [['list']],
  use: { launchOptions: withWebgpu },
});
