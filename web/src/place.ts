// Names of models.

import { AlignattError } from './errors.js';

/**
 * One of three: `'demo'`, the small models that come with the package; a Hub id `owner/name`, or
 * `owner/name/file.gguf` for a GGUF file, each also with `@revision`; or a folder of files on a
 * server. `files` names the files of the folder if they are not the usual ones, such as a GGUF
 * file.
 */
export type Model = 'demo' | (string & {}) | { url: string; files?: string[] };

/** A model on the Hub, or a folder of files on a server. */
export type Place = { repo: string; revision: string; file?: string } | { url: string; files?: string[] };

/** Parses the name of a model. Errors: `bad-option` if it names none. */
export function placeOf(model: Model): Place | 'demo' {
  if (model === 'demo') return 'demo';
  if (typeof model !== 'string') {
    return { url: new URL(model.url, location.href).href, ...(model.files && { files: model.files }) };
  }
  const [, repo, file, revision = 'main'] =
    /^([\w.-]+\/[\w.-]+)(?:\/([\w./-]+\.gguf))?(?:@([\w./-]+))?$/i.exec(model) ?? [];
  if (repo && !model.includes('..')) return { repo, revision, ...(file && { file }) };
  const remedy = 'write owner/name, owner/name@revision or owner/name/file.gguf';
  throw new AlignattError('bad-option', `${JSON.stringify(model)} is not the name of a model: ${remedy}`);
}

/** The name of a model in messages and lists. */
export function label(place: Place): string {
  if (!('repo' in place)) return place.url;
  const name = place.file ? `${place.repo}/${place.file}` : place.repo;
  return place.revision === 'main' ? name : `${name}@${place.revision}`;
}
