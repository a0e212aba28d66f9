// What has been said and shown so far: the events of a run, collected by segment. Independent of
// the page.
//
// Also answers where the model looked for each shown word. A draft starts where the shown text
// ends; a draft that is judged again keeps its start. The rules are those of
// src/faces/cli/explain/run.rs.

import type { TranslatorEvent } from 'alignatt';
import { folded, letters, units, type Place } from './units';

type Of<T extends TranslatorEvent['type']> = Extract<TranslatorEvent, { type: T }>;
type Token = Of<'listen'>['tokens'][number];

/** A source word. It has no times while it may still change. */
export interface Word {
  text: string;
  start?: number;
  end?: number;
}

/**
 * Where the model looked when it wrote a target word. Source words are given by their index in the
 * segment.
 */
export interface Looked {
  rests?: number;
  /**
   * Attention on accessible source words, on inaccessible ones, on the rest of the prompt, and on
   * the draft.
   */
  mass: number[];
  attention: Array<{ word: number; mass: number }>;
}

/** A target word, or a Chinese character. */
export interface Unit {
  text: string;
  /** Whether a blank precedes it. */
  spaced: boolean;
  /** How much sound had been heard when it was shown, in milliseconds; absent while it is held. */
  shown?: number;
  /** Why it is held. */
  why?: string;
  looked?: Looked;
}

interface Draft {
  listen: Of<'listen'>;
  /** Offset in the segment's text where its tokens start. */
  base: number;
  /** How often the text had grown before this draft. */
  before: number;
  final: boolean;
}

export class Segment {
  words: Word[] = [];
  committed = '';
  sourceClosed = false;
  targetClosed = false;
  /** The device was lost in this segment: no more events come. */
  broken = false;
  private tentative = '';
  private grown: Array<{ at: number; length: number }> = [];
  private drafts: Draft[] = [];
  private known: Unit[] | undefined;

  constructor(
    readonly number: number,
    readonly language: string,
  ) {}

  get start(): number | undefined {
    return this.words[0]?.start;
  }

  hear(event: Of<'source'>): void {
    const committed = event.committed.map((word) => ({ text: word.text, start: word.start_ms, end: word.end_ms }));
    const rest = event.tentative.match(/\S+/g) ?? [];
    this.words = [...committed, ...rest.map((text) => ({ text }))];
    this.sourceClosed = event.closed;
    this.known = undefined;
  }

  listen(event: Of<'listen'>): void {
    const last = this.drafts.at(-1);
    const before = this.grown.length;
    let base = this.committed.length;
    if (last && !event.drafted) base = last.base;
    else if (last?.final && last.before === before) base = last.base + last.listen.tokens.reduce((sum, t) => sum + t.text.length, 0);
    this.drafts.push({ listen: event, base, before, final: this.sourceClosed });
    this.known = undefined;
  }

  show(event: Of<'target'>): void {
    if (event.delta) {
      this.committed = event.committed;
      this.grown.push({ at: event.audio_ms, length: event.committed.length });
    }
    this.tentative = event.tentative;
    this.targetClosed = event.closed;
    this.known = undefined;
    if (event.closed) {
      // The units of a closed segment are computed once more and kept. Its drafts are not needed
      // any more.
      this.units();
      this.drafts = [];
    }
  }

  /** All units; the shown ones come first. */
  units(): Unit[] {
    this.known ??= this.cut();
    return this.known;
  }

  private cut(): Unit[] {
    const text = this.committed + this.tentative;
    return units(text, this.language).map((place) => {
      const body = letters(text, place);
      const step = this.grown.findIndex(({ length }) => length >= body.end);
      const unit: Unit = { text: text.slice(place.start, place.end), spaced: /\s/.test(text[place.start - 1] ?? '') };
      const drafts = step < 0 ? this.drafts : this.drafts.filter((draft) => draft.before <= step);
      for (const draft of drafts.toReversed()) {
        const tokens = tokensIn(draft, body, text);
        if (!tokens.length) continue;
        unit.looked = this.looked(draft, tokens);
        const held = tokens.find((token) => !token.shown);
        if (step < 0 && held) unit.why = held.why ?? 'held';
        break;
      }
      const grown = this.grown[step];
      if (grown) unit.shown = grown.at;
      return unit;
    });
  }

  /**
   * The mean over the tokens of a unit. Of the words that the tokens rest on, the unit rests on the
   * one with the most attention.
   */
  private looked(draft: Draft, tokens: Token[]): Looked {
    const share = 1 / tokens.length;
    const mass = [0, 0, 0, 0];
    const attention = new Map<number, number>();
    const rests: number[] = [];
    for (const token of tokens) {
      token.mass.forEach((value, at) => (mass[at] = (mass[at] ?? 0) + (value ?? 0) * share));
      for (const [word, value] of token.attention) {
        const place = this.place(draft.listen.source, word);
        if (place !== undefined) attention.set(place, (attention.get(place) ?? 0) + value * share);
      }
      const place = token.word === undefined ? undefined : this.place(draft.listen.source, token.word);
      if (place !== undefined) rests.push(place);
    }
    const weight = (place: number) => attention.get(place) ?? 0;
    rests.sort((a, b) => weight(b) - weight(a) || b - a);
    const listed = [...attention].filter(([, value]) => value >= 0.01).map(([word, value]) => ({ word, mass: value }));
    return { mass, attention: listed.sort((a, b) => b.mass - a.mass), ...(rests[0] === undefined ? {} : { rests: rests[0] }) };
  }

  /**
   * The index of the word that the prompt's word `at` has become: the same index, or a nearby one
   * with an equal word.
   */
  private place(source: string[], at: number): number | undefined {
    const name = folded(source[at] ?? '');
    const alike = [at, at - 1, at + 1, at - 2, at + 2].find((place) => folded(this.words[place]?.text ?? '\n') === name);
    return alike ?? (at < this.words.length ? at : undefined);
  }
}

/** The tokens that wrote `place` of `text`. */
function tokensIn(draft: Draft, place: Place, text: string): Token[] {
  let from = draft.base;
  return draft.listen.tokens.filter((token) => {
    const start = from;
    from += token.text.length;
    return start < place.end && place.start < from && text.slice(start, from) === token.text;
  });
}

export class Captions {
  readonly segments: Segment[] = [];

  constructor(readonly language: string) {}

  /** Takes an event. Returns the segment that it changed, if any. */
  take(event: TranslatorEvent): Segment | undefined {
    if (event.type !== 'source' && event.type !== 'listen' && event.type !== 'target') return undefined;
    const segment = (this.segments[event.segment] ??= new Segment(event.segment, this.language));
    if (event.type === 'source') segment.hear(event);
    if (event.type === 'listen') segment.listen(event);
    if (event.type === 'target') segment.show(event);
    return segment;
  }

  /** All text that will not change, one line for each segment. */
  text(side: 'source' | 'target'): string {
    const lines = this.segments.map((segment) =>
      side === 'target'
        ? segment.committed
        : segment.words.filter((word) => word.end !== undefined).map((word) => word.text).join(' '),
    );
    return lines.filter(Boolean).join('\n');
  }

  /**
   * The policy's lag in milliseconds: sound heard between the end of the source word that a unit
   * rests on and the moment when the unit was shown. The median over the newest units.
   */
  lag(): number | undefined {
    const lags: number[] = [];
    for (const segment of this.segments.slice(-4)) {
      for (const unit of segment.units()) {
        const end = segment.words[unit.looked?.rests ?? -1]?.end;
        if (unit.shown !== undefined && end !== undefined) lags.push(unit.shown - end);
      }
    }
    const newest = lags.slice(-24).sort((a, b) => a - b);
    return newest[newest.length >> 1];
  }
}
