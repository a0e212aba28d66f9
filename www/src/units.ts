// The units of a text and their positions: words with their punctuation, or single characters in
// Chinese and Japanese. They follow src/text/units.rs, which knows some rarer CJK characters in
// addition.

export interface Place {
  start: number;
  end: number;
}

const CJK = '\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff';
const RUN = new RegExp(`(?:(?![${CJK}])[\\p{L}\\p{N}\\p{M}_'’-])+(?:[.,:/]\\p{Nd}+)*|\\S`, 'gu');
const OPENING = /^["“‘„«([「『（《〈【]+$/u;
const MARKS = /^[\p{P}\p{S}]+$/u;

export const countsCharacters = (language: string): boolean => language === 'zh' || language === 'ja';

/** Punctuation alone belongs to the unit before it; opening marks belong to the unit after them. */
export function units(text: string, language: string): Place[] {
  const found: Place[] = [];
  let opened: number | undefined;
  for (const match of text.matchAll(countsCharacters(language) ? RUN : /\S+/gu)) {
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
export const folded = (word: string): string => word.replace(/[^\p{L}\p{N}]/gu, '').toLowerCase();
