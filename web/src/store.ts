// Models in the browser's private file system (OPFS). Each model has a folder. All tabs of a site
// share them.
//
//   alignatt/<model>/model.json                the model's files; written last, when all are there
//   alignatt/<model>/partial.json              the same while the model is being fetched
//   alignatt/<model>/<name>.<tag>              a file, complete and with the right hash
//   alignatt/<model>/<name>.<tag>.part, .done  a file being fetched, and a byte for each done piece

import { AlignattError } from './errors.js';
import { label, type Place } from './place.js';

export interface StoredFile {
  name: string;
  size: number;
  tag: string;
}

export interface Manifest {
  place: Place;
  files: StoredFile[];
}

/** Bytes that are fetched, and resumed, as one. */
export const PIECE = 8 << 20;

const ROOT = 'alignatt';
const OPEN_TRIES = 50;
const OPEN_WAIT_MS = 100;
const COMPLETE = 'model.json';
const PARTIAL = 'partial.json';

/** The name of a model's folder. The name of its lock contains it. */
export function folderName(place: Place): string {
  const name = encodeURIComponent('repo' in place ? repoName(place) : place.url);
  if (name.length <= 200) return name;
  throw new AlignattError('bad-option', `the address ${label(place)} is too long`);
}

function repoName({ repo, revision, file }: { repo: string; revision: string; file?: string }): string {
  return file ? `${repo}/${file}@${revision}` : `${repo}@${revision}`;
}

/**
 * The name of the lock that a tab holds while it changes a model's folder, so that two tabs do not
 * fetch the same file.
 */
export function lockName(place: Place): string {
  return `${ROOT}/${folderName(place)}`;
}

export class ModelFolder {
  readonly #folder: FileSystemDirectoryHandle;

  private constructor(folder: FileSystemDirectoryHandle) {
    this.#folder = folder;
  }

  static async create(place: Place): Promise<ModelFolder> {
    const root = await (await origin()).getDirectoryHandle(ROOT, { create: true });
    return new ModelFolder(await root.getDirectoryHandle(folderName(place), { create: true }));
  }

  static async find(place: Place): Promise<ModelFolder | undefined> {
    const root = await present((await origin()).getDirectoryHandle(ROOT));
    const folder = root && (await present(root.getDirectoryHandle(folderName(place))));
    return folder && new ModelFolder(folder);
  }

  static async all(): Promise<ModelFolder[]> {
    const root = await present((await origin()).getDirectoryHandle(ROOT));
    if (!root) return [];
    const folders: ModelFolder[] = [];
    for await (const entry of root.values()) {
      if (entry.kind === 'directory') folders.push(new ModelFolder(entry as FileSystemDirectoryHandle));
    }
    return folders;
  }

  /** The list of the model's files. Undefined unless all of them are stored. */
  complete(): Promise<Manifest | undefined> {
    return this.#manifest(COMPLETE);
  }

  /** The list of the files while the model is being fetched. */
  partial(): Promise<Manifest | undefined> {
    return this.#manifest(PARTIAL);
  }

  async begin(manifest: Manifest): Promise<void> {
    await this.#write(PARTIAL, manifest);
  }

  /**
   * Marks the model as complete: all files of `manifest` are stored. Deletes all files that do not
   * belong to it.
   */
  async finish(manifest: Manifest): Promise<void> {
    await this.#write(COMPLETE, manifest);
    const kept = new Set([COMPLETE, ...manifest.files.map(fileName)]);
    const stale: string[] = [];
    for await (const name of this.#folder.keys()) {
      if (!kept.has(name)) stale.push(name);
    }
    for (const name of stale) await this.delete(name);
  }

  /** A complete file, or undefined if it isn't stored. */
  async file(file: StoredFile): Promise<File | undefined> {
    const handle = await present(this.#folder.getFileHandle(fileName(file)));
    const found = await handle?.getFile();
    return found?.size === file.size ? found : undefined;
  }

  /** Bytes of a file that need not be fetched. */
  async bytesOf(file: StoredFile): Promise<number> {
    if (await this.file(file)) return file.size;
    const done = await present(this.#folder.getFileHandle(`${fileName(file)}.done`));
    // Another tab may be writing at this moment. Then the number is not known.
    const flags = await done?.getFile().then((found) => found.arrayBuffer()).catch(() => undefined);
    return flags ? piecesLen(new Uint8Array(flags), file.size) : 0;
  }

  handle(name: string): Promise<FileSystemFileHandle> {
    return this.#folder.getFileHandle(name, { create: true });
  }

  /**
   * Opens a file for writing, by one worker at a time. A worker that was just ended may still hold
   * the file for a moment, so this retries.
   */
  async open(name: string): Promise<FileSystemSyncAccessHandle> {
    const handle = await this.handle(name);
    for (let tries = 0; ; tries += 1) {
      try {
        return await handle.createSyncAccessHandle();
      } catch (error) {
        if ((error as Error).name !== 'NoModificationAllowedError' || tries === OPEN_TRIES) throw error;
        await new Promise((wake) => setTimeout(wake, OPEN_WAIT_MS));
      }
    }
  }

  async delete(name: string): Promise<void> {
    await present(this.#folder.removeEntry(name));
  }

  async #manifest(name: string): Promise<Manifest | undefined> {
    const handle = await present(this.#folder.getFileHandle(name));
    if (!handle) return undefined;
    try {
      return JSON.parse(await (await handle.getFile()).text()) as Manifest;
    } catch {
      // Half written when the browser was closed: counts as missing.
      return undefined;
    }
  }

  async #write(name: string, manifest: Manifest): Promise<void> {
    const access = await this.open(name);
    try {
      const bytes = new TextEncoder().encode(JSON.stringify(manifest));
      access.truncate(0);
      access.write(bytes, { at: 0 });
      access.flush();
    } finally {
      access.close();
    }
  }
}

export function fileName(file: StoredFile): string {
  // A shard may be in a subfolder of its repository. Here all files of a model are in one folder.
  return `${encodeURIComponent(file.name)}.${file.tag}`;
}

/** Deletes a model. Errors: `busy` while a tab fetches it. */
export async function removeModel(place: Place): Promise<void> {
  await navigator.locks.request(lockName(place), { ifAvailable: true }, async (lock) => {
    if (!lock) throw new AlignattError('busy', `${label(place)} is being fetched; stop the download first`);
    const root = await present((await origin()).getDirectoryHandle(ROOT));
    if (root) await present(root.removeEntry(folderName(place), { recursive: true }));
  });
}

function piecesLen(flags: Uint8Array, size: number): number {
  return flags.reduce((sum, flag, at) => sum + (flag ? Math.min(PIECE, size - at * PIECE) : 0), 0);
}

/**
 * Asks the browser not to clear the storage on its own. The browser may refuse; everything still
 * works.
 */
export async function keepStorage(): Promise<void> {
  await navigator.storage?.persist?.().catch(() => false);
}

/** Errors: `storage-full` if the page has no private file system. */
export async function needStorage(): Promise<void> {
  await origin();
}

async function origin(): Promise<FileSystemDirectoryHandle> {
  try {
    return await navigator.storage.getDirectory();
  } catch (cause) {
    const remedy = 'use a normal window, not a private one, and a secure address (https or localhost)';
    throw new AlignattError('storage-full', `this browser gives the page no private file system: ${remedy}`, { cause });
  }
}

/** The result of `asked`, or undefined if the file or folder does not exist. */
async function present<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if ((error as Error).name === 'NotFoundError') return undefined;
    throw error;
  }
}
