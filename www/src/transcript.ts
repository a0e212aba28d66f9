// All events of what was heard, as one run, for saving. When a run was interrupted by a lost
// device, the next run continues at the segment that was open. The page keeps what it had shown of
// that segment; this record has the segment once.

import type { TranslatorEvent } from 'alignatt';

/** Added to the times and segment numbers of a continued run. */
export interface Offset {
  audio: number;
  wall: number;
  segments: number;
}

export const NO_OFFSET: Offset = { audio: 0, wall: 0, segments: 0 };

export function shifted(event: TranslatorEvent, by: Offset): TranslatorEvent {
  const times = { audio_ms: event.audio_ms + by.audio, wall_ms: event.wall_ms + by.wall };
  if (!('segment' in event)) return { ...event, ...times };
  const segment = event.segment + by.segments;
  if (event.type !== 'source') return { ...event, ...times, segment };
  const committed = event.committed.map((word) => ({ ...word, start_ms: word.start_ms + by.audio, end_ms: word.end_ms + by.audio }));
  return { ...event, ...times, segment, committed };
}

export class Transcript {
  events: TranslatorEvent[] = [];
  private offset = NO_OFFSET;

  take(event: TranslatorEvent): void {
    if (event.type === 'start' && this.events.length) return;
    const moved = shifted(event, this.offset);
    // Sound that is heard a second time must not make `audio_ms` decrease.
    this.events.push({ ...moved, audio_ms: Math.max(moved.audio_ms, this.events.at(-1)?.audio_ms ?? 0) });
  }

  /**
   * Prepares for the run that continues an interrupted one, and returns the offset of its events. A
   * file is heard again from that offset, so open segments are dropped. Live sound cannot be heard
   * again, so open segments are closed as they are.
   */
  resume(live: boolean): Offset {
    const open = this.firstOpen();
    const { audio_ms = 0, wall_ms = 0 } = this.events.at(-1) ?? {};
    this.events = this.events.filter((event) => event.type !== 'end');
    if (live) {
      this.close(open, { audio_ms, wall_ms });
      this.offset = { audio: audio_ms, wall: wall_ms, segments: this.count() };
    } else {
      const again = this.last('source', open);
      this.events = this.events.filter((event) => !('segment' in event && event.segment >= open));
      this.offset = { audio: again?.committed[0]?.start_ms ?? this.heardUntil(), wall: wall_ms, segments: open };
    }
    return this.offset;
  }

  private close(from: number, times: { audio_ms: number; wall_ms: number }): void {
    for (let segment = from; segment < this.count(); segment += 1) {
      const { committed = [], closed: heard = false } = this.last('source', segment) ?? {};
      if (!heard) this.events.push({ ...times, type: 'source', segment, committed, tentative: '', closed: true });
      const { committed: text = '', closed: shown = false } = this.last('target', segment) ?? {};
      if (!shown) this.events.push({ ...times, type: 'target', segment, delta: '', committed: text, tentative: '', closed: true });
    }
  }

  private last<T extends 'source' | 'target'>(type: T, segment: number): Extract<TranslatorEvent, { type: T }> | undefined {
    const found = this.events.findLast((event) => event.type === type && 'segment' in event && event.segment === segment);
    return found as Extract<TranslatorEvent, { type: T }> | undefined;
  }

  private count(): number {
    return this.events.reduce((most, event) => ('segment' in event ? Math.max(most, event.segment + 1) : most), 0);
  }

  /** The number of the first segment that is not closed on both sides. */
  private firstOpen(): number {
    let next = 0;
    while (this.last('source', next)?.closed && this.last('target', next)?.closed) next += 1;
    return next;
  }

  private heardUntil(): number {
    const last = this.events.findLast((event) => event.type === 'source' && event.committed.length > 0);
    return last?.type === 'source' ? (last.committed.at(-1)?.end_ms ?? 0) : 0;
  }
}
