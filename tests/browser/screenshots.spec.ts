// Pictures of the page, for people to look at: results/screenshots/. Nothing is compared. A state
// that cannot be reached is a failure.

import type { Page } from '@playwright/test';
import { LONG, repo } from './browser.js';
import { phase, test, type Replay } from './demo-page.js';

test.use({ serviceWorkers: 'block' });
test.skip(!LONG, 'pictures for people: what they show is tested in page.spec.ts');

const WIDTHS = [360, 800, 1440];
const SCHEMES = ['light', 'dark'] as const;

/** Takes pictures of the page's state at every width, dark and light. */
async function picture(page: Page, name: string, { again = async () => {} }: { again?: () => Promise<unknown> } = {}): Promise<void> {
  await page.evaluate(() => document.fonts.ready);
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: width < 500 ? 780 : 900 });
    for (const colorScheme of SCHEMES) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await again();
      await page.screenshot({ path: repo(`tests/browser/results/screenshots/${name}-${width}-${colorScheme}.png`) });
    }
  }
}

test('idle', async ({ replayed }) => {
  const page = await replayed();
  await picture(page, 'idle');
  await page.click('#check summary');
  await picture(page, 'check', { again: () => page.locator('#check').scrollIntoViewIfNeeded() });
});

test('models', async ({ replayed }) => {
  const page = await replayed({ fetchMs: 400 });
  await page.click('#choose');
  await page.locator('#models input[value=e4b]').check();
  await picture(page, 'models');
  await page.locator('#models .actions button').click();
  await page.locator('#models progress').waitFor();
  await picture(page, 'download');
});

for (const to of ['de', 'zh']) {
  test(`running and held, ${to}`, async ({ replayed }) => {
    const page = await replayed({ speed: 12 });
    await page.selectOption('#language', to);
    await page.click('#play');
    await page.locator('.segment[data-segment="5"] .target-word.committed').nth(4).waitFor();
    await page.screenshot({ path: repo(`tests/browser/results/screenshots/running-${to}.png`) });
    await phase(page, 'ended');
    const end = () => page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    await picture(page, `ended-${to}`, { again: end });
    const word = page.locator('.segment[data-segment="9"] .target-word').nth(3);
    await picture(page, `held-${to}`, { again: async () => (await page.mouse.move(1, 1), await word.scrollIntoViewIfNeeded(), await word.hover()) });
  });
}

test('running, as it grows', async ({ replayed }) => {
  const page = await replayed({ speed: 3 });
  await page.click('#play');
  await page.locator('.segment[data-segment="3"] .target-word.tentative').first().waitFor();
  await picture(page, 'running');
});

test('lost in the middle', async ({ replayed }) => {
  const page = await replayed({ fail: { at: 'stream', after: 70, code: 'device-lost' } });
  await page.click('#play');
  await page.locator('#notice button').waitFor();
  await picture(page, 'lost', { again: () => page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight)) });
});

for (const code of ['no-webgpu', 'no-adapter', 'adapter-failed-self-test', 'out-of-memory', 'storage-full', 'network']) {
  test(`failing: ${code}`, async ({ replayed }) => {
    const atOnce = code.startsWith('no-');
    const replay: Replay = atOnce ? { check: { webgpu: false, reason: code, adapter: undefined } } : { fail: { at: 'load', code } };
    const page = await replayed(replay);
    if (!atOnce) await page.click('#play');
    await page.locator('#trouble h1').waitFor();
    await picture(page, `failing-${code}`);
  });
}
