// One translation from start to end. Loads the translator if its options have changed, else keeps
// it. Feeds it the sound and passes every event to a watcher. Knows nothing of the page.

import { Translator, type LoadOptions, type Progress, type Source, type TranslatorEvent } from 'alignatt';
import { Player } from './player';
import { Rest } from './rest';
import { release, type Sound } from './sound';

export interface Watcher {
  progress(progress: Progress): void;
  /** The models are loaded and the sound begins. */
  started(translator: Translator): void;
  event(event: TranslatorEvent): void;
  /** The browser requires another click before it plays the sound. */
  playbackBlocked(): void;
}

export class Runner {
  readonly player = new Player();
  private translator: Translator | undefined;
  private key = '';
  private stopper: AbortController | undefined;
  private sound: Sound | undefined;
  private ended: Promise<void> = Promise.resolve();

  get loaded(): Translator | undefined {
    return this.translator;
  }

  get runs(): boolean {
    return this.stopper !== undefined;
  }

  /**
   * Resolves when the sound is over or stopped; rejects with the error. If another run is under
   * way, this stops it and waits for its end.
   */
  run(sound: Sound, options: LoadOptions, fromMs: number, watcher: Watcher): Promise<void> {
    this.stopper?.abort();
    const stopper = new AbortController();
    this.stopper = stopper;
    this.sound = sound;
    if ('blob' in sound && sound.aloud) this.player.load(sound.blob);
    const run = this.ended.then(() => this.runToEnd(sound, options, fromMs, watcher, stopper));
    this.ended = run.catch(() => undefined);
    return run;
  }

  /**
   * Stops the run. The first call ends live sound, and what was captured is still processed. A
   * second call, or any call for a file, ends the run at once.
   */
  stop(): void {
    const { sound, stopper } = this;
    if (!stopper) return;
    if (sound && 'stream' in sound && sound.stream.active && this.translator) return release(sound);
    stopper.abort();
    if (sound) release(sound);
  }

  /**
   * Makes the next run load the models again, after an error. Until then the old translator can
   * still make subtitles.
   */
  reloadNext(): void {
    this.key = '';
  }

  private async runToEnd(sound: Sound, options: LoadOptions, fromMs: number, watcher: Watcher, stopper: AbortController): Promise<void> {
    const { signal } = stopper;
    try {
      signal.throwIfAborted();
      const translator = await this.load(options, watcher, signal);
      signal.throwIfAborted();
      watcher.started(translator);
      await this.feed(translator, sound, fromMs, watcher, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.player.pause();
      release(sound);
      if (this.stopper === stopper) this.stopper = undefined;
    }
  }

  private async load(options: LoadOptions, watcher: Watcher, signal: AbortSignal): Promise<Translator> {
    const key = JSON.stringify(options);
    if (this.translator && this.key === key) return this.translator;
    this.translator?.dispose();
    this.translator = undefined;
    const translator = await Translator.load({ ...options, signal, onProgress: (progress) => watcher.progress(progress) });
    this.translator = translator;
    this.key = key;
    return translator;
  }

  private async feed(translator: Translator, sound: Sound, fromMs: number, watcher: Watcher, signal: AbortSignal): Promise<void> {
    const aloud = 'blob' in sound && sound.aloud;
    const realtime = 'aloud' in sound && sound.aloud;
    let first = true;
    for await (const event of translator.translate(source(sound, fromMs), { signal, realtime, name: sound.name })) {
      if (first && aloud && !(await this.player.play(fromMs))) watcher.playbackBlocked();
      first = false;
      watcher.event(event);
    }
  }
}

function source(sound: Sound, fromMs: number): Source {
  if ('stream' in sound) return sound.stream;
  if ('text' in sound) return { text: sound.text };
  return fromMs > 0 ? new Rest(sound.blob, fromMs, sound.aloud) : sound.blob;
}
