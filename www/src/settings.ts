// What the reader chose, kept for the next visit.

export type Language = 'de' | 'it' | 'zh';
export type Preset = 'low' | 'high';
export type ModelSet = 'demo' | 'e2b' | 'e4b';

export interface Settings {
  language: Language;
  preset: Preset;
  models: ModelSet;
  /** Files are heard at the pace at which they play. */
  aloud: boolean;
  /** Once the reader said so on a failure page: the CPU. */
  cpu: boolean;
}

export const LANGUAGES: { [code in Language]: string } = { de: 'German', it: 'Italian', zh: 'Chinese' };
const DEFAULTS: Settings = { language: 'de', preset: 'low', models: 'demo', aloud: true, cpu: false };
const KEY = 'alignatt';

export function load(): Settings {
  try {
    return { ...DEFAULTS, ...valid(JSON.parse(localStorage.getItem(KEY) ?? '{}')) };
  } catch {
    return { ...DEFAULTS };
  }
}

export function keep(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // A browser that keeps nothing still translates.
  }
}

function valid(stored: Partial<Settings>): Partial<Settings> {
  const found: Partial<Settings> = {};
  if (stored.language && stored.language in LANGUAGES) found.language = stored.language;
  if (stored.preset === 'low' || stored.preset === 'high') found.preset = stored.preset;
  if (stored.models === 'demo' || stored.models === 'e2b' || stored.models === 'e4b') found.models = stored.models;
  if (stored.aloud === false) found.aloud = false;
  if (stored.cpu === true) found.cpu = true;
  return found;
}
