// Names of models.

import { AlignattError } from './errors.js';

/**
 * One of three: `'demo'`, the small models that come with the package; a Hub id `owner/name` or
 * `owner/name@revision`; or a folder of files on a server. `files` names the files of the folder if
 * they are not the usual ones.
 */
export type Model = 'demo' | (string & {}) | { url: string; files?: string[] };

/** A model on the Hub, or a folder of files on a server. */
export type Place = { repo: string; revision: string } | { url: string; files?: string[] };

/** Parses the name of a model. Errors: `bad-option` if it names none. */
export function placeOf(model: Model): Place | 'demo' {
  if (model === 'demo') return 'demo';
  if (typeof model !== 'string') {
    return { url: new URL(model.url, location.href).href, ...(model.files && { files: model.files }) };
  }
  const [, repo, revision = 'main'] = /^([\w.-]+\/[\w.-]+)(?:@([\w./-]+))?$/.exec(model) ?? [];
  if (repo && !repo.includes('..') && !revision.includes('..')) return { repo, revision };
  const remedy = 'write owner/name or owner/name@revision';
  throw new AlignattError('bad-option', `${JSON.stringify(model)} is not the name of a model: ${remedy}`);
}

/** The name of a model in messages and lists. */
export function label(place: Place): string {
  if (!('repo' in place)) return place.url;
  return place.revision === 'main' ? place.repo : `${place.repo}@${place.revision}`;
}
