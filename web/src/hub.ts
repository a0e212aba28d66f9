// The files of a model and where they are: listed by the Hugging Face Hub, or probed in a plain
// folder on a server.

import { AlignattError } from './errors.js';
import { get, getText, withRetries, type Site } from './net.js';
import type { Place } from './place.js';

/** How the Hub is reached. */
export interface Access {
  /** Another server with the same API as the Hub. */
  endpoint?: string;
  /** Access token of an account that may read the model. */
  token?: string;
}

export interface RemoteFile {
  name: string;
  url: string;
  size: number;
  /** Changes when the content changes. Part of the file's name in the store. */
  tag: string;
  /** SHA-256 of the content, where it is known: for large files on the Hub. */
  sha256?: string;
  /** Git's blob id of the content: for small files on the Hub. */
  git?: string;
  /** True if the server answers range requests. */
  ranges: boolean;
}

export interface Listing {
  site: Site;
  files: RemoteFile[];
}

const ENDPOINT = 'https://huggingface.co';

/**
 * The names of a model's files, from the list that the native program uses too. The build defines
 * it.
 */
declare const MODEL_FILES: { config: string; single: string; index: string; small: string[] };
const { config: CONFIG, single: SINGLE, index: INDEX, small: SMALL_FILES } = MODEL_FILES;
/** Heads files of any direction. They are fetched where a listing names them. */
const HEADS = /^heads\.[a-z-]+\.json$/;
const MAX_SHARDS = 1024;

/**
 * The files that a model needs, small ones first, so that a wrong model is rejected before
 * gigabytes are fetched.
 */
export async function listing(place: Place, access: Access): Promise<Listing> {
  const found = 'repo' in place ? await hubListing(place, access) : await folderListing(place);
  found.files.sort((a, b) => a.size - b.size);
  return found;
}

interface Sibling {
  rfilename: string;
  size?: number;
  blobId?: string;
  lfs?: { sha256?: string; size?: number };
}

type HubPlace = Extract<Place, { repo: string }>;

async function hubListing(place: HubPlace, access: Access): Promise<Listing> {
  const endpoint = (access.endpoint ?? ENDPOINT).replace(/\/+$/, '');
  const { repo, revision } = place;
  const site: Site = { label: repo, page: `${endpoint}/${repo}` };
  if (access.token) site.token = access.token;
  const url = `${endpoint}/api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const { sha, siblings } = parseListing(await getText(site, url), url);
  const names = siblings.map((file) => file.rfilename);
  const address = (name: string) => `${endpoint}/${repo}/resolve/${sha}/${escaped(name)}`;
  const isNeeded = place.file
    ? isPartOf(repo, place.file, names)
    : await isOfCheckpoint(repo, names, () => shardNames(site, address(INDEX)));
  const files = siblings.filter((file) => isNeeded(file.rfilename)).map((file): RemoteFile => {
    const { rfilename: name, lfs, blobId } = file;
    const size = lfs?.size ?? file.size;
    const tag = lfs?.sha256 ?? blobId;
    if (size === undefined || !tag || !/^[0-9a-f]{40,64}$/i.test(tag)) {
      throw new AlignattError('network', `${url} gives no size or no hash for ${name}`);
    }
    const hash = lfs?.sha256 ? { sha256: lfs.sha256 } : { git: tag };
    return { name, url: address(name), size, tag, ...hash, ranges: true };
  });
  return { site, files };
}

/** Which names are files of the repository's checkpoint. Errors: some are missing. */
async function isOfCheckpoint(
  repo: string,
  names: string[],
  shards: () => Promise<string[]>,
): Promise<(name: string) => boolean> {
  for (const name of [CONFIG, names.includes(INDEX) ? INDEX : SINGLE]) {
    if (!names.includes(name)) throw wrongModel(repo, name);
  }
  const weights = names.includes(SINGLE) ? [SINGLE] : [INDEX, ...(await shards())];
  for (const name of weights) if (!names.includes(name)) throw wrongModel(repo, name);
  return (name) => SMALL_FILES.includes(name) || weights.includes(name) || HEADS.test(name);
}

/**
 * Which names are parts of a GGUF file: itself, or all of a split one. Errors: some are missing.
 */
function isPartOf(repo: string, file: string, names: string[]): (name: string) => boolean {
  const [, stem, count] = /^(.*)-\d{5}-of-(\d{5})\.gguf$/.exec(file) ?? [];
  const len = Math.min(Number(count ?? 1), MAX_SHARDS);
  const part = (at: number) => `${stem}-${String(at + 1).padStart(5, '0')}-of-${count}.gguf`;
  const parts = stem === undefined ? [file] : Array.from({ length: len }, (_, at) => part(at));
  for (const name of parts) if (!names.includes(name)) throw wrongModel(repo, name);
  return (name) => parts.includes(name);
}

function parseListing(text: string, url: string): { sha: string; siblings: Sibling[] } {
  try {
    const { sha, siblings } = JSON.parse(text) as { sha?: unknown; siblings?: unknown };
    if (typeof sha === 'string' && /^[0-9a-f]{40}$/.test(sha) && Array.isArray(siblings)) return { sha, siblings };
  } catch {
    // Reported below.
  }
  throw new AlignattError('network', `the answer to ${url} is not a listing of a model`);
}

async function folderListing(place: { url: string; files?: string[] }): Promise<Listing> {
  const folder = place.url.endsWith('/') ? place.url : `${place.url}/`;
  const site: Site = { label: place.url };
  const find = (name: string) => probe(site, folder, name);
  if (place.files) {
    const files = await Promise.all(place.files.map((name) => find(plainName(name)).then(needed(place.url, name))));
    return { site, files };
  }
  const config = needed(place.url, CONFIG)(await find(CONFIG));
  const small = await Promise.all(SMALL_FILES.filter((name) => name !== CONFIG).map(find));
  const files = [config, ...small.filter((file) => file !== undefined)];
  const single = await find(SINGLE);
  if (single) return { site, files: [...files, single] };
  const index = needed(place.url, SINGLE)(await find(INDEX));
  const shards = await Promise.all(
    (await shardNames(site, index.url)).map((name) => find(name).then(needed(place.url, name))),
  );
  return { site, files: [...files, index, ...shards] };
}

/**
 * Asks for one byte of a file to learn its size and whether the server answers range requests.
 * Returns undefined if there is no such file.
 */
async function probe(site: Site, folder: string, name: string): Promise<RemoteFile | undefined> {
  const url = folder + escaped(name);
  const response = await withRetries(site, async () => {
    const { response, body } = await get(site, url, { from: 0, to: 1, passed: [404] });
    await body.return(undefined);
    return response;
  });
  if (response.status === 404) return undefined;
  const ranges = response.status === 206;
  const stated = ranges
    ? response.headers.get('Content-Range')?.split('/')[1]
    : response.headers.get('Content-Encoding')
      ? undefined
      : response.headers.get('Content-Length');
  const size = Number(stated ?? NaN);
  if (!Number.isSafeInteger(size)) throw new AlignattError('network', `${url}: the server does not state its size`);
  const version = response.headers.get('ETag') ?? response.headers.get('Last-Modified') ?? '';
  return { name, url, size, tag: `${size}-${version.replace(/[^A-Za-z0-9]/g, '').slice(0, 80)}`, ranges };
}

/** The names of the files that the index assigns tensors to. */
async function shardNames(site: Site, url: string): Promise<string[]> {
  let names: string[];
  try {
    const { weight_map: map } = JSON.parse(await getText(site, url)) as { weight_map: Record<string, string> };
    names = [...new Set(Object.values(map))];
  } catch (error) {
    if (error instanceof AlignattError) throw error;
    throw new AlignattError('bad-model', `${url} is not an index of weights`);
  }
  const wrong = names.find((name) => !isShard(name));
  if (wrong === undefined && names.length > 0 && names.length <= MAX_SHARDS) return names;
  const what = wrong === undefined ? `${names.length} files` : `${JSON.stringify(wrong)}, which is not a file of the model`;
  throw new AlignattError('bad-model', `${url} names ${what}`);
}

/** Whether the name is a safetensors file in the model's folder or below it. */
function isShard(name: unknown): name is string {
  if (typeof name !== 'string' || name.length > 1024 || !name.endsWith('.safetensors')) return false;
  return name.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && !/[\\:\0]/.test(part));
}

/** A file's name, escaped for use in an address. */
function escaped(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/');
}

function plainName(name: string): string {
  if (/^\w[\w.-]*$/.test(name)) return name;
  throw new AlignattError('bad-option', `${JSON.stringify(name)} is not a plain file name`);
}

function needed(label: string, name: string): (file: RemoteFile | undefined) => RemoteFile {
  return (file) => {
    if (file) return file;
    throw wrongModel(label, name);
  };
}

function wrongModel(label: string, name: string): AlignattError {
  const remedy = 'name a Qwen3-ASR, Qwen3-ForcedAligner, Gemma-3, Gemma-4 or Qwen3 model in safetensors, or a GGUF file of one';
  return new AlignattError('bad-model', `${label} has no ${name}: ${remedy}`);
}
