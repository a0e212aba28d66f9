// The page follows the newest words until the viewer scrolls up, and again when the viewer is back
// at the end.

const NEAR_PX = 80;

export class Follow {
  #button;
  #following = true;
  #last = 0;
  #end = 0;

  constructor(button) {
    this.#button = button;
    addEventListener('scroll', () => this.#scrolled(), { passive: true });
    addEventListener('resize', () => this.catchUp());
    button.addEventListener('click', () => {
      this.#set(true);
      this.catchUp();
    });
  }

  /** Scrolls to the newest words. */
  catchUp() {
    if (this.#following) scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' });
  }

  #scrolled() {
    const end = document.documentElement.scrollHeight - innerHeight;
    // A page that became shorter scrolls up by itself.
    if (scrollY < this.#last - 2 && end >= this.#end && end - scrollY > 2) this.#set(false);
    else if (end - scrollY < NEAR_PX && scrollY >= this.#last) this.#set(true);
    this.#last = scrollY;
    this.#end = end;
  }

  #set(following) {
    this.#following = following;
    this.#button.hidden = following;
  }
}
