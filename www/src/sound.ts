// The possible sources of sound: the sample that comes with the page, a file, the microphone, a
// tab.

import { microphone, tab } from 'alignatt';

export type Sound =
  | { kind: 'sample' | 'file'; name: string; blob: Blob; aloud: boolean }
  | { kind: 'microphone' | 'tab'; name: string; stream: MediaStream };

const SAMPLE = './samples/talk-a.flac';

export async function sample(): Promise<Sound> {
  const answer = await fetch(SAMPLE);
  if (!answer.ok) throw new Error(`the sample talk cannot be fetched: ${SAMPLE} (${answer.status})`);
  return { kind: 'sample', name: 'sample', blob: await answer.blob(), aloud: true };
}

export const file = (blob: File, aloud: boolean): Sound => ({ kind: 'file', name: blob.name, blob, aloud });

export async function live(kind: 'microphone' | 'tab'): Promise<Sound> {
  return { kind, name: kind, stream: await (kind === 'microphone' ? microphone() : tab()) };
}

/** Stops live sound that is not needed any more. */
export function release(sound: Sound): void {
  if ('stream' in sound) for (const track of sound.stream.getTracks()) track.stop();
}
