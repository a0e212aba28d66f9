// Plays a sound while its captions are shown.

export class Player {
  private readonly audio = new Audio();
  private url = '';

  /**
   * Must be called from the click that starts the run: later, browsers would not allow the sound to
   * play.
   */
  load(blob: Blob): void {
    this.unload();
    this.url = URL.createObjectURL(blob);
    this.audio.src = this.url;
    this.audio.load();
  }

  /** Returns false if the browser requires another click first. */
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
