// Pointing at a target word highlights its source words in proportion to their attention, and a
// readout shows the figures. A mouse points or clicks, a finger presses and holds. For the keyboard
// the words are one Tab stop; arrow keys move and Enter selects.

import { draw, make } from './dom';
import { clock, seconds } from './format';
import type { Listing } from './listing';
import type { SegmentView } from './segment';
import type { Unit } from './captions';

const PRESS_MS = 250;
/** Attention below this is not drawn. */
const FAINT = 0.03;
const WHY: Record<string, string> = {
  frontier: 'it rests on speech that has not been heard yet',
  'after-held': 'an earlier word is held',
  'open-unit': 'its word is not complete yet',
  'no-row': 'no attention was captured for it',
  'not-finite': 'its attention is not a number',
};
const SHARES = ['on speech heard', 'on speech not yet heard', 'on the rest of the prompt', 'on the draft itself'];
const SHARE_NAMES = ['heard', 'unheard', 'prompt', 'draft'];

export class Highlight {
  private lit: { view: SegmentView; at: number; beams: SVGElement } | undefined;
  /** Pressed, or selected with Enter: the highlight stays when the pointer leaves. */
  private pinned = false;
  private press = 0;

  constructor(
    private readonly root: HTMLElement,
    private readonly listing: () => Listing | undefined,
    private readonly readout: HTMLElement | undefined,
  ) {
    root.addEventListener('pointermove', (event) => this.point(event));
    root.addEventListener('pointerleave', () => this.pinned || this.leave());
    root.addEventListener('pointerdown', (event) => this.down(event));
    for (const name of ['pointerup', 'pointercancel', 'pointermove'] as const) {
      root.addEventListener(name, (event) => (name !== 'pointermove' || Math.hypot(event.movementX, event.movementY) > 4) && clearTimeout(this.press));
    }
    root.addEventListener('contextmenu', (event) => this.pinned && event.preventDefault());
    root.addEventListener('focusin', (event) => this.reach(event.target as HTMLElement));
    root.addEventListener('keydown', (event) => this.key(event));
    document.addEventListener('pointerdown', (event) => {
      if (this.pinned && !(event.target as Element).closest('.target-word, .readout')) this.leave();
    });
    // Words move when the layout changes.
    addEventListener('resize', () => this.refresh());
    document.fonts.addEventListener('loadingdone', () => this.refresh());
  }

  get active(): boolean {
    return this.lit !== undefined;
  }

  /**
   * To be called after an event: words may have moved, and exactly one word must be the Tab stop.
   */
  refresh(): void {
    const { lit } = this;
    if (lit) {
      if (lit.view.targets[lit.at]) this.show(lit.view, lit.at);
      else this.leave();
    }
    if (!this.root.querySelector('[tabindex="0"].target-word')) this.root.querySelector<HTMLElement>('.target-word')?.setAttribute('tabindex', '0');
  }

  leave(): void {
    this.pinned = false;
    clearTimeout(this.press);
    this.clear();
    if (this.readout) this.readout.hidden = true;
  }

  show(view: SegmentView, at: number): void {
    const unit = view.segment.units()[at];
    const word = view.targets[at];
    if (!unit || !word) return;
    this.clear();
    const beams = draw('svg', { class: 'beams', 'aria-hidden': 'true' });
    view.root.classList.add('lit');
    word.classList.add('now');
    for (const { word: place, mass } of unit.looked?.attention ?? []) {
      const source = view.sources[place];
      if (!source || mass < FAINT) continue;
      source.classList.add('on');
      source.style.setProperty('--mass', mass.toFixed(3));
      const from = view.segment.words[place]?.start;
      if (mass >= 0.15 && from !== undefined) source.dataset['when'] = seconds(from, 1);
      beams.append(beam(source.getClientRects()[0] ?? new DOMRect(), word.getClientRects()[0] ?? new DOMRect(), view, mass));
    }
    view.root.prepend(beams);
    this.lit = { view, at, beams };
    if (this.readout) {
      this.readout.replaceChildren(...reading(view, unit));
      this.readout.hidden = false;
      // The readout is placed so that it hides neither the word nor its source words.
      const { top, bottom } = view.root.getBoundingClientRect();
      this.readout.classList.toggle('above', (top + bottom) / 2 > innerHeight / 2);
    }
  }

  private clear(): void {
    const { lit } = this;
    if (!lit) return;
    this.lit = undefined;
    lit.beams.remove();
    lit.view.root.classList.remove('lit');
    lit.view.root.querySelectorAll('.now').forEach((word) => word.classList.remove('now'));
    for (const source of lit.view.sources) {
      source.classList.remove('on');
      source.style.removeProperty('--mass');
      delete source.dataset['when'];
    }
  }

  private point(event: PointerEvent): void {
    // A page that scrolls under a resting mouse also fires this event; that is not pointing.
    if (event.pointerType !== 'mouse' || this.pinned || (!event.movementX && !event.movementY)) return;
    const found = this.wordAt(event.target);
    if (!found) return this.active ? this.leave() : undefined;
    if (found.view !== this.lit?.view || found.at !== this.lit.at) this.show(found.view, found.at);
  }

  private down(event: PointerEvent): void {
    const found = this.wordAt(event.target);
    if (!found) return;
    clearTimeout(this.press);
    const pin = () => {
      this.pinned = true;
      this.show(found.view, found.at);
    };
    if (event.pointerType === 'mouse') this.pinned ? this.leave() : pin();
    else this.press = window.setTimeout(pin, PRESS_MS);
  }

  private key(event: KeyboardEvent): void {
    const found = this.wordAt(event.target);
    if (!found) return;
    if (event.key === 'Enter') {
      event.preventDefault();
      const same = this.pinned && this.lit?.view === found.view && this.lit.at === found.at;
      if (same) return this.leave();
      this.pinned = true;
      return this.show(found.view, found.at);
    }
    const all = [...this.root.querySelectorAll<HTMLElement>('.target-word')];
    const here = all.indexOf(event.target as HTMLElement);
    const step: Record<string, number> = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 };
    const next = all[step[event.key] ?? -1];
    if (!next) return;
    event.preventDefault();
    const to = this.wordAt(next);
    next.focus();
    if (this.pinned && to) this.show(to.view, to.at);
  }

  /** Makes the focused word the only Tab stop and marks it as a button. */
  private reach(element: HTMLElement): void {
    if (!element.matches('.target-word')) return;
    for (const other of this.root.querySelectorAll('.target-word[tabindex="0"]')) {
      other.setAttribute('tabindex', '-1');
      other.removeAttribute('role');
    }
    element.setAttribute('tabindex', '0');
    element.setAttribute('role', 'button');
    if (this.readout) element.setAttribute('aria-describedby', this.readout.id);
  }

  private wordAt(target: EventTarget | null): { view: SegmentView; at: number } | undefined {
    const element = target instanceof Element ? target.closest('.target-word') : null;
    if (element && !element.hasAttribute('tabindex')) element.setAttribute('tabindex', '-1');
    return element ? this.listing()?.find(element) : undefined;
  }
}

/**
 * Draws a line from below a source word to below a target word. The line runs in the space between
 * lines and in the gutter, where there are no letters. Side by side, the gutter is between the
 * columns; stacked, it is the margin left of both.
 */
function beam(from: DOMRect, to: DOMRect, view: SegmentView, mass: number): SVGElement {
  const frame = view.root.getBoundingClientRect();
  const source = view.sourceBox();
  const target = view.targetBox();
  const [x1, y1] = [from.left + from.width / 2 - frame.left, from.bottom + 3 - frame.top];
  const [x2, y2] = [to.left + to.width / 2 - frame.left, to.bottom + 3 - frame.top];
  const beside = source.right <= target.left;
  // Each corner is a curve of this size, or smaller where there is no space.
  const turn = Math.min(12, Math.abs(x2 - x1) / 2);
  let d = `M${at(x1, from.bottom - frame.top)}Q${at(x1, y1)} `;
  if (beside) {
    const [left, right] = [source.right - frame.left, target.left - frame.left];
    const middle = (left + right) / 2;
    d += `${at(x1 + turn, y1)}H${left.toFixed(1)}C${at(middle, y1)} ${at(middle, y2)} ${at(right, y2)}H${(x2 - turn).toFixed(1)}`;
  } else {
    const gutter = source.left - frame.left - 9;
    const drop = Math.min(turn, Math.abs(y2 - y1) / 2);
    d += `${at(x1 - turn, y1)}H${(gutter + drop).toFixed(1)}Q${at(gutter, y1)} ${at(gutter, y1 + drop)}V${(y2 - drop).toFixed(1)}`;
    d += `Q${at(gutter, y2)} ${at(gutter + drop, y2)}H${Math.max(gutter + drop, x2 - turn).toFixed(1)}`;
  }
  d += `Q${at(x2, y2)} ${at(x2, to.bottom - frame.top - 2)}`;
  return draw('path', { d, 'stroke-width': (1 + mass * 4).toFixed(1), opacity: (0.25 + mass * 0.7).toFixed(2) });
}

const at = (x: number, y: number): string => `${x.toFixed(1)} ${y.toFixed(1)}`;

function reading(view: SegmentView, unit: Unit): Node[] {
  const { words } = view.segment;
  const head = make('p', {}, make('b', { lang: view.segment.language }, unit.text), ' ');
  const { looked } = unit;
  if (!looked) head.append('No attention was captured for this word.');
  const rests = words[looked?.rests ?? -1];
  if (unit.shown !== undefined) {
    head.append(`shown when ${seconds(unit.shown)} had been heard`);
    if (rests?.end !== undefined) {
      const lag = unit.shown - rests.end;
      head.append(`, ${seconds(Math.abs(lag))} ${lag < 0 ? 'before' : 'after'} the end of “${rests.text}”, the word that it rests on`);
    }
  } else {
    head.append(`is held: ${WHY[unit.why ?? ''] ?? 'it may still change'}`);
  }
  if (!looked) return [head];
  const list = make('ol', { class: 'attention' });
  for (const { word: place, mass } of looked.attention.slice(0, 5)) {
    const word = words[place];
    if (!word) continue;
    const span = word.start !== undefined && word.end !== undefined ? `${clockish(word.start)}–${clockish(word.end)}` : 'no time yet';
    const bar = make('i');
    bar.style.setProperty('--mass', mass.toFixed(3));
    list.append(make('li', {}, make('b', { lang: 'en' }, word.text), bar, make('span', {}, `${Math.round(mass * 100)} %`), make('small', {}, span)));
  }
  const shares = make('p', { class: 'shares' }, 'All attention: ');
  looked.mass.forEach((mass, at) => {
    shares.append(at ? ' · ' : '', make('i', { class: `dot ${SHARE_NAMES[at]}` }), `${Math.round(mass * 100)} % ${SHARES[at]}`);
  });
  return [head, list, shares];
}

const clockish = (ms: number): string => (ms < 60_000 ? seconds(ms) : `${clock(ms)}.${String(Math.floor((ms % 1000) / 100))}`);
