// Keeps the screen on while a run listens, where the browser allows it.

let lock: WakeLockSentinel | undefined;
let wanted = false;
/** True during a request. Two requests at once would leave a lock that is never released. */
let asking = false;

async function ask(): Promise<void> {
  if (!wanted || lock || asking || document.hidden) return;
  asking = true;
  try {
    const held = await navigator.wakeLock?.request('screen');
    held?.addEventListener('release', () => lock === held && (lock = undefined));
    lock = held;
    if (!wanted) allowSleep();
  } catch {
    // Low battery, or not allowed: the screen may go dark, nothing else changes.
  } finally {
    asking = false;
  }
}

// The browser releases the lock when the tab is hidden.
document.addEventListener('visibilitychange', () => void ask());

export function keepAwake(): void {
  wanted = true;
  void ask();
}

export function allowSleep(): void {
  wanted = false;
  void lock?.release();
  // Cleared at once, so that a request in the meantime gets a new lock.
  lock = undefined;
}
