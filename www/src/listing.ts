// All segments on the page, in order, from the captions.

import type { TranslatorEvent } from 'alignatt';
import { Captions } from './captions';
import { SegmentView } from './segment';

export class Listing {
  readonly captions: Captions;
  readonly views: SegmentView[] = [];

  constructor(
    readonly root: HTMLElement,
    language: string,
  ) {
    this.captions = new Captions(language);
    root.replaceChildren();
  }

  take(event: TranslatorEvent): void {
    const segment = this.captions.take(event);
    if (!segment) return;
    let view = this.views[segment.number];
    if (!view) {
      view = this.views[segment.number] = new SegmentView(segment, this.captions.language);
      this.root.append(view.root);
    }
    view.update();
  }

  /** Marks the open segments as broken, after the device was lost. Their text stays. */
  breakOff(): void {
    for (const view of this.views) {
      if (view.segment.targetClosed) continue;
      view.segment.broken = true;
      view.update();
    }
  }

  /** The view and the index of the word that `element` shows. */
  find(element: Element): { view: SegmentView; at: number } | undefined {
    const view = this.views[Number(element.closest<HTMLElement>('.segment')?.dataset['segment'])];
    const at = Number(element.getAttribute('data-at'));
    return view && this.root.contains(element) ? { view, at } : undefined;
  }
}
