// Plays a sound aloud beside its captions.

export class Player {
  private readonly audio = new Audio();
  private url = '';

  /** Called by the click that starts it: later, browsers would not let it sound. */
  load(blob: Blob): void {
    this.unload();
    this.url = URL.createObjectURL(blob);
    this.audio.src = this.url;
    this.audio.load();
  }

  /** False: the browser wants another click first. */
  async play(fromMs: number): Promise<boolean> {
    this.audio.currentTime = fromMs / 1000;
    try {
      await this.audio.play();
      return true;
    } catch {
      return false;
    }
  }

  get durationMs(): number | undefined {
    return Number.isFinite(this.audio.duration) ? this.audio.duration * 1000 : undefined;
  }

  get positionMs(): number {
    return this.audio.currentTime * 1000;
  }

  pause(): void {
    this.audio.pause();
  }

  unload(): void {
    this.audio.pause();
    if (!this.url) return;
    this.audio.removeAttribute('src');
    URL.revokeObjectURL(this.url);
    this.url = '';
  }
}
