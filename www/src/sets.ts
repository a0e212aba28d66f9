// The models that can be chosen, in sets.

import type { LoadOptions, Model } from 'alignatt';
import type { ModelSet } from './settings';

export interface Bundle {
  name: string;
  /** What the set is good for, in a sentence. */
  about: string;
  asr: Model;
  aligner: Model;
  mt: Model;
  /** The policy for a translator without measured heads. Presets need heads. */
  policy?: string;
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
  e2b: {
    name: 'Qwen3 + Gemma-4 E2B',
    about:
      'Real speech, with the smaller translation model. Its attention heads have not been measured, so words are shown once two drafts in a row agree on them.',
    asr: 'Qwen/Qwen3-ASR-0.6B',
    aligner: 'Qwen/Qwen3-ForcedAligner-0.6B',
    mt: 'google/gemma-4-E2B-it',
    policy: 'local-agreement',
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

/** The package's options for a set. */
export function options(set: Bundle, preset: 'low' | 'high'): Pick<LoadOptions, 'asr' | 'aligner' | 'mt' | 'policy' | 'preset'> {
  const { asr, aligner, mt, policy } = set;
  return { asr, aligner, mt, ...(policy ? { policy } : { preset }) };
}
