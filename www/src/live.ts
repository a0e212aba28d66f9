// The text for screen readers: committed text only, each addition once. It is separate from the
// visible captions, so that text that may still change is never spoken.

import type { TranslatorEvent } from 'alignatt';
import { make } from './dom';

export class Live {
  private segment = -1;
  private line: HTMLElement | undefined;

  constructor(private readonly root: HTMLElement) {}

  start(language: string): void {
    this.root.replaceChildren();
    this.root.lang = language;
    this.segment = -1;
  }

  take(event: TranslatorEvent): void {
    if (event.type !== 'target' || !event.delta) return;
    if (event.segment !== this.segment) {
      this.segment = event.segment;
      this.line = make('p');
      this.root.append(this.line);
    }
    this.line?.append(make('span', {}, event.delta));
  }
}
