// The sentence on the first page, from the sample talk, as the demo pack heard and translated it.
// The reader can point at its words as in any run. Until then, one word that is far from its source
// word is highlighted as an example.

import type { TranslatorEvent } from 'alignatt';
import events from './example.json';
import { Highlight } from './highlight';
import { Listing } from './listing';
import type { Language } from './settings';

/** The word that is highlighted at first. The German verb waits for the end of its clause. */
const FIRST: { [code in Language]: string } = { de: 'besprechen', it: 'aspettare', zh: '待' };

export class Example {
  private listing: Listing | undefined;
  private readonly highlight: Highlight;

  constructor(private readonly root: HTMLElement) {
    this.highlight = new Highlight(root, () => this.listing, undefined);
    root.addEventListener('pointerleave', () => this.rest());
    document.addEventListener('pointerdown', (event) => root.contains(event.target as Node) || this.rest());
  }

  show(language: Language): void {
    this.highlight.leave();
    this.listing = new Listing(this.root, language);
    for (const event of events[language] as unknown as TranslatorEvent[]) this.listing.take(event);
    this.rest();
  }

  rest(): void {
    const view = this.listing?.views[0];
    if (!view || this.highlight.active || !view.root.offsetParent) return;
    const language = view.segment.language as Language;
    const at = view.segment.units().findIndex((unit) => unit.text.startsWith(FIRST[language]));
    this.highlight.refresh();
    this.highlight.show(view, at);
  }
}
