// Keeps the screen on while it listens, where the browser lets a page ask for it.

let lock: WakeLockSentinel | undefined;
let wanted = false;

async function ask(): Promise<void> {
  if (!wanted || lock || document.hidden) return;
  try {
    lock = await navigator.wakeLock?.request('screen');
    lock?.addEventListener('release', () => (lock = undefined));
    if (!wanted) void lock?.release();
  } catch {
    // Low battery or not allowed: the screen may go dark, nothing else changes.
  }
}

// The browser takes the lock back when the tab is hidden.
document.addEventListener('visibilitychange', () => void ask());

export function keepAwake(): void {
  wanted = true;
  void ask();
}

export function letSleep(): void {
  wanted = false;
  void lock?.release();
}
