// The page splits text into the same units as the program. The cases are shared with the tests of
// src/text/units.rs and src/faces/cli/explain/run.rs. No browser is needed.

import { expect, test } from '@playwright/test';
import { readFileSync } from 'node:fs';
import { countsCharacters, isCjk, units } from '../../www/src/units.js';
import { repo } from './browser.js';

interface Shared {
  counts_characters: string[];
  /** Ranges of code points, both ends included. */
  cjk: [from: number, to: number][];
  units: { language: string; text: string; units: string[] }[];
}

const shared = JSON.parse(readFileSync(repo('tests/fixtures/units.json'), 'utf8')) as Shared;

test('every code point is CJK on the page if it is in the program', () => {
  const ranges: [number, number][] = [];
  for (let code = 0; code <= 0x10ffff; code += 1) {
    if (!isCjk(String.fromCodePoint(code))) continue;
    const last = ranges.at(-1);
    if (last && last[1] === code - 1) last[1] = code;
    else ranges.push([code, code]);
  }
  expect(ranges).toEqual(shared.cjk);
});

test('the units of a text are those of the program', () => {
  for (const language of ['de', 'it', 'zh', 'yue', 'ja', 'ko']) {
    expect(countsCharacters(language), language).toBe(shared.counts_characters.includes(language));
  }
  for (const { language, text, units: wanted } of shared.units) {
    const found = units(text, language).map(({ start, end }) => text.slice(start, end));
    expect(found, `${language}: ${text}`).toEqual(wanted);
  }
});
