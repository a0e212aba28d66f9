// A tab in the background: hidden, slowed down, its wake lock released. The tab is really hidden,
// see `withHiddenTabs`.

import type { BrowserContext, Page } from '@playwright/test';
import { repo, withHiddenTabs } from './browser.js';
import { expect, phase, shownText, test as onPage } from './demo-page.js';
import { nativeEvents } from './native.js';
import { expectInOrder, finalText, test as onPackage } from './package-page.js';

const hiding = {
  context: async ({}, use: (context: BrowserContext) => Promise<void>) => {
    await withHiddenTabs(use, ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']);
  },
};
const packaged = onPackage.extend(hiding);
const paged = onPage.extend(hiding);

/** Opens another tab, which hides this one. */
async function hide(page: Page): Promise<Page> {
  const other = await page.context().newPage();
  await other.bringToFront();
  await expect.poll(() => page.evaluate(() => document.visibilityState)).toBe('hidden');
  return other;
}

async function show(page: Page): Promise<void> {
  await page.bringToFront();
  await expect.poll(() => page.evaluate(() => document.visibilityState)).toBe('visible');
}

packaged('a translation goes on while its tab is hidden, and no event is lost', async ({ home }) => {
  await home.exposeFunction('hide', async () => void (await hide(home)));
  await home.exposeFunction('show', () => show(home));
  const { read, hidden } = await home.evaluate(async () => {
    const { hide, show } = globalThis as unknown as Record<'hide' | 'show', () => Promise<void>>;
    const translator = await alignatt.Translator.load({ to: 'de', device: 'cpu' });
    const hidden: boolean[] = [];
    const read = await readAll(translator.translate(await sample('talk-a.flac')), async (event) => {
      hidden.push(document.hidden);
      if (event.type === 'source' && event.segment === 1 && !hidden.includes(true)) await hide();
      if (event.type === 'source' && event.segment === 7 && document.hidden) await show();
    });
    translator.dispose();
    return { read, hidden };
  });
  expect(read.code).toBeUndefined();
  expectInOrder(read.events);
  expect(finalText(read.events)).toEqual(finalText(await nativeEvents(repo('samples/talk-a.flac'), 'de')));
  const behind = read.events.filter((_, at) => hidden[at]);
  expect(behind.filter(({ type }) => type === 'target').length).toBeGreaterThan(10);
  expect(hidden[0]).toBe(false);
  expect(hidden.at(-1)).toBe(false);
});

/** The page's wake locks in the order of their requests, each held or released. */
const locks = (page: Page) =>
  page.evaluate(() => (globalThis as unknown as { locks: WakeLockSentinel[] }).locks.map(({ released }) => (released ? 'released' : 'held')));

/** Records the page's wake locks. They stay the browser's own. */
async function noteLocks(context: BrowserContext): Promise<void> {
  await context.addInitScript(() => {
    const locks: WakeLockSentinel[] = [];
    const request = navigator.wakeLock.request.bind(navigator.wakeLock);
    navigator.wakeLock.request = async (type) => {
      const lock = await request(type);
      locks.push(lock);
      return lock;
    };
    Object.assign(globalThis, { locks });
  });
}

paged('the screen stays on during a run: the lock is released when the tab is hidden or the run ends, and requested again when the tab is shown', async ({ replayed, context }) => {
  await noteLocks(context);
  const page = await replayed({ speed: 2 });
  await page.click('#play');
  await phase(page, 'running');
  await expect.poll(() => locks(page)).toEqual(['held']);
  await hide(page);
  await expect.poll(() => locks(page)).toEqual(['released']);
  await show(page);
  await expect.poll(() => locks(page)).toEqual(['released', 'held']);
  // A new sound in the middle of a run: the page stops listening and listens again at once.
  await page.setInputFiles('#picker', repo('samples/talk-b.flac'));
  await expect.poll(() => locks(page)).toEqual(['released', 'released', 'held']);
  await page.keyboard.press('Escape');
  await phase(page, 'ended');
  await expect.poll(() => locks(page)).toEqual(['released', 'released', 'released']);
  await hide(page);
  await show(page);
  expect(await locks(page)).toHaveLength(3);
});

/** The position in the sound that the page shows, in seconds. */
const placed = async (page: Page) => {
  const [, minutes, seconds] = /^(\d+):(\d\d)/.exec((await page.locator('#place').textContent()) ?? '') ?? [];
  return Number(minutes) * 60 + Number(seconds);
};

paged('the sample plays on behind another tab, and the page is up to date when it is shown again', async ({ real }) => {
  const page = await real('cpu');
  await page.click('#play');
  await expect(page.locator('#captions .target-word.committed').nth(3)).toBeVisible({ timeout: 60_000 });
  await hide(page);
  const [before, beganAt] = [await placed(page), Date.now()];
  const text = await shownText(page, 'target');
  await expect.poll(async () => (await shownText(page, 'target')).length, { timeout: 60_000 }).toBeGreaterThan(text.length + 80);
  await show(page);
  const passed = (Date.now() - beganAt) / 1000;
  expect(Math.abs((await placed(page)) - before - passed)).toBeLessThan(3);
  expect((await shownText(page, 'target')).startsWith(text)).toBe(true);
  await expect(page.locator('#captions .target-word').last()).toBeInViewport();
  await expect(page.locator('#status')).not.toContainText('behind');
  for (const figure of ['policy', 'computing', 'waiting']) {
    const value = await page.locator(`[data-figure=${figure}] b`).textContent();
    expect(Number.parseFloat(value!), `${figure}: ${value}`).toBeLessThan(10);
  }
  // The text for screen readers continued, too.
  expect((await page.locator('#live p').allTextContents()).join('\n')).toContain(text);
  await page.keyboard.press('Escape');
  await phase(page, 'ended');
});

paged('the microphone is heard behind another tab', async ({ real }) => {
  const page = await real('cpu');
  await page.click('#microphone');
  await phase(page, 'running');
  await expect.poll(() => placed(page), { timeout: 60_000 }).toBeGreaterThanOrEqual(2);
  await hide(page);
  const [before, beganAt] = [await placed(page), Date.now()];
  await expect.poll(() => placed(page), { timeout: 60_000 }).toBeGreaterThanOrEqual(before + 8);
  // Sound that arrived in the meantime was heard, not dropped.
  expect((Date.now() - beganAt) / 1000 - 8).toBeLessThan(6);
  await show(page);
  await page.click('#stop');
  await phase(page, 'ended');
  await expect(page.locator('#trouble')).toBeHidden();
});
