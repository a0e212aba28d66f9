// What the check of the browser found: one line, and a list when it is opened. Nothing has been
// downloaded at that time.

import type { Capabilities } from 'alignatt';
import { make } from './dom';
import { bytes } from './format';

const size = (count: number | undefined): string => {
  if (count === undefined) return 'unknown';
  return count >= 2 ** 30 ? `${+(count / 2 ** 30).toFixed(1)} GiB` : `${Math.round(count / 2 ** 20)} MiB`;
};

export function adapterName(found: Capabilities): string {
  const { adapter } = found;
  if (!adapter) return 'no adapter';
  return adapter.name || [adapter.vendor, adapter.architecture].filter(Boolean).join(' ') || 'an unnamed adapter';
}

export function showFindings(summary: HTMLElement, list: HTMLElement, found: Capabilities, cpu: boolean): void {
  const { adapter, storage } = found;
  const free = Math.max(0, (storage.quota ?? 0) - (storage.usage ?? 0));
  const compute = cpu ? 'computes on the CPU' : adapter ? `computes on ${adapterName(found)} with WebGPU` : 'has no WebGPU';
  summary.replaceChildren(
    make('i', { class: adapter && !cpu ? 'light good' : 'light weak', 'aria-hidden': 'true' }),
    `This browser ${compute}${storage.opfs && free ? ` and has room for ${bytes(free)}` : ''}`,
  );
  const rows: Array<[string, string, boolean]> = [
    ['Secure address', found.secureContext ? 'yes' : 'no: https:// or localhost is needed', found.secureContext],
    ['WebGPU', found.webgpu ? 'yes' : 'no', found.webgpu],
    ['Adapter', adapterName(found), Boolean(adapter)],
  ];
  if (adapter) {
    const { limits } = adapter;
    const has = (name: string) => adapter.features.includes(name);
    rows.push(
      ['Largest buffer', size(limits['maxBufferSize']), true],
      ['Largest binding', size(limits['maxStorageBufferBindingSize']), true],
      ['Half precision', has('shader-f16') ? 'yes' : 'no: weights take twice the memory', has('shader-f16')],
      ['Subgroups', has('subgroups') ? 'yes' : 'no', has('subgroups')],
    );
  }
  rows.push(
    ['Storage for models', storage.opfs ? `${bytes(free)} free${storage.persisted ? ', persistent' : ''}` : 'no: only the demo pack', storage.opfs],
    ['Live sound', found.audioWorklet ? 'yes' : 'no', found.audioWorklet],
    ['WebAssembly', found.wasm ? 'yes' : 'no', found.wasm],
  );
  list.replaceChildren(
    ...rows.map(([name, value, good]) => make('div', {}, make('dt', {}, name), make('dd', { class: good ? 'good' : 'weak' }, value))),
  );
}
