// The units of a text and their positions: words with their punctuation, or single characters in
// Chinese, Cantonese and Japanese. They are those of src/text/units.rs and of
// src/faces/cli/explain/run.rs; tests/fixtures/units.json compares both sides.

export interface Place {
  start: number;
  end: number;
}

/** The blocks of CJK ideographs and kana. The punctuation in them is not CJK. */
const BLOCKS =
  '\\u3005-\\u3007\\u3021-\\u3029\\u3031-\\u3035\\u3038-\\u303c\\u3041-\\u30ff\\u31f0-\\u31ff' +
  '\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\uff66-\\uff9f\\u{1b000}-\\u{1b16f}\\u{20000}-\\u{3fffd}';
const CJK = `(?![\\p{P}\\p{S}])[${BLOCKS}]`;
const VISIBLE = '\\P{White_Space}';
const IN_WORD = `(?!${CJK})[\\p{Alphabetic}\\p{N}\\p{M}_'’-]`;
/** A number such as 3.5, 1,200 or 10:30 is one unit. */
const IN_NUMBER = '(?<=[0-9])[.,:/](?=[0-9])';
const CHARACTERS = new RegExp(`(?:${IN_WORD}|${IN_NUMBER})+|${VISIBLE}`, 'gu');
const WORDS = new RegExp(`${CJK}|(?:(?!${CJK})${VISIBLE})+`, 'gu');
const ONE_CJK = new RegExp(`^${CJK}$`, 'u');
const OPENING = /^["“‘„«([「『（《〈【]+$/u;
const MARKS = /^[\p{P}\p{S}]+$/u;

export const isCjk = (character: string): boolean => ONE_CJK.test(character);

export const countsCharacters = (language: string): boolean => ['zh', 'yue', 'ja'].includes(language);

/** Punctuation alone belongs to the unit before it; opening marks belong to the unit after them. */
export function units(text: string, language: string): Place[] {
  const found: Place[] = [];
  let opened: number | undefined;
  for (const match of text.matchAll(countsCharacters(language) ? CHARACTERS : WORDS)) {
    const end = match.index + match[0].length;
    const last = found.at(-1);
    if (OPENING.test(match[0]) && end < text.trimEnd().length) {
      opened ??= match.index;
    } else if (MARKS.test(match[0]) && opened === undefined && last) {
      last.end = end;
    } else {
      found.push({ start: opened ?? match.index, end });
      opened = undefined;
    }
  }
  return found;
}

/** A unit without its final punctuation, which may be shown later. */
export function letters(text: string, place: Place): Place {
  const body = text.slice(place.start, place.end).replace(/[\p{P}\p{S}\s]+$/u, '');
  return body ? { start: place.start, end: place.start + body.length } : place;
}

/** The form in which two spellings of a word are compared. */
export const folded = (word: string): string => word.replace(/[^\p{Alphabetic}\p{N}]/gu, '').toLowerCase();
