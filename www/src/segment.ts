// One segment on the page: source words, a time, target words. A word keeps its element while it
// keeps its index, so that only new words appear and nothing else is drawn again.

import type { Segment, Unit, Word } from './captions';
import { make } from './dom';
import { clock } from './format';

interface Piece {
  text: string;
  spaced: boolean;
  state: 'committed' | 'tentative';
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
        word.classList.remove('committed', 'tentative');
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
  private readonly source: Line;
  private readonly target: Line;
  private readonly when = make('span', { class: 'when' });

  constructor(
    readonly segment: Segment,
    language: string,
  ) {
    const source = make('p', { class: 'source', lang: 'en' });
    const target = make('p', { class: 'target', lang: language });
    this.source = new Line(source, 'source-word');
    this.target = new Line(target, 'target-word');
    this.root = make('section', { class: 'segment', 'data-segment': segment.number }, source, this.when, target);
  }

  get sources(): HTMLSpanElement[] {
    return this.source.words;
  }

  get targets(): HTMLSpanElement[] {
    return this.target.words;
  }

  sourceBox(): DOMRect {
    return this.source.root.getBoundingClientRect();
  }

  targetBox(): DOMRect {
    return this.target.root.getBoundingClientRect();
  }

  update(): void {
    const { segment } = this;
    this.source.set(segment.words.map(sourcePiece));
    this.target.set(segment.units().map(targetPiece));
    const when = segment.start === undefined ? '' : clock(segment.start);
    if (this.when.textContent !== when) this.when.textContent = when;
    this.root.classList.toggle('broken', segment.broken);
    this.root.classList.toggle('closed', segment.targetClosed || segment.broken);
  }
}

const sourcePiece = (word: Word): Piece => ({ text: word.text, spaced: true, state: word.end === undefined ? 'tentative' : 'committed' });
const targetPiece = (unit: Unit): Piece => ({ text: unit.text, spaced: unit.spaced, state: unit.shown === undefined ? 'tentative' : 'committed' });
