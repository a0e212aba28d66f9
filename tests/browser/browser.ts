// How Chromium is started. SwiftShader gives WebGPU on a machine without a graphics card.

import { fileURLToPath } from 'node:url';

const QUIET = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Without these there is no adapter. */
const WEBGPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

export const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
export const withWebgpu = { executablePath, args: [...QUIET, ...WEBGPU] };
export const withoutWebgpu = { executablePath, args: QUIET };

/** A path of the repository. */
export function repo(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
