// The compiled module on the browser's WebGPU: each op is compared with its definition on the CPU,
// and the cost of a launch is measured.

import type { Page } from '@playwright/test';
import { readFileSync, statSync } from 'node:fs';
import { brotliCompressSync, constants } from 'node:zlib';
import { LONG, repo } from './browser.js';
import { expect, test } from './package-page.js';

const WASM = repo('web/wasm/alignatt_bg.wasm');

/**
 * Largest ratio of the time of a launch through Burn to that of a bare one. Normally it is tens; it
 * is thousands if static constructors run at every call.
 */
const LAUNCH_RATIO = 500;
const LARGEST_DOWNLOAD = 4_000_000;

interface Op {
  op: string;
  worst: number;
  passed: boolean;
}

async function ask<T>(page: Page, what: string, count = 0): Promise<T> {
  const answer = await page.evaluate(
    (asked) =>
      new Promise<{ name?: string; result?: unknown; error?: string }>((done) => {
        const worker = new Worker('/module-worker.js', { type: 'module' });
        worker.onmessage = ({ data }) => (worker.terminate(), done(data));
        worker.onerror = ({ message }) => done({ error: message });
        worker.postMessage(asked);
      }),
    { what, count },
  );
  expect(answer.error).toBeUndefined();
  return answer.result as T;
}

test('every operation computes on WebGPU what it does on the CPU', async ({ home }) => {
  const ops = await ask<Op[]>(home, 'self_test');
  for (const { op, worst, passed } of ops) console.log(`${passed ? 'ok ' : 'BAD'} ${op}: ${worst}`);
  expect(ops.length).toBeGreaterThan(5);
  expect(ops.filter(({ passed }) => !passed)).toEqual([]);
});

test('a launch costs microseconds: constructors run once', async ({ home }) => {
  const { launch, bare } = await ask<{ launch: number; bare: number }>(home, 'launch_cost', 1000);
  console.log(`a launch takes ${launch.toFixed(1)} us, a bare one ${bare.toFixed(1)} us`);
  expect(launch / bare).toBeLessThan(LAUNCH_RATIO);
  expect(readFileSync(WASM).includes('command_export')).toBe(false);
});

test('the module is a small download', () => {
  test.skip(!LONG, 'only the published module is small');
  const params = { [constants.BROTLI_PARAM_QUALITY]: 9 };
  const packed = brotliCompressSync(readFileSync(WASM), { params }).length;
  console.log(`the module: ${statSync(WASM).size} bytes, ${packed} by brotli at level 9`);
  expect(packed).toBeLessThan(LARGEST_DOWNLOAD);
});
