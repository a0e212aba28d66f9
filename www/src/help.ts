// What each failure means and what to do about it in this browser. The codes are those of the
// package. The page adds `no-secure-context`, `no-storage` and `no-microphone`.

export type Trouble =
  | 'no-secure-context'
  | 'no-webgpu'
  | 'no-adapter'
  | 'adapter-failed-self-test'
  | 'out-of-memory'
  | 'storage-full'
  | 'no-storage'
  | 'network'
  | 'bad-model'
  | 'bad-sound'
  | 'device-lost'
  | 'no-microphone'
  | 'no-token'
  | 'session-lost'
  | 'busy'
  | 'bad-option'
  | 'internal';

export interface Advice {
  title: string;
  about: string;
  /** What to do, in order. */
  steps: string[];
  /** True if the CPU can be used instead. */
  cpu: boolean;
}

export type Browser = 'Chrome' | 'Edge' | 'Firefox' | 'Safari' | 'this browser';
export type System = 'Linux' | 'Windows' | 'macOS' | 'Android' | 'iOS' | 'this system';

/** Used only for advice. Whether something works is found out by trying it. */
export function browser(agent = navigator.userAgent): { browser: Browser; system: System; version: number } {
  const match = (pattern: RegExp) => Number(pattern.exec(agent)?.[1] ?? 0);
  const system: System = /iPhone|iPad/.test(agent)
    ? 'iOS'
    : /Android/.test(agent)
      ? 'Android'
      : /Windows/.test(agent)
        ? 'Windows'
        : /Mac OS X/.test(agent)
          ? 'macOS'
          : /Linux|CrOS/.test(agent)
            ? 'Linux'
            : 'this system';
  if (/Edg\//.test(agent)) return { browser: 'Edge', system, version: match(/Edg\/(\d+)/) };
  if (/Firefox\//.test(agent)) return { browser: 'Firefox', system, version: match(/Firefox\/(\d+)/) };
  if (/Chrom(?:e|ium)\//.test(agent)) return { browser: 'Chrome', system, version: match(/Chrom(?:e|ium)\/(\d+)/) };
  if (/Safari\//.test(agent)) return { browser: 'Safari', system, version: match(/Version\/(\d+)/) };
  return { browser: 'this browser', system, version: 0 };
}

const flags = (name: Browser): string => (name === 'Edge' ? 'edge://flags' : 'chrome://flags');
const gpuPage = (name: Browser): string => (name === 'Edge' ? 'edge://gpu' : 'chrome://gpu');

/** How to get WebGPU in this browser. */
function webgpu(): string[] {
  const { browser: name, system, version } = browser();
  switch (name) {
    case 'Chrome':
    case 'Edge':
      if (system === 'Linux') {
        return [
          ...(version && version < 144 ? [`Update ${name}: this is version ${version}.`] : []),
          `Open ${flags(name)}/#enable-unsafe-webgpu, choose Enabled, and restart ${name}.`,
          `If that is not enough, also enable ${flags(name)}/#enable-vulkan, and look for “WebGPU” on ${gpuPage(name)}.`,
          'The card needs a Vulkan driver: vulkaninfo --summary in a terminal must name it (packages mesa-vulkan-drivers or the NVIDIA driver).',
        ];
      }
      if (system === 'Android') return [`Update ${name} and Android: WebGPU needs Android 12 and a recent Qualcomm, ARM or Imagination GPU.`];
      return [
        ...(version && version < 113 ? [`Update ${name}: WebGPU came with version 113, this is ${version}.`] : []),
        `In the settings of ${name}, under System, switch on “Use graphics acceleration when available”, and restart it.`,
        `Open ${gpuPage(name)}: the entry “WebGPU” names the problem.`,
      ];
    case 'Firefox':
      return system === 'Windows' || system === 'macOS'
        ? ['Update Firefox: WebGPU came with version 141 on Windows, and with 145 on Macs with Apple silicon.', 'If it is newer, check whether dom.webgpu.enabled is true in about:config.']
        : ['Firefox has WebGPU on this system only in its Nightly version (dom.webgpu.enabled in about:config).', 'Or open this page in Chrome or Chromium.'];
    case 'Safari':
      return system === 'iOS' ? ['Update to iOS 26: WebGPU came with Safari 26.'] : ['Update to Safari 26 on macOS 26: WebGPU is on by default there.', 'Or open this page in Chrome.'];
    default:
      return ['Open this page in a recent Chrome, Edge, Safari or Firefox.'];
  }
}

export function advice(code: string, message: string): Advice {
  const { browser: name, system } = browser();
  switch (code as Trouble) {
    case 'no-secure-context':
      return {
        title: 'This address is not secure',
        about: 'Browsers let only pages from https:// or from localhost use the graphics card, the microphone and storage.',
        steps: ['Open this page with https://.', 'On your own computer, use http://localhost instead of its name or IP address.'],
        cpu: false,
      };
    case 'no-webgpu':
      return {
        title: 'This browser does not offer WebGPU',
        about: 'The models run on the graphics card through WebGPU, and it is missing or switched off here.',
        steps: webgpu(),
        cpu: true,
      };
    case 'no-adapter':
      return {
        title: 'The browser offers no graphics card',
        about: 'WebGPU is there, but the browser found no adapter for it: the driver may be missing, too old, or on the browser’s block list.',
        steps: webgpu(),
        cpu: true,
      };
    case 'adapter-failed-self-test':
      return {
        title: 'The graphics card computes wrong results',
        about: 'Before a model is put on a card, the card must compute a few known results. This one got them wrong, so its captions could not be trusted.',
        steps: ['Update the graphics driver and the browser.', 'If the computer has two graphics cards, let the browser use the other one.', `Details: ${message}`],
        cpu: true,
      };
    case 'out-of-memory':
      return {
        title: 'The graphics card does not have enough memory',
        about: 'The chosen models do not fit into its free memory.',
        steps: ['Choose smaller models.', 'Close other tabs and programs that use the graphics card.', 'Restart the browser: that frees memory which was not released.'],
        cpu: true,
      };
    case 'storage-full':
      return {
        title: 'Not enough storage for the models',
        about: 'Browsers give each site a share of the disk. The share of this site is used up.',
        steps: ['Delete stored models: the list is under Models.', 'Free space on the disk.', 'Private windows get little storage: use a normal one.'],
        cpu: false,
      };
    case 'no-storage':
      return {
        title: 'This browser stores no files for the page',
        about: 'Downloaded models are stored in the browser’s private file system, which is missing here. The demo pack works without it.',
        steps: [name === 'Firefox' || name === 'Safari' ? `Leave the private window: ${name} stores no files there.` : 'Use a normal window of a recent browser.', 'Choose the demo pack.'],
        cpu: false,
      };
    case 'network':
      return {
        title: 'The download failed',
        about: 'What has arrived is kept; the next attempt continues from there.',
        steps: ['Check the connection, then try again.', 'For Gemma, accept the licence on its Hub page, then enter an access token under Models.', `Details: ${message}`],
        cpu: false,
      };
    case 'bad-model':
      return {
        title: 'A model cannot be used',
        about: message,
        steps: ['Delete it under Models and download it again.', 'Or choose the demo pack.'],
        cpu: false,
      };
    case 'bad-sound':
      return {
        title: 'This sound cannot be read',
        about: message,
        steps: ['wav, flac, mp3, ogg and webm (Vorbis), m4a and mp4 (AAC, ALAC) can be read.', 'Convert Opus first, for example with ffmpeg -i talk.webm talk.wav.'],
        cpu: false,
      };
    case 'device-lost':
      return {
        title: 'The graphics card was lost',
        about: 'The browser or the driver withdrew it, for example after a crash, a driver update or sleep. The captions so far are kept.',
        steps: ['Try again: the page requests the card once more.'],
        cpu: true,
      };
    case 'no-microphone':
      return {
        title: 'No sound to listen to',
        about: 'The browser gave the page no access to a microphone or to the sound of a tab.',
        steps: [
          'Allow the microphone for this site: the icon is to the left of the address.',
          system === 'macOS' ? 'System Settings, Privacy & Security, Microphone: allow the browser.' : 'Check whether the privacy settings of the system let the browser use it.',
          'For a tab: choose a tab, not a window, and switch on “Also share tab audio”. Firefox and Safari cannot share the sound of a tab.',
          `Details: ${message}`,
        ],
        cpu: false,
      };
    case 'no-token':
      return { title: 'The server needs a token', about: message, steps: ['Ask whoever runs the server for a token, and reload the page.'], cpu: false };
    case 'session-lost':
      return {
        title: 'The server does not know this talk any more',
        about: 'It was started again. The captions so far are kept.',
        steps: ['Try again: the talk goes on with a new session.'],
        cpu: false,
      };
    case 'busy':
      return { title: 'Still busy', about: message, steps: ['Wait a moment, then try again.'], cpu: false };
    case 'bad-option':
      return { title: 'This choice does not work', about: message, steps: ['Choose the demo pack, or other models.'], cpu: false };
    default:
      return { title: 'Something went wrong', about: message || 'No details are known.', steps: ['Reload the page.'], cpu: true };
  }
}
