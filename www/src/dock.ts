// The bar at the bottom: start and stop, the position in the sound, figures, and the buttons to
// copy and save.

import { find, make } from './dom';
import { clock } from './format';

export class Dock {
  private readonly root = find('dock');
  private readonly stop = find<HTMLButtonElement>('stop');
  private readonly place = find('place');
  private readonly track = find('track');
  private readonly notice = find('notice');

  constructor() {
    // Elements above the bar are placed by its height.
    new ResizeObserver(() => document.body.style.setProperty('--dock', `${this.root.offsetHeight}px`)).observe(this.root);
  }

  show(): void {
    this.root.hidden = false;
  }

  hide(): void {
    this.root.hidden = true;
  }

  /** Sets the text and the shape of the start/stop button. */
  button(text: string, shape: 'stop' | 'play'): void {
    const label = this.stop.querySelector('span');
    if (label) label.textContent = text;
    this.stop.querySelector('path')?.setAttribute('d', shape === 'stop' ? 'M6 6h12v12H6z' : 'M7 4.5v15l13-7.5z');
  }

  at(ms: number, ofMs?: number): void {
    const text = ofMs ? `${clock(ms)} / ${clock(ofMs)}` : clock(ms);
    if (this.place.textContent !== text) this.place.textContent = text;
    this.track.style.setProperty('--share', ofMs ? Math.min(1, ms / ofMs).toFixed(4) : '0');
  }

  /** Shows a line of text instead of the position, while models load. */
  say(text: string, share = 0): void {
    this.place.textContent = text;
    this.track.style.setProperty('--share', share.toFixed(3));
  }

  /** Asks a question above the bar. The captions stay. */
  ask(text: string, actions: Array<[text: string, act: () => void]>): void {
    const buttons = actions.map(([label, act]) =>
      make('button', { type: 'button', onclick: () => (this.clearNotice(), act()) }, label),
    );
    this.notice.replaceChildren(make('p', {}, text), ...buttons);
    this.notice.hidden = false;
    buttons[0]?.focus();
  }

  clearNotice(): void {
    this.notice.hidden = true;
    this.notice.replaceChildren();
  }
}
