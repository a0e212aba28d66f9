// What this browser can do, found out without downloading anything.

import type { ErrorCode } from './errors.js';

/** The limits that decide which models fit. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupStorageSize',
] as const;

export interface Adapter {
  /** What is known of it: browsers tell little. */
  name: string;
  vendor: string;
  architecture: string;
  limits: Record<(typeof LIMITS)[number], number>;
  features: string[];
  /** It computes on the processor. */
  software: boolean;
}

export interface Capabilities {
  /** There is an adapter to compute on. */
  webgpu: boolean;
  /** WebGPU, storage and the microphone need an address with https, or localhost. */
  secureContext: boolean;
  adapter?: Adapter;
  storage: {
    /** The private file system in which models are kept. */
    opfs: boolean;
    /** Bytes this site may use, and those it uses. Absent where the browser does not tell. */
    quota?: number;
    usage?: number;
    /** The browser will not clear it on its own. */
    persisted: boolean;
  };
  /** Microphone and tab sound can be taken in. */
  audioWorklet: boolean;
  wasm: boolean;
  /** Why there is no WebGPU. */
  reason?: Extract<ErrorCode, 'no-webgpu' | 'no-adapter'>;
}

export async function check(): Promise<Capabilities> {
  const found = await gpu();
  return {
    webgpu: 'adapter' in found,
    secureContext: globalThis.isSecureContext,
    ...found,
    storage: await storage(),
    audioWorklet: 'AudioWorkletNode' in globalThis,
    wasm: wasm(),
  };
}

async function gpu(): Promise<Pick<Capabilities, 'adapter' | 'reason'>> {
  if (!('gpu' in navigator)) return { reason: 'no-webgpu' };
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
  if (!adapter) return { reason: 'no-adapter' };
  const { info, limits, features } = adapter;
  const { vendor, architecture } = info;
  return {
    adapter: {
      name: adapterName(info),
      vendor,
      architecture,
      limits: Object.fromEntries(LIMITS.map((name) => [name, limits[name]])) as Adapter['limits'],
      features: [...features].sort(),
      software: info.isFallbackAdapter,
    },
  };
}

/** Browsers tell a vendor and a family, some a name. */
export function adapterName({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  return description || [vendor, architecture, device].filter(Boolean).join(' ') || 'unnamed adapter';
}

async function storage(): Promise<Capabilities['storage']> {
  const of = navigator.storage;
  if (!of) return { opfs: false, persisted: false };
  const opfs = await of.getDirectory?.().then(
    () => true,
    () => false,
  );
  const { quota, usage } = await of.estimate().catch((): StorageEstimate => ({}));
  return {
    opfs: opfs ?? false,
    ...(quota !== undefined && { quota }),
    ...(usage !== undefined && { usage }),
    persisted: await of.persisted().catch(() => false),
  };
}

/** The eight bytes of an empty module: a content security policy may forbid even these. */
function wasm(): boolean {
  try {
    return new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)) instanceof WebAssembly.Module;
  } catch {
    return false;
  }
}
