// The status line: figures of the captions and of the device. The lag of the policy and the lag of
// computing are shown separately, because the first is a choice and the second depends on the
// device.

import type { TranslatorEvent } from 'alignatt';
import { make } from './dom';
import { bytes, seconds } from './format';

interface Figure {
  name: string;
  about: string;
  /** The colour of the bar. Both bars have the same scale. */
  bar?: 'policy' | 'computing';
}

const FIGURES = {
  policy: {
    name: 'Policy lag',
    about:
      'Sound heard between the end of the spoken word that a translated word rests on and the moment when it was shown; the median of the newest words. The policy sets it: waiting longer makes the captions more reliable. A faster computer does not change it.',
    bar: 'policy',
  },
  computing: {
    name: 'Computing lag',
    about: 'Time from the arrival of the oldest sound of a step to the last result of that step. It adds to the policy lag. A faster computer makes it shorter.',
    bar: 'computing',
  },
  rtf: { name: 'Real-time factor', about: 'Computing time for each second of sound, since the start. Below 1, the program keeps up with the speaker.' },
  tokens: { name: 'Tokens a second', about: 'Tokens that the recogniser and the translator wrote, divided by the time that they took.' },
  waiting: { name: 'Sound waiting', about: 'Sound that has arrived and has not been processed yet. If it grows, the computer does not keep up.' },
  memory: { name: 'Memory', about: 'Memory of the graphics card that the program has reserved for weights, caches and drafts.' },
  adapter: { name: 'Adapter', about: 'The device that computes: the graphics card as the browser names it, or the CPU.' },
} satisfies { [name: string]: Figure };

type Name = keyof typeof FIGURES;
const NAMES = Object.keys(FIGURES) as Name[];
/** The lag at which a bar is full. */
const SCALE_MS = 5000;

export class Figures {
  private readonly values = new Map<Name, { value: HTMLElement; bar: HTMLElement | undefined }>();

  constructor(root: HTMLElement, meanings: HTMLElement) {
    for (const name of NAMES) {
      const figure: Figure = FIGURES[name];
      const value = make('b', {}, '–');
      const bar = figure.bar && make('i', { class: `bar ${figure.bar}`, 'aria-hidden': 'true' });
      this.values.set(name, { value, bar });
      root.append(make('div', { title: figure.about, 'data-figure': name }, make('dt', {}, figure.name), make('dd', {}, value, bar)));
    }
    const list = NAMES.map((name) => make('div', {}, make('dt', {}, FIGURES[name].name), make('dd', {}, FIGURES[name].about)));
    meanings.append(make('h2', {}, 'What the figures mean'), make('dl', {}, ...list));
  }

  clear(): void {
    for (const name of ['policy', 'computing', 'rtf', 'tokens', 'waiting'] as const) this.set(name, '–', 0);
  }

  lag(ms: number | undefined): void {
    if (ms !== undefined) this.set('policy', seconds(ms), ms);
  }

  progress(event: Extract<TranslatorEvent, { type: 'progress' }>): void {
    this.set('computing', seconds(event.lag_ms), event.lag_ms);
    this.set('rtf', event.rtf.toFixed(2));
    this.set('tokens', event.tokens_per_second.toFixed(0));
    this.set('waiting', seconds(event.waiting_ms, 1));
  }

  device(name: string): void {
    this.set('adapter', name);
    this.values.get('adapter')?.value.setAttribute('title', name);
  }

  memory(count: number): void {
    // On the CPU, no memory of a graphics card is reserved.
    this.set('memory', count ? bytes(count) : '–');
  }

  private set(name: Name, text: string, ms?: number): void {
    const { value, bar } = this.values.get(name) ?? {};
    if (value && value.textContent !== text) value.textContent = text;
    if (bar && ms !== undefined) bar.style.setProperty('--share', Math.min(1, Math.max(0, ms / SCALE_MS)).toFixed(3));
  }
}
