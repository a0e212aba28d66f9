// The page follows the newest words until the reader scrolls up, and again when the reader is back
// at the end.

const NEAR_PX = 60;
/**
 * After this time, a smooth scroll that the page had begun before the reader scrolled up has ended.
 */
const SETTLED_MS = 300;

export class Follow {
  private following = true;
  private last = 0;
  private end = 0;
  private yielded = -Infinity;

  constructor(private readonly button: HTMLButtonElement) {
    addEventListener('scroll', () => this.scrolled(), { passive: true });
    addEventListener('wheel', (event) => event.deltaY < 0 && this.yield(), { passive: true });
    button.addEventListener('click', () => {
      this.start();
      this.catchUp();
    });
  }

  start(): void {
    this.following = true;
    this.button.hidden = true;
  }

  /** Scrolls to the newest words. */
  catchUp(): void {
    if (!this.following) return;
    const end = document.documentElement.scrollHeight - innerHeight;
    if (end - scrollY < 2) return;
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches || document.hidden;
    scrollTo({ top: end, behavior: calm ? 'instant' : 'smooth' });
  }

  private scrolled(): void {
    const end = document.documentElement.scrollHeight - innerHeight;
    const shorter = end < this.end;
    // Scrolling up is checked first, because its first pixels are still near the end. A page that
    // became shorter scrolls up by itself.
    if (scrollY < this.last - 2 && !shorter) this.yield();
    else if (end - scrollY < NEAR_PX && performance.now() - this.yielded > SETTLED_MS) this.start();
    this.last = scrollY;
    this.end = end;
  }

  private yield(): void {
    if (document.documentElement.scrollHeight - innerHeight < NEAR_PX) return;
    this.following = false;
    this.yielded = performance.now();
    this.button.hidden = document.body.dataset['phase'] !== 'running';
  }
}
