// The sound of another tab: heard to its end, shared without sound, refused. The browser answers
// the request automatically, in place of a user.

import { chromium, type Page } from '@playwright/test';
import { repo, withWebgpu } from './browser.js';
import { nativeEvents } from './native.js';
import { expect, expectInOrder, finalText, openPage, test } from './package-page.js';
import type { Site } from './server.js';

/** The title of the tab that plays. */
const TALK = 'a talk';
const CHOOSES = `--auto-select-tab-capture-source-by-title=${TALK}`;
const REFUSES = '--auto-reject-capture';

/**
 * Starts a browser that gives this answer. It is not muted: the captured sound of a muted tab is
 * silence.
 */
async function answering(answer: string, site: Site, then: (open: () => Promise<Page>) => Promise<void>): Promise<void> {
  const args = [...withWebgpu.args, '--autoplay-policy=no-user-gesture-required', answer];
  const browser = await chromium.launch({ ...withWebgpu, args, ignoreDefaultArgs: ['--mute-audio'] });
  try {
    const context = await browser.newContext();
    await then(() => openPage(context, site));
  } finally {
    await browser.close();
  }
}

/** Opens a tab that can be chosen. The returned function plays the talk in it. */
async function speaker(open: () => Promise<Page>): Promise<{ tab: Page; play: () => Promise<void> }> {
  const tab = await open();
  await tab.evaluate((title) => void (document.title = title), TALK);
  const play = () =>
    tab.evaluate(async () => {
      const samples = (await samplesOf('talk-a.flac')) as Float32Array<ArrayBuffer>;
      const context = new AudioContext();
      const sound = context.createBuffer(1, samples.length, 16_000);
      sound.copyToChannel(samples, 0);
      const node = new AudioBufferSourceNode(context, { buffer: sound });
      node.connect(context.destination);
      node.start();
    });
  return { tab, play };
}

test('the sound of a tab is heard until that tab is closed', async ({ site }) => {
  await answering(CHOOSES, site, async (open) => {
    const { tab, play } = await speaker(open);
    const home = await open();
    await home.exposeFunction('play', play);
    await home.exposeFunction('closeTab', () => tab.close());
    const { read, kinds, tracks } = await home.evaluate(async () => {
      const { play, closeTab } = globalThis as unknown as Record<'play' | 'closeTab', () => Promise<void>>;
      const translator = await alignatt.Translator.load({ device: 'cpu' });
      const stream = await alignatt.tab();
      const kinds = stream.getTracks().map(({ kind, readyState }) => `${kind}, ${readyState}`);
      await play();
      let closed = false;
      const read = await readAll(translator.transcribe(stream, { signal: AbortSignal.timeout(90_000) }), async (event) => {
        if (closed || event.type !== 'source' || event.segment < 1 || event.committed.length < 3) return;
        closed = true;
        await closeTab();
      });
      translator.dispose();
      return { read, kinds, tracks: stream.getTracks().map(({ readyState }) => readyState) };
    });
    expect(kinds).toEqual(['audio, live']);
    expect(read.code, read.message).toBeUndefined();
    expectInOrder(read.events);
    expect(read.events.at(-1)).toMatchObject({ interrupted: false });
    expect(tracks).toEqual(['ended']);
    // Playback and capture change the samples a little, so a word may be recognised differently.
    const said = finalText(await nativeEvents(repo('samples/talk-a.flac'), 'de')).source.slice(0, 2).join(' ').split(' ');
    const heard = finalText(read.events).source.join(' ').split(' ');
    console.log(heard.join(' '));
    expect(heard.length).toBeGreaterThan(8);
    expect(heard.filter((word) => said.includes(word)).length).toBeGreaterThan(0.7 * heard.length);
  });
});

test('a tab that is shared without its sound is released and reported', async ({ site }) => {
  await answering(CHOOSES, site, async (open) => {
    await speaker(open);
    const home = await open();
    const { failed, tracks } = await home.evaluate(async () => {
      // Simulates a user who does not share the sound; the browser has no flag for that.
      const ask = navigator.mediaDevices.getDisplayMedia.bind(navigator.mediaDevices);
      let given: MediaStream | undefined;
      navigator.mediaDevices.getDisplayMedia = async () => (given = await ask({ video: true }));
      const failed = await failing(alignatt.tab());
      return { failed, tracks: given!.getTracks().map(({ kind, readyState }) => `${kind}, ${readyState}`) };
    });
    expect(failed).toMatchObject({ code: 'bad-sound', ours: true });
    expect(failed.message).toContain('has no sound');
    expect(tracks).toEqual(['video, ended']);
  });
});

test('a tab that is refused', async ({ site }) => {
  await answering(REFUSES, site, async (open) => {
    // With no other tab, the browser finds nothing to refuse, and waits.
    await speaker(open);
    const home = await open();
    const { failed, cause } = await home.evaluate(async () => {
      const error = await alignatt.tab().catch((error: Error) => error);
      return { failed: await failing(Promise.reject(error)), cause: ((error as Error).cause as Error).name };
    });
    expect(failed).toMatchObject({ code: 'bad-sound', ours: true });
    expect(failed.message).toContain('not allowed; choose a tab');
    expect(cause).toBe('NotAllowedError');
  });
});
