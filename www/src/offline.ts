// After the check has said that the page can work here, all that it needs is kept for visits without a network: page,
// module, demo pack and sample. Browsers that are asked to save data keep nothing ahead.

export function workOffline(): void {
  if (!import.meta.env.PROD || !('serviceWorker' in navigator)) return;
  const { saveData } = (navigator as { connection?: { saveData?: boolean } }).connection ?? {};
  if (saveData) return;
  navigator.serviceWorker.register('./sw.js').catch(() => {
    // Storage full or switched off: the page works, with the network.
  });
}
