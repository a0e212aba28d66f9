// The pages of `alignatt serve`: a presenter who speaks, viewers who follow on phones, captions
// over a picture. Connections break, phones sleep, the server crashes, and no word is lost or comes
// twice.

import { type Browser, chromium, expect, type Page, test as base } from '@playwright/test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repo, withoutWebgpu } from './browser.js';
import { Viewer, Serving, Wire } from './serving.js';

const TALK = repo('samples/talk-a.flac');
const TALK_MS = 812_460 / 16;
const SAID = (JSON.parse(readFileSync(repo('samples/talk-a.json'), 'utf8')) as { transcript: string }).transcript;
const LAST = 120_000;
/** Viewers of one talk, besides the phone. */
const VIEWERS = 240;

const test = base.extend<{ serving: Serving; options: string[]; wire: Wire }>({
  options: [['--to', 'de'], { option: true }],
  serving: async ({ options }, use) => {
    const serving = await Serving.start(...options);
    await use(serving);
    await serving.kill();
  },
  wire: async ({ serving }, use) => {
    const wire = await Wire.to(serving);
    await use(wire);
    await wire.close();
  },
});

test.use({ launchOptions: withoutWebgpu });

/** An error on a page, or something that its policy forbids, fails the test. */
function watched(page: Page): Page {
  page.on('pageerror', (error) => expect(error, 'an error on the page').toBeUndefined());
  page.on('console', (message) => {
    if (/Content Security Policy/.test(message.text())) expect(message.text(), 'the policy of the page').toBe('');
  });
  return page;
}

async function presenter(browser: Browser, url: string): Promise<Page> {
  const page = watched(await (await browser.newContext()).newPage());
  await page.goto(url);
  await expect(page.locator('#setup')).toBeVisible();
  return page;
}

/** Chooses a file, and returns the path of the link for viewers. */
async function present(page: Page, { pace = 'fast' }: { pace?: 'fast' | 'real' } = {}): Promise<string> {
  await page.locator('#realtime').setChecked(pace === 'real');
  const chooser = page.waitForEvent('filechooser');
  await page.click('#file');
  await (await chooser).setFiles(TALK);
  await expect(page.locator('#link')).toHaveText(/\/w\/[0-9a-z]{10}$/);
  return new URL((await page.locator('#link').getAttribute('href'))!).pathname;
}

async function phone(browser: Browser, url: string, options: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 390, height: 780 }, locale: 'de-DE', ...options });
  const page = watched(await context.newPage());
  await page.goto(url);
  return page;
}

/** The committed text on a page, a line a segment. */
function textOf(page: Page, side: 'source' | 'target'): Promise<string> {
  return page.locator('#captions').evaluate(
    (root, side) =>
      [...root.querySelectorAll(`.${side}`)]
        .map((line) => line.firstChild!.textContent!)
        .filter(Boolean)
        .join('\n'),
    side,
  );
}

const state = (page: Page, name: string) => expect(page.locator('body')).toHaveAttribute('data-state', name, { timeout: LAST });
const lines = (page: Page, side: string, count: number) =>
  expect.poll(async () => (await textOf(page, side as 'target')).split('\n').length, { timeout: LAST }).toBeGreaterThanOrEqual(count);
const ended = (page: Page) => expect(page.locator('body')).toHaveAttribute('data-phase', 'ended', { timeout: LAST });
/** Counts, from now on, how often the state of a page is read to those who do not see it. */
const countSaid = (page: Page) =>
  page.locator('#state').evaluate((element) => {
    let said = 0;
    const observer = new MutationObserver(() => element.setAttribute('data-said', String((said += 1))));
    observer.observe(element, { childList: true, characterData: true, subtree: true });
  });
const said = async (page: Page) => Number(await page.locator('#state').getAttribute('data-said'));
const picture = (page: Page, name: string) => page.screenshot({ path: repo(`tests/browser/results/serve/${name}.png`) });

interface Truth {
  source: string;
  target: string;
  /** How much sound was heard. */
  heard: number;
}

/**
 * What the server's log holds, once the talk is over. What a talk becomes depends on when its sound
 * arrives, so no text is known beforehand.
 */
async function truth(serving: Serving, link: string, to = 'de'): Promise<Truth> {
  const code = link.split('/').at(-1)!;
  const listed = (await (await fetch(`${serving.url}/v1/links/${code}`)).json()) as { sessions: Array<{ session: string; to: string }> };
  const all: Truth = { source: '', target: '', heard: 0 };
  for (const { session } of listed.sessions.filter((session) => session.to === to)) {
    const captions = async (file: string) => (await fetch(`${serving.url}/v1/sessions/${session}/captions.${file}`)).text();
    for (const side of ['source', 'target'] as const) all[side] += await captions(`txt?side=${side}&token=${code}`);
    const events = (await captions(`jsonl?token=${code}`)).trim().split('\n');
    all.heard += (JSON.parse(events.at(-1)!) as { audio_ms: number }).audio_ms;
  }
  return { ...all, source: all.source.trim(), target: all.target.trim() };
}

/** All of the talk was heard, once: neither sound nor words are missing or double. */
function expectWhole({ source, heard }: Truth, within = 10): void {
  expect(Math.abs(heard - TALK_MS)).toBeLessThanOrEqual(within);
  const [got, said] = [source, SAID].map((text) => text.toLowerCase().match(/[\w']+/g)!);
  expect(Math.abs(got!.length - said!.length)).toBeLessThanOrEqual(8);
  expect(said!.filter((word) => got!.includes(word)).length / said!.length).toBeGreaterThan(0.85);
}

test('what a presenter says is read on phones, also by those who come late', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  await countSaid(page);
  const link = await present(page);
  await expect(page.locator('#lag')).toHaveText(/^\d+\.\d s behind$/);
  const first = await phone(browser, serving.url + link);
  await countSaid(first);
  await lines(first, 'target', 2);
  await picture(first, 'phone-light');
  await first.click('#theme');
  await first.click('#larger');
  await picture(first, 'phone-dark');
  await picture(page, 'presenter');
  await ended(page);
  const late = await phone(browser, serving.url + link);
  const expected = await truth(serving, link);
  expectWhole(expected);
  for (const viewer of [page, first, late]) {
    await expect.poll(() => textOf(viewer, 'target'), { timeout: LAST }).toBe(expected.target);
    expect(await textOf(viewer, 'source')).toBe(expected.source);
  }
  await state(first, 'ended');
  // Connecting, listening, finished; waiting, live, ended.
  expect(await said(page)).toBeLessThanOrEqual(3);
  expect(await said(first)).toBeLessThanOrEqual(3);
  // The newest words are in sight.
  const end = await first.locator('.segment').last().boundingBox();
  expect(end!.y + end!.height).toBeLessThanOrEqual(780);
  await expect(page.locator('#code')).toHaveJSProperty('complete', true);
  expect(await page.locator('#code').evaluate((image: HTMLImageElement) => image.naturalWidth)).toBeGreaterThan(0);
});

test('connections that break lose nothing and double nothing', async ({ browser, serving, wire }) => {
  const page = await presenter(browser, wire.url);
  const link = await present(page);
  const viewer = await phone(browser, wire.url + link);
  for (let broken = 0; broken < 6; broken += 1) {
    await lines(viewer, 'target', broken + 1);
    wire.cut({ down: broken % 2 === 1 });
    await new Promise((wake) => setTimeout(wake, 300 + 200 * broken));
    wire.up();
  }
  await ended(page);
  const expected = await truth(serving, link);
  expectWhole(expected);
  for (const of of [page, viewer]) {
    await expect.poll(() => textOf(of, 'target'), { timeout: LAST }).toBe(expected.target);
    expect(await textOf(of, 'source')).toBe(expected.source);
  }
  expect(await (await fetch(`${serving.url}/healthz`)).text()).toBe('ok\n');
});

test('a phone without a network goes on where it was', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  const link = await present(page);
  const viewer = await phone(browser, serving.url + link);
  await lines(viewer, 'target', 2);
  await viewer.context().setOffline(true);
  await state(viewer, 'lost');
  const before = await textOf(viewer, 'target');
  await picture(viewer, 'phone-offline');
  await ended(page);
  expect(await textOf(viewer, 'target')).toBe(before);
  await viewer.context().setOffline(false);
  const expected = await truth(serving, link);
  await expect.poll(() => textOf(viewer, 'target'), { timeout: LAST }).toBe(expected.target);
});

test('a connection that is dead and does not say so is given up', async ({ browser, serving, wire }) => {
  const page = await presenter(browser, serving.url);
  const link = await present(page);
  const viewer = await phone(browser, wire.url + link);
  await lines(viewer, 'target', 1);
  // A phone that sleeps: its clock goes on, its connection does not.
  await viewer.clock.install();
  wire.hold();
  await ended(page);
  const expected = await truth(serving, link);
  expect(await textOf(viewer, 'target')).not.toBe(expected.target);
  await viewer.clock.fastForward(60_000);
  await viewer.clock.resume();
  await expect.poll(() => textOf(viewer, 'target'), { timeout: LAST }).toBe(expected.target);
});

test.describe('with a folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'alignatt-state-'));
  test.use({ options: ['--to', 'de', '--state', folder] });
  test.afterAll(() => rmSync(folder, { recursive: true }));

  test('a server that crashes and starts again goes on with the talk', async ({ browser, serving }) => {
    const page = await presenter(browser, serving.url);
    const link = await present(page);
    const viewer = await phone(browser, serving.url + link);
    for (const count of [1, 4]) {
      await lines(viewer, 'target', count);
      await serving.kill();
      const shown = await textOf(viewer, 'target');
      await state(viewer, 'lost');
      await serving.again();
      await state(viewer, 'live');
      expect((await textOf(viewer, 'target')).startsWith(shown)).toBe(true);
    }
    await ended(page);
    await state(viewer, 'ended');
    const expected = await truth(serving, link);
    expectWhole(expected);
    const late = await phone(browser, serving.url + link);
    for (const of of [page, viewer, late]) {
      await expect.poll(() => textOf(of, 'target'), { timeout: LAST }).toBe(expected.target);
      expect(await textOf(of, 'source')).toBe(expected.source);
    }
  });
});

test('a hall full of viewers gets every word at once', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  const link = await present(page, { pace: 'real' });
  const viewer = await phone(browser, serving.url + link);
  const code = link.split('/').at(-1)!;
  const { sessions } = (await (await fetch(`${serving.url}/v1/links/${code}`)).json()) as { sessions: Array<{ session: string }> };
  const events = `${serving.url}/v1/sessions/${sessions[0]!.session}/events?token=${code}`;
  const viewers = Array.from({ length: VIEWERS }, (_, at) => new Viewer(events, `127.0.0.${2 + (at % 4)}`));
  await Promise.all([...viewers.map(({ ended }) => ended), ended(page)]);
  const expected = await truth(serving, link);
  await expect.poll(() => textOf(viewer, 'target'), { timeout: LAST }).toBe(expected.target);
  const delays: number[] = [];
  for (const n of viewers[0]!.at.keys()) {
    const times = viewers.map(({ at }) => at.get(n)).filter((at) => at !== undefined);
    // Those who came late got several records at once.
    if (times.length === VIEWERS) delays.push(Math.max(...times) - Math.min(...times));
  }
  for (const { text } of viewers) expect([...text.values()].filter(Boolean).join('\n')).toBe(expected.target);
  delays.sort((a, b) => a - b);
  const [median, most] = [delays[delays.length >> 1]!, delays.at(-1)!];
  console.log(`${VIEWERS} viewers, ${delays.length} records: the last viewer is behind the first by ${median.toFixed(1)} ms, at most ${most.toFixed(1)} ms`);
  expect(delays.length).toBeGreaterThan(20);
  expect(median).toBeLessThan(500);
});

test('captions lie over a picture and cover nothing else', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  const link = await present(page);
  const overlay = watched(await (await browser.newContext({ viewport: { width: 1280, height: 720 } })).newPage());
  await overlay.goto(`${serving.url}${link}/overlay?lines=2&size=40&color=ffee00&align=left`);
  await ended(page);
  await state(overlay, 'ended');
  const newest = (await truth(serving, link)).target.split('\n').at(-1)!;
  await expect(overlay.locator('#captions')).toContainText(newest);
  const png = await overlay.screenshot({ omitBackground: true, path: repo('tests/browser/results/serve/overlay.png') });
  const { clear, drawn, above } = await page.evaluate(async (data) => {
    // The policy of the page forbids images from elsewhere, but not bytes.
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext('2d')!;
    context.drawImage(image, 0, 0);
    const { data: pixels } = context.getImageData(0, 0, image.width, image.height);
    let [clear, drawn, above] = [0, 0, 0];
    for (let at = 0; at < pixels.length; at += 4) {
      if (pixels[at + 3] === 0) clear += 1;
      if (pixels[at] === 255 && pixels[at + 1] === 238 && pixels[at + 2] === 0 && pixels[at + 3] === 255) drawn += 1;
      // Two lines of 40 pixels take less than the lowest 130.
      if (pixels[at + 3] !== 0 && Math.trunc(at / 4 / image.width) < image.height - 130) above += 1;
    }
    return { clear, drawn, above };
  }, png.toString('base64'));
  expect(drawn).toBeGreaterThan(1000);
  expect(above).toBe(0);
  expect(clear).toBeGreaterThan(1280 * 720 * 0.8);
  const bottom = await overlay.locator('.segment').last().boundingBox();
  expect(bottom!.y + bottom!.height).toBeLessThanOrEqual(720);
});

test('an overlay shows its language as soon as the talk has it', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  const open = (start: { to: string; beside?: string }) =>
    page.evaluate(async (start) => {
      const socket = new WebSocket(`ws://${location.host}/v1/stream`);
      await new Promise((done) => (socket.onopen = done));
      const session = new Promise<{ link: string; token: string }>((done) => {
        socket.onmessage = ({ data }) => {
          const message = JSON.parse(data);
          if (message.type === 'session') done(message);
        };
      });
      socket.send(JSON.stringify({ type: 'start', ...start, format: { encoding: 'text' } }));
      return session;
    }, start);
  const { link, token } = await open({ to: 'it' });
  const overlay = watched(await (await browser.newContext()).newPage());
  await overlay.goto(`${serving.url}/${link}/overlay?to=de`);
  const captions = overlay.locator('#captions');
  await expect(captions).toHaveAttribute('data-side', 'source');
  await open({ to: 'de', beside: token });
  await expect(captions).toHaveAttribute('data-side', 'target', { timeout: LAST });
});

test('viewers choose among the languages of a talk', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  for (const code of ['it', 'zh']) await page.locator(`#targets input[value=${code}]`).check();
  const link = await present(page);
  const viewer = await phone(browser, serving.url + link, { locale: 'it-IT' });
  await expect(viewer.locator('#choice option')).toHaveText(['Deutsch', 'Italiano', '中文', 'English (originale)'], { timeout: LAST });
  await expect(viewer.locator('#choice')).toHaveValue('it');
  await ended(page);
  const [german, italian] = [await truth(serving, link), await truth(serving, link, 'it')];
  await expect.poll(() => textOf(viewer, 'target'), { timeout: LAST }).toBe(italian.target);
  await viewer.selectOption('#choice', 'source');
  await expect.poll(() => textOf(viewer, 'source'), { timeout: LAST }).toBe(german.source);
  await expect(viewer.locator('.segment .target').first()).toBeHidden();
  await viewer.selectOption('#choice', 'zh');
  await expect.poll(() => textOf(viewer, 'target'), { timeout: LAST }).toMatch(/\p{Script=Han}/u);
  await picture(viewer, 'phone-chinese');
  // The choice is kept.
  await viewer.reload();
  await expect(viewer.locator('#choice')).toHaveValue('zh');
});

test('a link stays for the next talk, and viewers follow on', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  const link = await present(page);
  const viewer = await phone(browser, serving.url + link);
  await ended(page);
  await state(viewer, 'ended');
  await page.reload();
  await expect(page.locator('#setup')).toBeVisible();
  expect(await present(page)).toBe(link);
  await ended(page);
  const expected = await truth(serving, link);
  expect(Math.abs(expected.heard - 2 * TALK_MS)).toBeLessThanOrEqual(10);
  await expect.poll(() => textOf(viewer, 'target'), { timeout: LAST }).toBe(expected.target);
});

test('markup in what is said is only text', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  const evil = '<img src=x onerror=document.title=1>';
  const link = await page.evaluate(async (evil) => {
    const socket = new WebSocket(`ws://${location.host}/v1/stream`);
    await new Promise((done) => (socket.onopen = done));
    const session = new Promise<{ link: string }>((done) => {
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === 'session') done(message);
      };
    });
    socket.send(JSON.stringify({ type: 'start', to: 'de', format: { encoding: 'text' } }));
    socket.send(JSON.stringify({ type: 'words', text: `${evil} Hello.`, start_ms: 0, end_ms: 900 }));
    socket.send(JSON.stringify({ type: 'end' }));
    return (await session).link;
  }, evil);
  const viewer = await phone(browser, `${serving.url}/${link}`, { locale: 'en-GB' });
  await state(viewer, 'ended');
  await expect.poll(() => textOf(viewer, 'source')).toContain(evil);
  expect(await viewer.locator('#captions img').count()).toBe(0);
  expect(await viewer.title()).toBe('Captions');
});

test('a link that leads nowhere says so', async ({ browser, serving }) => {
  const viewer = await phone(browser, `${serving.url}/w/0000000000`, { locale: 'en-GB' });
  await expect(viewer.locator('#state')).toHaveText('This talk is over, or its link is not known.');
});

test('a phone says so when a server that was started again does not know the talk', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  const link = await present(page);
  const viewer = await phone(browser, serving.url + link, { locale: 'en-GB' });
  await lines(viewer, 'source', 2);
  await page.close();
  await serving.kill();
  await state(viewer, 'lost');
  const shown = await textOf(viewer, 'source');
  await serving.again();
  await state(viewer, 'unknown');
  await expect(viewer.locator('#state')).toHaveText('This talk is over, or its link is not known.');
  expect(await textOf(viewer, 'source')).toBe(shown);
  // The page asks only now and then whether the talk is back.
  const asked: string[] = [];
  viewer.on('request', (request) => asked.push(request.url()));
  await new Promise((wake) => setTimeout(wake, 15_000));
  expect(asked).toEqual([]);
});

test('two clicks on the microphone begin one talk', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  let sockets = 0;
  page.on('websocket', () => (sockets += 1));
  await page.evaluate(() => {
    // The user is asked first, and then hears nothing.
    navigator.mediaDevices.getUserMedia = async () => {
      await new Promise((done) => setTimeout(done, 500));
      return new AudioContext().createMediaStreamDestination().stream;
    };
  });
  await page.dblclick('#microphone');
  await expect(page.locator('#link')).toHaveText(/\/w\/[0-9a-z]{10}$/);
  await expect(page.locator('#state')).toHaveText('Listening');
  await page.click('#stop');
  await ended(page);
  expect(sockets).toBe(1);
});

test('a link that is copied twice leaves the button as it was', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  await present(page);
  for (let click = 0; click < 2; click += 1) {
    await page.click('#copy');
    await expect(page.locator('#copy')).not.toHaveText('Copy link');
  }
  await new Promise((wake) => setTimeout(wake, 3000));
  await expect(page.locator('#copy')).toHaveText('Copy link');
});

test('a viewer who scrolls up is left there, and can return to the newest words', async ({ browser, serving }) => {
  const page = await presenter(browser, serving.url);
  const link = await present(page);
  const viewer = await phone(browser, serving.url + link, { viewport: { width: 390, height: 400 } });
  await lines(viewer, 'target', 4);
  await viewer.mouse.move(200, 200);
  await viewer.mouse.wheel(0, -3000);
  await expect(viewer.locator('#newest')).toBeVisible();
  const top = await viewer.evaluate(() => scrollY);
  await ended(page);
  const expected = await truth(serving, link);
  await expect.poll(() => textOf(viewer, 'target'), { timeout: LAST }).toBe(expected.target);
  expect(Math.abs((await viewer.evaluate(() => scrollY)) - top)).toBeLessThan(3);
  await viewer.click('#newest');
  await expect(viewer.locator('.segment').last()).toBeInViewport();
  await expect(viewer.locator('#newest')).toBeHidden();
});

test.describe('with tokens', () => {
  const folder = mkdtempSync(join(tmpdir(), 'alignatt-tokens-'));
  writeFileSync(join(folder, 'tokens'), 'a-token-for-the-tests\n');
  test.use({ options: ['--to', 'de', '--tokens', join(folder, 'tokens')] });
  test.afterAll(() => rmSync(folder, { recursive: true }));

  test('the presenter needs one, and viewers only their link', async ({ browser, serving }) => {
    const page = watched(await (await browser.newContext()).newPage());
    await page.goto(serving.url);
    await page.fill('#token', 'a-wrong-token-for-the-tests');
    await page.click('#key button');
    await expect(page.locator('#problem')).toContainText('valid token');
    await page.fill('#token', 'a-token-for-the-tests');
    await page.click('#key button');
    await expect(page.locator('#setup')).toBeVisible();
    const link = await present(page);
    const viewer = await phone(browser, serving.url + link);
    await ended(page);
    const expected = await truth(serving, link);
    await expect.poll(() => textOf(viewer, 'target'), { timeout: LAST }).toBe(expected.target);
    expect((await fetch(`${serving.url}/v1/about`)).status).toBe(401);
  });
});

test.describe('with the large page', () => {
  test.use({ options: ['--to', 'de', '--page', repo('www/dist')], serviceWorkers: 'block' });

  test('the large page can use the server that it comes from', async ({ browser, serving }) => {
    const page = watched(await (await browser.newContext({ acceptDownloads: true })).newPage());
    await page.goto(serving.url);
    await expect(page.locator('#engine')).toHaveValue('server');
    await expect(page.locator('#engine option').first()).toHaveText(`server ${new URL(serving.url).host}`);
    await expect(page.locator('#lead')).toContainText('by the server');
    await expect(page.locator('#choose')).toBeHidden();
    await page.uncheck('#aloud');
    await page.click('#play');
    await expect(page.locator('#viewers')).toBeVisible({ timeout: LAST });
    await page.click('#viewers');
    const link = new URL((await page.locator('#invitation a').getAttribute('href'))!).pathname;
    await picture(page, 'large-viewers');
    await page.keyboard.press('Escape');
    const viewer = await phone(browser, serving.url + link);
    await ended(page);
    const expected = await truth(serving, link);
    expectWhole(expected);
    await expect.poll(() => textOf(viewer, 'target'), { timeout: LAST }).toBe(expected.target);
    const shown = await page.locator('#captions .target').allInnerTexts();
    expect(shown.map((line) => line.trim()).join('\n')).toBe(expected.target);
    await picture(page, 'large-ended');
    await page.click('#save');
    const saving = page.waitForEvent('download');
    await page.click('#formats button:has-text("Translation, SRT")');
    const saved = readFileSync(await (await saving).path(), 'utf8');
    expect(saved).toContain('-->');
    // The models of the tab are there, too.
    await page.click('#again');
    await page.selectOption('#engine', 'tab');
    await expect(page.locator('#choose')).toBeVisible();
    await expect(page.locator('#lead')).toContainText('in this tab');
  });
});

test('a microphone is heard through a connection that breaks', async ({ serving, wire }) => {
  const folder = mkdtempSync(join(tmpdir(), 'alignatt-microphone-'));
  const sound = join(folder, 'talk.wav');
  writeFileSync(sound, wav(await samplesOf()));
  const flags = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', `--use-file-for-fake-audio-capture=${sound}%noloop`];
  const browser = await chromium.launch({ ...withoutWebgpu, args: [...withoutWebgpu.args, ...flags] });
  try {
    const page = await presenter(browser, wire.url);
    await page.click('#microphone');
    await expect(page.locator('#link')).toHaveText(/\/w\/[0-9a-z]{10}$/);
    const link = new URL((await page.locator('#link').getAttribute('href'))!).pathname;
    const viewer = await phone(browser, serving.url + link);
    for (const count of [1, 3]) {
      await lines(viewer, 'target', count);
      wire.cut({ down: true });
      await expect(page.locator('#state')).toContainText('No connection');
      await new Promise((wake) => setTimeout(wake, 4000));
      wire.up();
      await expect(page.locator('#state')).toContainText('Listening', { timeout: LAST });
    }
    // The talk is over: silence follows.
    await new Promise((wake) => setTimeout(wake, TALK_MS));
    await page.click('#stop');
    await ended(page);
    await state(viewer, 'ended');
    const expected = await truth(serving, link);
    expectWhole({ ...expected, heard: TALK_MS });
    for (const of of [page, viewer]) {
      expect(await textOf(of, 'target')).toBe(expected.target);
      expect(await textOf(of, 'source')).toBe(expected.source);
    }
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true });
  }
});

/** The sample talk as 16-bit samples. */
async function samplesOf(): Promise<Buffer> {
  const browser = await chromium.launch(withoutWebgpu);
  try {
    const page = await browser.newPage();
    const text = await page.evaluate(async (data) => {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      const sound = await new OfflineAudioContext(1, 1, 16_000).decodeAudioData(bytes.buffer);
      const samples = Int16Array.from(sound.getChannelData(0), (value) => Math.round(value * 32_768));
      let text = '';
      for (const byte of new Uint8Array(samples.buffer)) text += String.fromCharCode(byte);
      return btoa(text);
    }, readFileSync(TALK).toString('base64'));
    return Buffer.from(text, 'base64');
  } finally {
    await browser.close();
  }
}

function wav(samples: Buffer): Buffer {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + samples.length, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(16_000, 24);
  head.writeUInt32LE(32_000, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(samples.length, 40);
  return Buffer.concat([head, samples]);
}
