// What the reader chose, stored for the next visit.

export type Language = 'de' | 'it' | 'zh';
export type Preset = 'low' | 'high';
export const MODEL_SETS = ['demo', 'gemma3', 'e2b', 'e4b'] as const;
export type ModelSet = (typeof MODEL_SETS)[number];

export interface Settings {
  language: Language;
  preset: Preset;
  models: ModelSet;
  /** What translates, where a server offers to. */
  engine: 'tab' | 'server';
  /** Files are played, and fed at the pace at which they play. */
  aloud: boolean;
  /** Compute on the CPU, as the reader chose on the page of a failure. */
  cpu: boolean;
  /** Names and terms of the talk, one a line: `term` or `term = translation`. */
  terms: string;
}

export const LANGUAGES: { [code in Language]: string } = { de: 'German', it: 'Italian', zh: 'Chinese' };
const DEFAULTS: Settings = { language: 'de', preset: 'low', models: 'demo', engine: 'server', aloud: true, cpu: false, terms: '' };
const KEY = 'alignatt';

export function load(): Settings {
  try {
    return { ...DEFAULTS, ...valid(JSON.parse(localStorage.getItem(KEY) ?? '{}')) };
  } catch {
    return { ...DEFAULTS };
  }
}

export function save(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Without storage, the page still translates.
  }
}

function valid(stored: Partial<Settings>): Partial<Settings> {
  const found: Partial<Settings> = {};
  if (stored.language && stored.language in LANGUAGES) found.language = stored.language;
  if (stored.preset === 'low' || stored.preset === 'high') found.preset = stored.preset;
  if (stored.models && MODEL_SETS.includes(stored.models)) found.models = stored.models;
  if (stored.engine === 'tab') found.engine = stored.engine;
  if (stored.aloud === false) found.aloud = false;
  if (stored.cpu === true) found.cpu = true;
  if (typeof stored.terms === 'string') found.terms = stored.terms;
  return found;
}

/** The token of the server, which this tab keeps. */
export function serverToken(): string | undefined {
  try {
    return sessionStorage.getItem(`${KEY}-token`) ?? undefined;
  } catch {
    return undefined;
  }
}

export function keepServerToken(token: string): void {
  try {
    sessionStorage.setItem(`${KEY}-token`, token);
  } catch {
    // Without storage, a reload of the page asks again.
  }
}
