// The models that can be chosen, in sets.

import type { LoadOptions, Model } from 'alignatt';
import type { Language, ModelSet } from './settings';

export interface Bundle {
  name: string;
  /** What the set is good for, in a sentence. */
  about: string;
  asr: Model;
  aligner: Model;
  mt: Model;
  /** The languages into which the translator's heads have not been measured. Presets need heads. */
  unmeasured?: Language[];
}

export const SETS: { [name in ModelSet]: Bundle } = {
  demo: {
    name: 'Demo pack',
    about:
      'Three small models that come with the page. They know a controlled English of about 600 words: they show that the program runs on your computer, and say nothing about translation quality.',
    asr: 'demo',
    aligner: 'demo',
    mt: 'demo',
  },
  gemma3: {
    name: 'Demo speech + Gemma-3 270M',
    about:
      'The smallest real translation model, a base model: its German is simple and often wrong. Its attention heads were measured into German. Speech is still recognised by the demo pack, which knows about 600 words.',
    asr: 'demo',
    aligner: 'demo',
    mt: 'google/gemma-3-270m',
    unmeasured: ['it', 'zh'],
  },
  e2b: {
    name: 'Qwen3 + Gemma-4 E2B',
    about:
      'Real speech, with the smaller translation model. Its attention heads were measured into German and Italian; into Chinese, words are shown once two drafts in a row agree on them.',
    asr: 'Qwen/Qwen3-ASR-0.6B',
    aligner: 'Qwen/Qwen3-ForcedAligner-0.6B',
    mt: 'google/gemma-4-E2B-it',
    unmeasured: ['zh'],
  },
  e4b: {
    name: 'Qwen3 + Gemma-4 E4B',
    about: 'Real speech, with the translation model whose attention heads were measured. All its weights must fit on the graphics card.',
    asr: 'Qwen/Qwen3-ASR-0.6B',
    aligner: 'Qwen/Qwen3-ForcedAligner-0.6B',
    mt: 'google/gemma-4-E4B-it',
  },
};

export const SLOTS = ['asr', 'aligner', 'mt'] as const;
export const SLOT_NAMES = { asr: 'Speech', aligner: 'Word times', mt: 'Translation' };

/** The package's options for a set and a language to translate into. */
export function options(set: Bundle, to: Language, preset: 'low' | 'high'): Pick<LoadOptions, 'asr' | 'aligner' | 'mt' | 'policy' | 'preset'> {
  const { asr, aligner, mt, unmeasured } = set;
  return { asr, aligner, mt, ...(unmeasured?.includes(to) ? { policy: 'local-agreement' } : { preset }) };
}

/** The models of a set that do not come with the page. */
export function fetched(set: Bundle): Model[] {
  return SLOTS.map((slot) => set[slot]).filter((model) => model !== 'demo');
}
