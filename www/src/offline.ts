// When the check has found that the page can work here, all files that it needs are cached for
// visits without a network: page, module, demo pack and sample. If the browser is set to save data,
// nothing is cached in advance.

export function workOffline(): void {
  if (!import.meta.env.PROD || !('serviceWorker' in navigator)) return;
  const { saveData } = (navigator as { connection?: { saveData?: boolean } }).connection ?? {};
  if (saveData) return;
  navigator.serviceWorker.register('./sw.js').catch(() => {
    // Storage is full or switched off. The page still works while there is a network.
  });
}
