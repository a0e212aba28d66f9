// Holding a target word: its source words are lit in proportion to the attention they got, and a readout tells the
// figures. A mouse points, a finger presses and holds, the keyboard has one stop among the words, arrows and Enter.

import { draw, make } from './dom';
import { clock, seconds } from './format';
import type { Listing } from './listing';
import type { SegmentView } from './segment';
import type { Unit } from './captions';

const PRESS_MS = 250;
/** Weaker ones are not drawn. */
const FAINT = 0.03;
const WHY: Record<string, string> = {
  frontier: 'it rests on what has not been heard yet',
  behind: 'a word before it is held',
  'open-unit': 'its word is not whole yet',
  'no-row': 'no attention was captured for it',
  'not-finite': 'its attention is not a number',
};
const SHARES = ['on speech heard', 'on speech not yet heard', 'on the rest of the prompt', 'on the draft itself'];
const SHARE_NAMES = ['heard', 'unheard', 'prompt', 'draft'];

export class Hold {
  private lit: { view: SegmentView; at: number; beams: SVGElement } | undefined;
  /** Pressed or entered: stays when the pointer goes. */
  private pinned = false;
  private press = 0;

  constructor(
    private readonly root: HTMLElement,
    private readonly listing: () => Listing | undefined,
    private readonly readout: HTMLElement | undefined,
  ) {
    root.addEventListener('pointerover', (event) => this.point(event));
    root.addEventListener('pointerleave', () => this.pinned || this.leave());
    root.addEventListener('pointerdown', (event) => this.down(event));
    for (const name of ['pointerup', 'pointercancel', 'pointermove'] as const) {
      root.addEventListener(name, (event) => (name !== 'pointermove' || Math.hypot(event.movementX, event.movementY) > 4) && clearTimeout(this.press));
    }
    root.addEventListener('contextmenu', (event) => this.pinned && event.preventDefault());
    root.addEventListener('focusin', (event) => this.reach(event.target as HTMLElement));
    root.addEventListener('keydown', (event) => this.key(event));
    document.addEventListener('pointerdown', (event) => {
      if (this.pinned && !(event.target as Element).closest('.t, .readout')) this.leave();
    });
    addEventListener('resize', () => this.refresh());
  }

  get holds(): boolean {
    return this.lit !== undefined;
  }

  /** After an event: words may have moved, and one Tab stop must be there. */
  refresh(): void {
    const { lit } = this;
    if (lit) {
      if (lit.view.targets[lit.at]) this.show(lit.view, lit.at);
      else this.leave();
    }
    if (!this.root.querySelector('[tabindex="0"].t')) this.root.querySelector<HTMLElement>('.t')?.setAttribute('tabindex', '0');
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
    const frame = view.root.getBoundingClientRect();
    for (const { word: place, mass } of unit.listened?.on ?? []) {
      const source = view.sources[place];
      if (!source || mass < FAINT) continue;
      source.classList.add('on');
      source.style.setProperty('--mass', mass.toFixed(3));
      const from = view.segment.words[place]?.start;
      if (mass >= 0.15 && from !== undefined) source.dataset['when'] = seconds(from, 1);
      beams.append(beam(source.getBoundingClientRect(), word.getBoundingClientRect(), frame, mass));
    }
    view.root.prepend(beams);
    this.lit = { view, at, beams };
    if (this.readout) {
      this.readout.replaceChildren(...reading(view, unit));
      this.readout.hidden = false;
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
    if (event.pointerType !== 'mouse' || this.pinned) return;
    const found = this.at(event.target);
    if (found) this.show(found.view, found.at);
    else this.leave();
  }

  private down(event: PointerEvent): void {
    const found = this.at(event.target);
    if (!found) return;
    clearTimeout(this.press);
    const hold = () => {
      this.pinned = true;
      this.show(found.view, found.at);
    };
    if (event.pointerType === 'mouse') this.pinned ? this.leave() : hold();
    else this.press = window.setTimeout(hold, PRESS_MS);
  }

  private key(event: KeyboardEvent): void {
    const found = this.at(event.target);
    if (!found) return;
    if (event.key === 'Enter') {
      event.preventDefault();
      const same = this.pinned && this.lit?.view === found.view && this.lit.at === found.at;
      if (same) return this.leave();
      this.pinned = true;
      return this.show(found.view, found.at);
    }
    const all = [...this.root.querySelectorAll<HTMLElement>('.t')];
    const here = all.indexOf(event.target as HTMLElement);
    const step: Record<string, number> = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 };
    const next = all[step[event.key] ?? -1];
    if (!next) return;
    event.preventDefault();
    next.focus();
    const to = this.at(next);
    if (this.pinned && to) this.show(to.view, to.at);
  }

  /** The focused word is the one Tab stop, and says that it can be pressed. */
  private reach(element: HTMLElement): void {
    if (!element.matches('.t')) return;
    for (const other of this.root.querySelectorAll('.t[tabindex="0"]')) {
      other.setAttribute('tabindex', '-1');
      other.removeAttribute('role');
    }
    element.setAttribute('tabindex', '0');
    element.setAttribute('role', 'button');
    if (this.readout) element.setAttribute('aria-describedby', this.readout.id);
  }

  private at(target: EventTarget | null): { view: SegmentView; at: number } | undefined {
    const element = target instanceof Element ? target.closest('.t') : null;
    if (element && !element.hasAttribute('tabindex')) element.setAttribute('tabindex', '-1');
    return element ? this.listing()?.find(element) : undefined;
  }
}

/** From a source word to a target word: across the gutter where they stand side by side, down where they are stacked. */
function beam(from: DOMRect, to: DOMRect, frame: DOMRect, mass: number): SVGElement {
  const x = (value: number) => (value - frame.left).toFixed(1);
  const y = (value: number) => (value - frame.top).toFixed(1);
  let d: string;
  if (from.right < to.left) {
    const [a, b] = [from.bottom - 2, to.top + to.height / 2];
    const start = from.left + from.width / 2;
    const reach = Math.max(40, (to.left - start) * 0.45);
    d = `M${x(start)} ${y(a)}C${x(start + reach * 0.4)} ${y(a + 14)} ${x(to.left - reach)} ${y(b)} ${x(to.left - 3)} ${y(b)}`;
  } else {
    const [a, b] = [from.left + from.width / 2, to.left + to.width / 2];
    const bend = (from.bottom + to.top) / 2;
    d = `M${x(a)} ${y(from.bottom)}C${x(a)} ${y(bend)} ${x(b)} ${y(bend)} ${x(b)} ${y(to.top)}`;
  }
  return draw('path', { d, 'stroke-width': (1 + mass * 5).toFixed(1), opacity: (0.2 + mass * 0.7).toFixed(2) });
}

function reading(view: SegmentView, unit: Unit): Node[] {
  const { words } = view.segment;
  const head = make('p', {}, make('b', { lang: view.segment.language }, unit.text), ' ');
  const { listened } = unit;
  if (!listened) head.append('No attention was captured for this word.');
  const rests = words[listened?.rests ?? -1];
  if (unit.shown !== undefined) {
    head.append(`shown when ${seconds(unit.shown)} had been heard`);
    if (rests?.end !== undefined) {
      const lag = unit.shown - rests.end;
      head.append(`, ${seconds(Math.abs(lag))} ${lag < 0 ? 'before' : 'after'} the end of “${rests.text}”, on which it rests`);
    }
  } else {
    head.append(`is held: ${WHY[unit.why ?? ''] ?? 'it may still change'}`);
  }
  if (!listened) return [head];
  const list = make('ol', { class: 'ears' });
  for (const { word: place, mass } of listened.on.slice(0, 5)) {
    const word = words[place];
    if (!word) continue;
    const span = word.start !== undefined && word.end !== undefined ? `${clockish(word.start)}–${clockish(word.end)}` : 'not settled yet';
    const bar = make('i');
    bar.style.setProperty('--mass', mass.toFixed(3));
    list.append(make('li', {}, make('b', { lang: 'en' }, word.text), bar, make('span', {}, `${Math.round(mass * 100)} %`), make('small', {}, span)));
  }
  const shares = make('p', { class: 'shares' }, 'Attention in all: ');
  listened.mass.forEach((mass, at) => {
    shares.append(at ? ' · ' : '', make('i', { class: `dot ${SHARE_NAMES[at]}` }), `${Math.round(mass * 100)} % ${SHARES[at]}`);
  });
  return [head, list, shares];
}

const clockish = (ms: number): string => (ms < 60_000 ? seconds(ms) : `${clock(ms)}.${String(Math.floor((ms % 1000) / 100))}`);
