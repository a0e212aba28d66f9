// One segment on the page: source words, a time, target words. A word keeps its element while it
// keeps its index, so that only new words appear and nothing else is drawn again.

import type { Segment, Unit, Word } from './captions';
import { make } from './dom';
import { clock } from './format';

interface Piece {
  text: string;
  spaced: boolean;
  state: 'sure' | 'open';
}

/** A line of words on the page. */
class Line {
  readonly words: HTMLSpanElement[] = [];
  private readonly blanks: Text[] = [];

  constructor(
    readonly root: HTMLElement,
    private readonly kind: string,
  ) {}

  set(pieces: Piece[]): void {
    pieces.forEach((piece, at) => {
      const word = this.words[at] ?? this.append(at);
      const blank = at > 0 && piece.spaced ? ' ' : '';
      if (this.blanks[at]?.data !== blank) this.blanks[at]?.replaceData(0, Infinity, blank);
      if (word.textContent !== piece.text) word.textContent = piece.text;
      const name = `${this.kind} ${piece.state}`;
      if (word.dataset['is'] !== name) {
        word.classList.remove('sure', 'open');
        word.classList.add(piece.state);
        word.dataset['is'] = name;
      }
    });
    for (const gone of this.words.splice(pieces.length)) gone.remove();
    for (const gone of this.blanks.splice(pieces.length)) gone.remove();
  }

  private append(at: number): HTMLSpanElement {
    const word = make('span', { class: this.kind, 'data-at': at });
    const blank = document.createTextNode('');
    this.root.append(blank, word);
    this.words.push(word);
    this.blanks.push(blank);
    return word;
  }
}

export class SegmentView {
  readonly root: HTMLElement;
  private readonly said: Line;
  private readonly put: Line;
  private readonly when = make('span', { class: 'when' });

  constructor(
    readonly segment: Segment,
    language: string,
  ) {
    const said = make('p', { class: 'said', lang: 'en' });
    const put = make('p', { class: 'put', lang: language });
    this.said = new Line(said, 's');
    this.put = new Line(put, 't');
    this.root = make('section', { class: 'segment', 'data-segment': segment.number }, said, this.when, put);
  }

  get sources(): HTMLSpanElement[] {
    return this.said.words;
  }

  get targets(): HTMLSpanElement[] {
    return this.put.words;
  }

  saidBox(): DOMRect {
    return this.said.root.getBoundingClientRect();
  }

  putBox(): DOMRect {
    return this.put.root.getBoundingClientRect();
  }

  update(): void {
    const { segment } = this;
    this.said.set(segment.words.map(heard));
    this.put.set(segment.units().map(shown));
    const when = segment.start === undefined ? '' : clock(segment.start);
    if (this.when.textContent !== when) this.when.textContent = when;
    this.root.classList.toggle('broken', segment.broken);
    this.root.classList.toggle('closed', segment.targetClosed || segment.broken);
  }
}

const heard = (word: Word): Piece => ({ text: word.text, spaced: true, state: word.end === undefined ? 'open' : 'sure' });
const shown = (unit: Unit): Piece => ({ text: unit.text, spaced: unit.spaced, state: unit.shown === undefined ? 'open' : 'sure' });
