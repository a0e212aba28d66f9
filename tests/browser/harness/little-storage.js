// The package's worker in a browser that has three megabytes of storage left.

navigator.storage.estimate = async () => ({ quota: 1e9, usage: 1e9 - 3e6 });

// Messages that arrive before the real worker listens are passed to it afterwards.
const early = [];
onmessage = (event) => early.push(event);
await import(new URL(location.href).searchParams.get('url'));
for (const event of early) onmessage(event);
