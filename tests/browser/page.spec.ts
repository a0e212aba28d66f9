// What the demo page promises. First its own behaviour, tested on recorded events; then the same
// page with the package, the models and WebGPU.

import { readFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import { chromium } from '@playwright/test';
import type { TranslatorEvent } from '../../web/src/events.js';
import { repo, withoutWebgpu, withWebgpu } from './browser.js';
import { committed, expect, phase, sampleEvents, sampleSubtitles, shownText, test } from './demo-page.js';

test.use({ launchOptions: { ...withWebgpu, args: [...withWebgpu.args, '--use-fake-device-for-media-stream'] } });

const calls = (page: Page, name: string) =>
  page.evaluate((name) => (globalThis as any).replay.calls.filter((call: any) => name in call).map((call: any) => call[name]), name);

async function saved(page: Page, name: string): Promise<{ name: string; text: string }> {
  await page.click('#save');
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name, exact: true }).click()]);
  return { name: download.suggestedFilename(), text: await readFile(await download.path(), 'utf8') };
}

const parsed = (text: string): TranslatorEvent[] => text.trim().split('\n').map((line) => JSON.parse(line));

test.describe('on recorded events', () => {
  test.use({ serviceWorkers: 'block', permissions: ['clipboard-read', 'clipboard-write'] });

  test('nothing is fetched from the package before the check, and nothing from elsewhere ever', async ({ replayed, context }) => {
    const asked: string[] = [];
    context.on('request', (request) => asked.push(request.url()));
    const page = await replayed();
    await expect(page.locator('#checked')).toContainText('computes on Recorded adapter with WebGPU and has room for 310 GB');
    expect(asked.filter((url) => /wasm|demo\/|flac/.test(url))).toEqual([]);
    await page.click('#play');
    await phase(page, 'ended');
    const { origin } = new URL(page.url());
    expect(asked.filter((url) => new URL(url).origin !== origin && !url.startsWith('blob:'))).toEqual([]);
  });

  test('the sample fills both columns with what the program wrote', async ({ replayed }) => {
    const page = await replayed();
    await page.click('#play');
    await phase(page, 'running');
    await phase(page, 'ended');
    const events = await sampleEvents('de');
    expect(await shownText(page, 'target')).toBe(committed(events, 'target'));
    expect(await shownText(page, 'source')).toBe(committed(events, 'source'));
    expect(await calls(page, 'translate')).toMatchObject([{ kind: 'Blob', realtime: true, startMs: 0 }]);
    expect(await calls(page, 'load')).toMatchObject([{ to: 'de', device: 'webgpu', preset: 'low', asr: 'demo' }]);
    await expect(page.locator('[data-figure=adapter] b')).toHaveText('Recorded adapter');
    for (const figure of ['policy', 'computing', 'rtf', 'tokens', 'waiting', 'memory', 'adapter']) {
      await expect(page.locator(`[data-figure=${figure}] b`)).not.toHaveText('–');
    }
    await expect(page.locator('[data-figure=memory] b')).toHaveText('213 MB');
  });

  test('committed words are never changed, moved or drawn again', async ({ replayed }) => {
    const page = await replayed({ speed: 10 });
    await page.evaluate(() => {
      const taken: string[] = [];
      Object.assign(globalThis, { taken });
      const shown = new Map<Element, string>();
      new MutationObserver(() => {
        for (const [word, text] of shown) {
          if (!word.isConnected || !word.classList.contains('committed')) taken.push(`gone: ${text}`);
          // Punctuation may be added to a word that was shown.
          else if (!word.textContent!.startsWith(text)) taken.push(`${text} became ${word.textContent}`);
        }
        for (const word of document.querySelectorAll('#captions .target-word.committed')) shown.set(word, word.textContent!);
      }).observe(document.querySelector('#captions')!, { childList: true, subtree: true, characterData: true, attributes: true });
    });
    await page.click('#play');
    await phase(page, 'ended');
    expect(await page.evaluate(() => (globalThis as any).taken)).toEqual([]);
  });

  test('a screen reader reads the committed text, each addition once', async ({ replayed }) => {
    const page = await replayed();
    await page.evaluate(() => {
      const additions: string[] = [];
      Object.assign(globalThis, { additions });
      const texts = (nodes: NodeList) => [...nodes].map((node) => node.textContent).join('');
      const log = document.querySelector('#live')!;
      new MutationObserver((changes) => {
        for (const { addedNodes, removedNodes, type } of changes) {
          if (type !== 'childList' || removedNodes.length) additions.push('CHANGED');
          for (const node of addedNodes) if (node.nodeName === 'SPAN') additions.push(texts([node] as any));
        }
      }).observe(log, { childList: true, subtree: true, characterData: true });
    });
    const live = page.locator('#live');
    await expect(live).toHaveAttribute('aria-live', 'polite');
    expect(await page.locator('[aria-live]').count()).toBe(1);
    await page.click('#play');
    await phase(page, 'ended');
    const events = await sampleEvents('de');
    const deltas = events.flatMap((event) => (event.type === 'target' && event.delta ? [event.delta] : []));
    expect(await page.evaluate(() => (globalThis as any).additions)).toEqual(deltas);
    expect(await live.locator('p').allTextContents()).toEqual(committed(events, 'target').split('\n'));
    expect((await live.locator('p').allTextContents()).join('\n')).toBe(await shownText(page, 'target'));
  });

  test('language and pace can be changed, and are kept for the next visit', async ({ replayed, context }) => {
    const page = await replayed();
    await page.selectOption('#language', 'it');
    await page.selectOption('#preset', 'high');
    await expect(page.locator('#example .target')).toHaveAttribute('lang', 'it');
    await page.click('#play');
    await phase(page, 'running');
    await expect(page.locator('#language')).toBeDisabled();
    await phase(page, 'ended');
    expect(await shownText(page, 'target')).toBe(committed(await sampleEvents('it'), 'target'));
    expect(await calls(page, 'load')).toMatchObject([{ to: 'it', preset: 'high' }]);
    await page.selectOption('#language', 'zh');
    await page.click('#stop');
    await phase(page, 'running');
    await phase(page, 'ended');
    expect(await shownText(page, 'target')).toBe(committed(await sampleEvents('zh'), 'target'));
    expect(await calls(page, 'dispose')).toHaveLength(1);
    await page.close();
    const again = await replayed();
    await expect(again.locator('#language')).toHaveValue('zh');
    await expect(again.locator('#preset')).toHaveValue('high');
    await expect(context.pages()).toHaveLength(1);
  });

  test('names and terms are passed to the models, and kept for the next visit', async ({ replayed }) => {
    const page = await replayed();
    await page.getByText('Names and terms of the talk').click();
    await page.fill('#terms', 'Ada Lovelace\n\nhead = Kopf\n');
    await page.click('#play');
    await phase(page, 'ended');
    expect(await calls(page, 'load')).toMatchObject([{ terms: ['Ada Lovelace', 'head = Kopf'] }]);
    await page.close();
    const later = await replayed();
    await expect(later.locator('#terms')).toHaveValue('Ada Lovelace\n\nhead = Kopf\n');
  });

  test('what is copied and saved is what was shown', async ({ replayed }) => {
    const page = await replayed();
    await page.click('#play');
    await phase(page, 'ended');
    const events = await sampleEvents('de');
    await page.click('#copy');
    await expect(page.locator('#copy')).toHaveText('Copied');
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(committed(events, 'target'));
    const jsonl = await saved(page, 'Every event, JSONL');
    expect(jsonl.name).toBe('sample.de.jsonl');
    expect(parsed(jsonl.text)).toEqual(events);
    expect((await saved(page, 'Translation, SRT')).text).toBe(`srt of target, ${events.length} events\n`);
    expect((await saved(page, 'English, WebVTT')).text).toBe(`vtt of source, ${events.length} events\n`);
    expect(await saved(page, 'English, text')).toEqual({ name: 'sample.en.txt', text: `${committed(events, 'source')}\n` });
  });

  test('a file can be chosen or dropped, and the demo pack says what it cannot do', async ({ replayed }) => {
    const page = await replayed();
    await page.setInputFiles('#picker', repo('samples/talk-b.flac'));
    await phase(page, 'running');
    await expect(page.locator('#warning')).toContainText('understands only its own controlled English');
    await phase(page, 'ended');
    expect(await calls(page, 'translate')).toMatchObject([{ kind: 'File', name: 'talk-b.flac' }]);
    expect((await saved(page, 'Translation, text')).name).toBe('talk-b.de.txt');
    await page.click('#again');
    await phase(page, 'idle');
    const carried = await page.evaluateHandle(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(100)], 'dropped.wav', { type: 'audio/wav' }));
      return transfer;
    });
    await page.dispatchEvent('body', 'dragover', { dataTransfer: carried });
    await expect(page.locator('#drop')).toBeVisible();
    await page.dispatchEvent('body', 'drop', { dataTransfer: carried });
    await expect(page.locator('#drop')).toBeHidden();
    await phase(page, 'ended');
    expect(await calls(page, 'translate')).toMatchObject([{}, { name: 'dropped.wav', size: 100 }]);
  });

  test('a new sound or leaving in the middle of a run: events of the old run are ignored', async ({ replayed }) => {
    const page = await replayed({ speed: 4 });
    await page.click('#play');
    await expect(page.locator('#captions .target-word.committed').nth(3)).toBeVisible();
    const carried = await page.evaluateHandle(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(100)], 'dropped.wav', { type: 'audio/wav' }));
      return transfer;
    });
    await page.dispatchEvent('body', 'drop', { dataTransfer: carried });
    await expect.poll(async () => (await calls(page, 'translate')).length).toBe(2);
    await phase(page, 'running');
    await expect(page.locator('#captions .target-word.committed').nth(3)).toBeVisible();
    await phase(page, 'running');
    await page.click('#again');
    await phase(page, 'idle');
    await page.waitForTimeout(500);
    await phase(page, 'idle');
    await page.click('#play');
    await expect(page.locator('#captions .target-word.committed').nth(1)).toBeVisible();
    await page.keyboard.press('Escape');
    await phase(page, 'ended');
    const events = parsed((await saved(page, 'Every event, JSONL')).text);
    expect(events.filter(({ type }) => type === 'start' || type === 'end').map(({ type }) => type)).toEqual(['start', 'end']);
  });

  test('Space starts and stops, Escape stops, and the captions stay', async ({ replayed }) => {
    const page = await replayed({ speed: 4 });
    await page.keyboard.press('Space');
    await phase(page, 'running');
    await expect(page.locator('#captions .target-word.committed').nth(12)).toBeVisible();
    await page.keyboard.press('Space');
    await phase(page, 'ended');
    const kept = await shownText(page, 'target');
    expect(kept).not.toBe('');
    expect(committed(await sampleEvents('de'), 'target').startsWith(kept)).toBe(true);
    await page.keyboard.press('Space');
    await phase(page, 'running');
    await expect(page.locator('#captions .target-word.committed').nth(2)).toBeVisible();
    await page.keyboard.press('Escape');
    await phase(page, 'ended');
    expect((await calls(page, 'translate')).length).toBe(2);
  });

  test('loading is reported in bytes and can be stopped', async ({ replayed }) => {
    const page = await replayed({ loadMs: 400 });
    await page.click('#play');
    await expect(page.locator('#status')).toContainText(/Loading the translator · .* of 8\.0 MB/);
    await page.keyboard.press('Escape');
    await phase(page, 'ended');
    expect(await calls(page, 'translate')).toEqual([]);
  });

  test('pointing at a word highlights its source words by their attention', async ({ replayed }) => {
    const page = await replayed();
    await page.click('#play');
    await phase(page, 'ended');
    const segment = page.locator('.segment[data-segment="4"]');
    const word = segment.locator('.target-word', { hasText: 'besprechen' });
    await word.scrollIntoViewIfNeeded();
    await word.hover();
    const lit = segment.locator('.source-word.on');
    await expect(lit.filter({ hasText: 'discuss' })).toHaveCount(1);
    const masses = await lit.evaluateAll((words) => words.map((word) => [word.textContent, Number((word as HTMLElement).style.getPropertyValue('--mass'))] as const));
    expect([...masses].sort((a, b) => b[1] - a[1])[0]).toEqual(['discuss', expect.any(Number)]);
    await expect(page.locator('#readout')).toContainText(/shown when .* s had been heard, .* s after the end of “/);
    await expect(page.locator('#readout li').first()).toContainText(/discuss9\d %\d+\.\d\d s–\d+\.\d\d s/);
    expect(await segment.locator('.beams path').count()).toBeGreaterThan(0);
    await page.mouse.move(5, 5);
    await expect(page.locator('#captions .source-word.on')).toHaveCount(0);
    await expect(page.locator('#readout')).toBeHidden();
  });

  test('words are selected with the keyboard, with one Tab stop among them', async ({ replayed }) => {
    const page = await replayed();
    await page.click('#play');
    await phase(page, 'ended');
    expect(await page.locator('#captions .target-word[tabindex="0"]').count()).toBe(1);
    await page.locator('#captions .target-word[tabindex="0"]').focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    const focused = page.locator('#captions .target-word:focus');
    await expect(focused).toHaveText('uns');
    await expect(focused).toHaveAttribute('role', 'button');
    await page.keyboard.press('Enter');
    await expect(page.locator('#captions .source-word.on', { hasText: 'us' }).first()).toBeVisible();
    await page.keyboard.press('ArrowRight');
    await expect(page.locator('#captions .target-word.now')).toHaveText('die');
    await page.keyboard.press('Escape');
    await expect(page.locator('#readout')).toBeHidden();
    await phase(page, 'ended');
    expect(await page.locator('#captions .target-word[tabindex="0"]').count()).toBe(1);
  });

  test('scrolling up is respected until the end is reached again', async ({ replayed }) => {
    const page = await replayed({ speed: 6 });
    await page.setViewportSize({ width: 800, height: 500 });
    await page.click('#play');
    await expect(page.locator('.segment[data-segment="6"] .target-word.committed').first()).toBeInViewport({ timeout: 20_000 });
    await page.mouse.move(400, 200);
    await page.mouse.wheel(0, -600);
    await expect(page.locator('#follow')).toBeVisible();
    const at = await page.evaluate(() => scrollY);
    await expect(page.locator('.segment[data-segment="9"]')).toBeAttached();
    expect(Math.abs((await page.evaluate(() => scrollY)) - at)).toBeLessThan(400);
    await page.click('#follow');
    await expect(page.locator('#follow')).toBeHidden();
    await expect(page.locator('.segment').last()).toBeInViewport();
  });

  test('a lost device: one click continues, and the captions stay', async ({ replayed }) => {
    const page = await replayed({ speed: 20, fail: { at: 'stream', after: 60, code: 'device-lost' } });
    await page.click('#play');
    await expect(page.locator('#notice')).toContainText('The graphics card was lost');
    await phase(page, 'ended');
    const kept = await shownText(page, 'target');
    expect(kept).not.toBe('');
    await expect(page.getByRole('button', { name: 'Continue' })).toBeFocused();
    await page.keyboard.press('Enter');
    await phase(page, 'running');
    await phase(page, 'ended');
    const events = await sampleEvents('de');
    const text = await shownText(page, 'target');
    expect(text.startsWith(kept)).toBe(true);
    const whole = committed(events, 'target').split('\n');
    // The interrupted segment stays as it was, and is heard once more from its beginning.
    expect(text.split('\n').slice(-3)).toEqual(whole.slice(-3));
    for (const line of whole) expect(text).toContain(line);
    const [first, second] = await calls(page, 'translate');
    expect(first.startMs).toBe(0);
    expect(second.startMs).toBeGreaterThan(3000);
    expect(await calls(page, 'load')).toHaveLength(2);
    // The saved events have the segment once: one run, segments without gaps, words in order.
    const kept2 = parsed((await saved(page, 'Every event, JSONL')).text);
    expect(committed(kept2, 'target')).toBe(committed(events, 'target'));
    expect(committed(kept2, 'source')).toBe(committed(events, 'source'));
    expect(kept2.filter(({ type }) => type === 'start' || type === 'end').map(({ type }) => type)).toEqual(['start', 'end']);
    for (const key of ['audio_ms', 'wall_ms'] as const) {
      const times = kept2.map((event) => event[key]);
      expect(times).toEqual([...times].sort((a, b) => a - b));
    }
  });

  test('a device that is lost before the first word: the page of that failure, and trying again', async ({ replayed }) => {
    const page = await replayed({ fail: { at: 'stream', after: 2, code: 'device-lost' } });
    await page.click('#play');
    await expect(page.locator('#trouble h1')).toHaveText('The graphics card was lost');
    await page.getByRole('button', { name: 'Try again' }).click();
    await phase(page, 'ended');
    expect(await shownText(page, 'target')).toBe(committed(await sampleEvents('de'), 'target'));
  });

  test('models: sizes only when asked, a download that can be stopped, the list, and deleting', async ({ replayed }) => {
    const page = await replayed({ fetchMs: 60 });
    await expect(page.locator('#pack')).toContainText('says nothing about translation quality');
    expect(await calls(page, 'size')).toEqual([]);
    await page.click('#choose');
    const dialog = page.locator('#models');
    await expect(dialog.locator('.set', { hasText: 'E4B' })).toContainText('19.7 GB');
    await expect(dialog.locator('.stored li')).toHaveText(/Qwen\/Qwen3-ASR-0\.6B1\.88 GBDelete/);
    // What the demo pack brings along is not counted.
    await dialog.locator('input[value=gemma3]').check();
    await expect(dialog.getByRole('button', { name: 'Download 540 MB' })).toBeVisible();
    await dialog.locator('input[value=e4b]').check();
    await expect(dialog.getByRole('button', { name: 'Download 17.8 GB' })).toBeVisible();
    await dialog.locator('summary').click();
    await dialog.locator('#token').fill('hf_secret');
    await dialog.getByRole('button', { name: 'Download 17.8 GB' }).click();
    await expect(dialog.locator('.fetching')).toContainText(/of 1\.84 GB · 41 MB a second · \d+ s left/);
    await dialog.getByRole('button', { name: 'Stop the download' }).click();
    await expect(dialog.locator('.fetching')).toContainText('continues from there');
    await dialog.getByRole('button', { name: /Download 1\d\.\d GB/ }).click();
    await expect(dialog).toBeHidden({ timeout: 30_000 });
    await expect(page.locator('#chosen')).toHaveText('Qwen3 + Gemma-4 E4B');
    expect((await calls(page, 'fetch')).at(-1)).toBe('google/gemma-4-E4B-it');
    await page.click('#play');
    await phase(page, 'running');
    expect(await calls(page, 'load')).toMatchObject([{ mt: 'google/gemma-4-E4B-it', token: 'hf_secret', preset: 'low' }]);
    await page.keyboard.press('Escape');
    await phase(page, 'ended');
    await page.click('#choose');
    await dialog.getByRole('button', { name: 'Delete google/gemma-4-E4B-it' }).click();
    await expect(dialog.locator('.stored')).not.toContainText('gemma');
    await page.keyboard.press('Escape');
    await expect(dialog).toBeHidden();
    expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain('hf_secret');
  });

  for (const [code, title, cpu] of [
    ['no-webgpu', 'This browser does not offer WebGPU', true],
    ['no-adapter', 'The browser offers no graphics card', true],
    ['adapter-failed-self-test', 'The graphics card computes wrong results', true],
    ['out-of-memory', 'The graphics card does not have enough memory', true],
    ['storage-full', 'Not enough storage for the models', false],
    ['network', 'The download failed', false],
    ['bad-model', 'A model cannot be used', false],
    ['device-lost', 'The graphics card was lost', true],
  ] as const) {
    test(`a failure with ${code} says what to do`, async ({ replayed }) => {
      const page = await replayed({ fail: { at: 'load', code, message: 'as the test requires' } });
      await page.click('#play');
      const trouble = page.locator('#trouble');
      await expect(trouble.locator('h1')).toHaveText(title);
      await expect(trouble).toBeFocused();
      expect(await trouble.locator('.steps li').count()).toBeGreaterThan(0);
      const useCpu = trouble.getByRole('button', { name: 'Use the CPU instead (slower)' });
      await expect(useCpu).toHaveCount(cpu ? 1 : 0);
      await (cpu ? useCpu : trouble.getByRole('button', { name: 'Try again' })).click();
      await phase(page, 'ended');
      expect((await calls(page, 'load')).at(-1)).toMatchObject({ device: cpu ? 'cpu' : 'webgpu' });
      expect(await shownText(page, 'target')).toBe(committed(await sampleEvents('de'), 'target'));
    });
  }

  test('a page without a secure address says so', async ({ replayed }) => {
    const page = await replayed({ check: { secureContext: false, webgpu: false, reason: 'no-webgpu', adapter: undefined } });
    await expect(page.locator('#trouble h1')).toHaveText('This address is not secure');
    await expect(page.getByRole('button', { name: /CPU/ })).toHaveCount(0);
  });

  test('the browser check offers the CPU where there is no adapter, and remembers', async ({ replayed }) => {
    const without = { check: { webgpu: false, reason: 'no-adapter', adapter: undefined } };
    const page = await replayed(without);
    await expect(page.locator('#trouble h1')).toHaveText('The browser offers no graphics card');
    await expect(page.locator('#hero')).toBeHidden();
    await page.getByRole('button', { name: /CPU/ }).click();
    await expect(page.locator('#hero')).toBeVisible();
    await page.click('#play');
    await phase(page, 'ended');
    await expect(page.locator('[data-figure=adapter] b')).toHaveText('CPU');
    const again = await replayed(without);
    await expect(again.locator('#hero')).toBeVisible();
  });

  test('nothing moves or fades for those who asked for less motion', async ({ replayed }) => {
    const page = await replayed();
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await page.click('#play');
    await phase(page, 'ended');
    const styles = await page.locator('#captions .target-word').first().evaluate((word) => [getComputedStyle(word).animationName, getComputedStyle(word).transitionDuration]);
    expect(styles).toEqual(['none', '0s']);
  });

  test('no width is too narrow', async ({ replayed }) => {
    const page = await replayed();
    for (const width of [320, 360, 800, 1440, 2200]) {
      await page.setViewportSize({ width, height: 800 });
      expect(await page.evaluate(() => document.documentElement.scrollWidth), `idle at ${width}`).toBeLessThanOrEqual(width);
    }
    await page.click('#play');
    await phase(page, 'ended');
    for (const width of [320, 360, 800, 1440, 2200]) {
      await page.setViewportSize({ width, height: 800 });
      expect(await page.evaluate(() => document.documentElement.scrollWidth), `ended at ${width}`).toBeLessThanOrEqual(width);
    }
  });

  test('a word longer than its column is broken, not cut off', async ({ replayed }) => {
    const long = 'Donaudampfschifffahrtsgesellschaft'.repeat(4);
    const plain = JSON.stringify(await sampleEvents('de'));
    const page = await replayed({ events: { de: JSON.parse(plain.replaceAll('results', long).replaceAll('Ergebnisse', long)) } });
    await page.click('#play');
    await phase(page, 'ended');
    const word = page.locator('.target-word', { hasText: long }).first();
    for (const width of [320, 800, 1440]) {
      await page.setViewportSize({ width, height: 800 });
      await word.scrollIntoViewIfNeeded();
      await page.mouse.move(1, 1);
      await word.hover();
      await expect(page.locator('#readout')).toContainText(long);
      const wide = await page.evaluate(() => [...document.querySelectorAll('html, #readout, .segment')].map((box) => box.scrollWidth - box.clientWidth));
      expect(Math.max(...wide), `at ${width}`).toBe(0);
    }
  });

  test('a bar that grows does not cover the newest words', async ({ replayed }) => {
    const page = await replayed({ speed: 20, fail: { at: 'stream', after: 120, code: 'device-lost' } });
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await page.setViewportSize({ width: 360, height: 640 });
    await page.click('#play');
    const covered = () =>
      page.evaluate(() => {
        const last = [...document.querySelectorAll('.segment')].at(-1)!.getBoundingClientRect();
        return last.bottom - document.querySelector('#dock')!.getBoundingClientRect().top;
      });
    await page.locator('#notice button').waitFor();
    await expect.poll(covered).toBeLessThan(0);
    await page.locator('#notice button').click();
    await phase(page, 'running');
    await phase(page, 'ended');
    await expect.poll(covered).toBeLessThan(0);
  });

  test('at 200 % the captions have most of the screen', async ({ replayed }) => {
    const page = await replayed();
    await page.setViewportSize({ width: 640, height: 360 });
    await page.click('#play');
    await phase(page, 'running');
    expect((await page.locator('#dock').boundingBox())!.height).toBeLessThan(90);
    await phase(page, 'ended');
    expect((await page.locator('#dock').boundingBox())!.height).toBeLessThan(90);
    await page.click('#more');
    await expect(page.locator('[data-figure=policy]')).toBeVisible();
  });

  test('what was drawn before the font was loaded is drawn again', async ({ replayed, context }) => {
    await context.route('**/*.woff2', async (route) => {
      await new Promise((go) => setTimeout(go, 1000));
      await route.continue();
    });
    const page = await replayed();
    const beam = page.locator('#example .beams path').first();
    await expect(beam).toBeAttached();
    await page.waitForFunction(() => [...document.fonts].some(({ status }) => status === 'loaded'));
    const [end, left, right] = await beam.evaluate((path: SVGPathElement) => {
      const { left, right } = document.querySelector('#example .target-word.now')!.getBoundingClientRect();
      const { x } = path.getPointAtLength(path.getTotalLength());
      return [x + path.closest('.segment')!.getBoundingClientRect().left, left, right] as const;
    });
    expect(Math.abs(end - (left + right) / 2)).toBeLessThan(2);
  });

  test('text has contrast, dark and light', async ({ replayed }) => {
    const page = await replayed();
    await page.click('#play');
    await phase(page, 'ended');
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      expect(await page.evaluate(weakest), colorScheme).toBeGreaterThanOrEqual(4.5);
    }
  });
});

/** Runs in the page. The lowest contrast between the colours of text and their backgrounds. */
function weakest(): number {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })!;
  const luminance = (colour: string) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  };
  const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const ratio = (a: string, b: string) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high! + 0.05) / (low! + 0.05);
  };
  const pairs: [string, string][] = [];
  for (const ground of ['--paper', '--card']) for (const text of ['--ink', '--soft', '--shown', '--held']) pairs.push([colour(text), colour(ground)]);
  const lit = `color-mix(in oklab, ${colour('--shown')} 42%, ${colour('--paper')})`;
  pairs.push([colour('--paper'), colour('--shown')], [colour('--paper'), colour('--ink')], [colour('--ink'), lit], [colour('--ink'), colour('--tint')]);
  return Math.min(...pairs.map(([a, b]) => ratio(a, b)));
}

test.describe('with a microphone', () => {
  test.use({ serviceWorkers: 'block' });

  test('denied: it says how to allow it', async ({ replayed }) => {
    const page = await replayed({ fail: { at: 'microphone', code: 'bad-sound', message: 'cannot capture the microphone: access was not allowed' } });
    await page.click('#microphone');
    await expect(page.locator('#trouble h1')).toHaveText('No sound to listen to');
    await expect(page.locator('#trouble')).toContainText('access was not allowed');
    await page.getByRole('button', { name: 'Back' }).click();
    await expect(page.locator('#hero')).toBeVisible();
  });

  test('not answered: it can be stopped, and a late stream is released', async ({ replayed, context }) => {
    await context.addInitScript(() => {
      navigator.mediaDevices.getUserMedia = () =>
        new Promise((done) => {
          const { stream } = new AudioContext().createMediaStreamDestination();
          Object.assign(globalThis, { stream, answer: () => done(stream) });
        });
    });
    const page = await replayed();
    await page.click('#microphone');
    await phase(page, 'opening');
    await page.click('#stop');
    await phase(page, 'idle');
    await page.evaluate(() => (globalThis as any).answer());
    await page.waitForFunction(() => (globalThis as any).stream.getTracks()[0].readyState === 'ended');
    await phase(page, 'idle');
    expect(await calls(page, 'load')).toEqual([]);
  });
});

// The remaining tests use the page as it is published: package, module and models. Where text is
// compared, the page computes on the CPU, which is many times faster than WebGPU emulated on the
// CPU.

test('the sample plays to its end, and is saved as it was shown', async ({ real }) => {
  test.setTimeout(400_000);
  const page = await real('cpu');
  await page.click('#play');
  await phase(page, 'running');
  await expect(page.locator('body')).toHaveAttribute('data-phase', 'ended', { timeout: 300_000 });
  // In real time, the sound of one step depends on how fast the step before was: the text is not
  // compared with another run's.
  const text = await shownText(page, 'target');
  expect(text.split('\n').length).toBeGreaterThan(8);
  const events = parsed((await saved(page, 'Every event, JSONL')).text);
  expect(committed(events, 'target')).toBe(text);
  expect(events.at(-1)).toMatchObject({ type: 'end', interrupted: false });
  await expect(page.locator('#live p')).toHaveText(text.split('\n'));
});

test('a file at full speed gives the text of the native program', async ({ real }) => {
  test.setTimeout(400_000);
  const page = await real('cpu');
  await page.locator('#aloud').uncheck();
  await page.setInputFiles('#picker', repo('samples/talk-a.flac'));
  await phase(page, 'running');
  await expect(page.locator('body')).toHaveAttribute('data-phase', 'ended', { timeout: 300_000 });
  const events = await sampleEvents('de');
  expect(await shownText(page, 'target')).toBe(committed(events, 'target'));
  expect(await shownText(page, 'source')).toBe(committed(events, 'source'));
  expect((await saved(page, 'Translation, SRT')).text).toBe(await sampleSubtitles('de', 'srt'));
  expect((await saved(page, 'Translation, WebVTT')).text).toBe(await sampleSubtitles('de', 'vtt'));
});

test('a text that is pasted, and a subtitle file, are translated', async ({ real }) => {
  test.setTimeout(400_000);
  const page = await real('cpu');
  await page.locator('#aloud').uncheck();
  await page.click('#write');
  await expect(page.getByRole('button', { name: 'Translate', exact: true })).toBeDisabled();
  await page.fill('#text', 'We can wait in Vienna. She will support me this week.');
  await page.getByRole('button', { name: 'Translate', exact: true }).click();
  await expect(page.locator('#warning')).toContainText('translates only its own controlled English');
  await expect(page.locator('body')).toHaveAttribute('data-phase', 'ended', { timeout: 300_000 });
  expect(await shownText(page, 'source')).toBe('We can wait in Vienna.\nShe will support me this week.');
  expect((await shownText(page, 'target')).split('\n')).toHaveLength(2);
  await page.click('#again');
  const srt = '1\n00:00:01,000 --> 00:00:03,000\nLet us repair the buses.\n';
  await page.setInputFiles('#picker', { name: 'talk.srt', mimeType: 'application/x-subrip', buffer: Buffer.from(srt) });
  await expect(page.locator('body')).toHaveAttribute('data-phase', 'ended', { timeout: 300_000 });
  expect(await shownText(page, 'source')).toBe('Let us repair the buses.');
  const saves = (await saved(page, 'English, SRT')).text;
  expect(saves).toContain('Let us repair the buses.');
});

test('on WebGPU it loads, translates, and survives a lost device', async ({ real }) => {
  test.setTimeout(600_000);
  const page = await real('webgpu');
  await page.click('#play');
  await phase(page, 'running');
  await expect(page.locator('[data-figure=memory] b')).toContainText('MB');
  // On an emulated graphics card the first step takes long, and the page says so.
  await expect(page.locator('#status')).toContainText('behind the sound', { timeout: 60_000 });
  await expect(page.locator('[data-figure=rtf] b')).not.toHaveText('–', { timeout: 300_000 });
  await page.evaluate(() => new BroadcastChannel('orders').postMessage('lose'));
  await expect(page.locator('#trouble h1').or(page.locator('#notice p'))).toContainText('The graphics card was lost', { timeout: 120_000 });
  await page.getByRole('button', { name: /Try again|Continue/ }).click();
  await expect(page.locator('body')).toHaveAttribute('data-phase', 'running', { timeout: 300_000 });
  await page.keyboard.press('Escape');
  await phase(page, 'ended');
});

test.describe('with the sound of a fake microphone', () => {
  test.use({ permissions: ['microphone'] });

  test('it listens until it is stopped, and the last event comes', async ({ real }) => {
    const page = await real('cpu');
    await page.click('#microphone');
    await phase(page, 'running');
    await expect(page.locator('#warning')).toContainText('controlled English');
    await expect(page.locator('#place')).toHaveText(/0:0[3-9]/, { timeout: 60_000 });
    await page.click('#stop');
    await phase(page, 'ended');
    await expect(page.locator('#trouble')).toBeHidden();
    const events = parsed((await saved(page, 'Every event, JSONL')).text);
    expect(events.at(-1)).toMatchObject({ type: 'end', interrupted: false });
  });
});

test('the microphone is denied by the browser', async ({ real, context }) => {
  await context.clearPermissions();
  const page = await real('cpu');
  await page.click('#microphone');
  await expect(page.locator('#trouble h1')).toHaveText('No sound to listen to');
});

test('after the first visit it works without the network', async ({ real, context, site }) => {
  const page = await real('cpu');
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await page.close();
  await site.close();
  await context.setOffline(true);
  const again = await real('cpu');
  await again.click('#play');
  await expect(again.locator('#captions .target-word.committed').first()).toBeVisible({ timeout: 120_000 });
  await again.keyboard.press('Escape');
  await phase(again, 'ended');
});

test('without WebGPU the page says so, and the CPU can be used', async ({ site }) => {
  const browser = await chromium.launch(withoutWebgpu);
  try {
    const page = await browser.newPage({ serviceWorkers: 'block' });
    await page.goto(`${site.url}/under/a/path/`);
    await expect(page.locator('#trouble')).toHaveAttribute('data-code', /no-(webgpu|adapter)/);
    await page.getByRole('button', { name: 'Use the CPU instead (slower)' }).click();
    await page.click('#play');
    await expect(page.locator('#captions .target-word.committed').first()).toBeVisible({ timeout: 120_000 });
    await page.keyboard.press('Escape');
    await phase(page, 'ended');
  } finally {
    await browser.close();
  }
});
