// What this browser can do, found out without any download.

import type { ErrorCode } from './errors.js';

/** The limits that decide which models fit on the device. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupStorageSize',
] as const;

export interface Adapter {
  /** The name, as far as the browser reveals it. */
  name: string;
  vendor: string;
  architecture: string;
  limits: Record<(typeof LIMITS)[number], number>;
  features: string[];
  /** True for a software adapter, which computes on the CPU. */
  software: boolean;
}

export interface Capabilities {
  /** True if there is an adapter to compute on. */
  webgpu: boolean;
  /** True on https or localhost. WebGPU, storage and the microphone need it. */
  secureContext: boolean;
  adapter?: Adapter;
  storage: {
    /** True if the private file system, in which models are stored, can be used. */
    opfs: boolean;
    /**
     * Bytes that this site may use, and bytes that it uses. Absent where the browser does not say.
     */
    quota?: number;
    usage?: number;
    /** True if the browser will not clear this site's storage on its own. */
    persisted: boolean;
  };
  /** True if sound from a microphone or a tab can be captured. */
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

/** Most browsers give a vendor and a family only; some give a name. */
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

/** Compiles the eight bytes of an empty module. A content security policy may forbid even that. */
function wasm(): boolean {
  try {
    return new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)) instanceof WebAssembly.Module;
  } catch {
    return false;
  }
}
