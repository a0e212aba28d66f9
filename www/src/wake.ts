// Keeps the screen on while it listens, where the browser lets a page ask for it.

let lock: WakeLockSentinel | undefined;
let wanted = false;
/** Two answers at once would leave a lock that nobody knows of. */
let asking = false;

async function ask(): Promise<void> {
  if (!wanted || lock || asking || document.hidden) return;
  asking = true;
  try {
    const held = await navigator.wakeLock?.request('screen');
    held?.addEventListener('release', () => lock === held && (lock = undefined));
    lock = held;
    if (!wanted) letSleep();
  } catch {
    // Low battery or not allowed: the screen may go dark, nothing else changes.
  } finally {
    asking = false;
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
  // At once, so that who wants it again meanwhile asks for another.
  lock = undefined;
}
