// The possible sources: the sample that comes with the page, a file, the microphone, a tab, or a
// text.

import { microphone, tab } from 'alignatt';

export type Sound =
  | { kind: 'sample' | 'file'; name: string; blob: Blob; aloud: boolean }
  | { kind: 'microphone' | 'tab'; name: string; stream: MediaStream }
  | { kind: 'text'; name: string; text: string; aloud: boolean };

const SAMPLE = './samples/talk-a.flac';

export async function sample(): Promise<Sound> {
  const answer = await fetch(SAMPLE);
  if (!answer.ok) throw new Error(`the sample talk cannot be fetched: ${SAMPLE} (${answer.status})`);
  return { kind: 'sample', name: 'sample', blob: await answer.blob(), aloud: true };
}

/** A file of sound, or of text. */
export async function file(blob: File, aloud: boolean): Promise<Sound> {
  if (/\.(srt|vtt|txt|jsonl)$/i.test(blob.name)) return text(await blob.text(), aloud, blob.name);
  return { kind: 'file', name: blob.name, blob, aloud };
}

/** With `aloud`, the words come at the pace at which they would be said. */
export const text = (written: string, aloud: boolean, name = 'text'): Sound => ({ kind: 'text', name, text: written, aloud });

export async function live(kind: 'microphone' | 'tab'): Promise<Sound> {
  return { kind, name: kind, stream: await (kind === 'microphone' ? microphone() : tab()) };
}

/** Stops live sound that is not needed any more. */
export function release(sound: Sound): void {
  if ('stream' in sound) for (const track of sound.stream.getTracks()) track.stop();
}
