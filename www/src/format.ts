// Numbers, formatted for readers.

export function bytes(count: number): string {
  if (count < 1e6) return `${Math.round(count / 1e3)} kB`;
  if (count < 1e9) return `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} MB`;
  return `${(count / 1e9).toFixed(count < 1e10 ? 2 : count < 1e11 ? 1 : 0)} GB`;
}

/** Milliseconds as seconds, with a real minus sign. */
export const seconds = (ms: number, digits = 2): string => `${(ms / 1000).toFixed(digits).replace('-', '−')} s`;

/** A position in the sound: `0:07`, `12:07`, `1:02:07`. */
export function clock(ms: number): string {
  const all = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  const [hours, minutes] = [Math.floor(all / 3600), Math.floor(all / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(all % 60)}` : `${minutes}:${two(all % 60)}`;
}

/** Remaining time of a download: `40 s`, `12 min`. */
export function left(secondsLeft: number): string {
  if (secondsLeft < 90) return `${Math.max(1, Math.round(secondsLeft))} s`;
  if (secondsLeft < 5400) return `${Math.round(secondsLeft / 60)} min`;
  return `${(secondsLeft / 3600).toFixed(1)} h`;
}
