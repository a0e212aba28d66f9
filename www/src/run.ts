// One translation from start to end. Loads the engine if another one was chosen, else keeps it.
// Feeds it the sound and passes every event to a watcher. Knows nothing of the page.

import type { Progress, Source, TranslatorEvent } from 'alignatt';
import type { Choice, Engine } from './engine';
import { Player } from './player';
import { Rest } from './rest';
import { release, type Sound } from './sound';

export interface Watcher {
  progress(progress: Progress): void;
  /** The engine is ready and the sound begins. */
  started(): void;
  event(event: TranslatorEvent): void;
  /** The browser requires another click before it plays the sound. */
  playbackBlocked(): void;
}

export class Runner {
  readonly player = new Player();
  private engine: Engine | undefined;
  private key = '';
  private stopper: AbortController | undefined;
  private sound: Sound | undefined;
  private ended: Promise<void> = Promise.resolve();

  get loaded(): Engine | undefined {
    return this.engine;
  }

  get runs(): boolean {
    return this.stopper !== undefined;
  }

  /**
   * Resolves when the sound is over or stopped; rejects with the error. If another run is under
   * way, this stops it and waits for its end.
   */
  run(sound: Sound, choice: Choice, fromMs: number, watcher: Watcher): Promise<void> {
    this.stopper?.abort();
    const stopper = new AbortController();
    this.stopper = stopper;
    this.sound = sound;
    if ('blob' in sound && sound.aloud) this.player.load(sound.blob);
    const run = this.ended.then(() => this.runToEnd(sound, choice, fromMs, watcher, stopper));
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
    if (sound && 'stream' in sound && sound.stream.active && this.engine) return release(sound);
    stopper.abort();
    if (sound) release(sound);
  }

  /**
   * Makes the next run load the engine again, after an error. Until then the old one can still make
   * subtitles.
   */
  reloadNext(): void {
    this.key = '';
  }

  private async runToEnd(sound: Sound, choice: Choice, fromMs: number, watcher: Watcher, stopper: AbortController): Promise<void> {
    const { signal } = stopper;
    try {
      signal.throwIfAborted();
      const engine = await this.load(choice, watcher, signal);
      signal.throwIfAborted();
      watcher.started();
      await this.feed(engine, sound, fromMs, watcher, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.player.pause();
      release(sound);
      if (this.stopper === stopper) this.stopper = undefined;
    }
  }

  private async load(choice: Choice, watcher: Watcher, signal: AbortSignal): Promise<Engine> {
    if (this.engine && this.key === choice.key) return this.engine;
    this.engine?.dispose();
    this.engine = undefined;
    const engine = await choice.load(signal, (progress) => watcher.progress(progress));
    this.engine = engine;
    this.key = choice.key;
    return engine;
  }

  private async feed(engine: Engine, sound: Sound, fromMs: number, watcher: Watcher, signal: AbortSignal): Promise<void> {
    const aloud = 'blob' in sound && sound.aloud;
    const realtime = 'aloud' in sound && sound.aloud;
    let first = true;
    for await (const event of engine.translate(source(sound, fromMs), { signal, realtime, name: sound.name })) {
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
