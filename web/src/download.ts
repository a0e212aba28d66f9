// Fetches a model into the store. For workers only: writing in place needs synchronous file access.
//
// A file is fetched in pieces, several at a time. Each piece is marked when it is on disk, so that
// an interrupted fetch continues where it stopped, in this visit or the next. The hash is computed
// in the order of the pieces, while they arrive. A file gets its final name only when it is
// complete and its hash is right.

import { createSHA256, type IHasher } from 'hash-wasm';
import { asError, AlignattError } from './errors.js';
import { listing, type Access, type RemoteFile } from './hub.js';
import { endedEarly, get, withRetries, type Site } from './net.js';
import { label, type Place } from './place.js';
import { Meter, type FetchProgress } from './progress.js';
import { fileName, lockName, ModelFolder, needStorage, PIECE, type Manifest } from './store.js';

const PARALLEL = 4;

/**
 * Fetches the missing parts of a model's newest version into the store. One tab fetches at a time;
 * others wait.
 */
export async function fetchModel(
  place: Place,
  access: Access,
  report: (progress: FetchProgress) => void,
): Promise<Manifest> {
  await needStorage();
  return navigator.locks.request(lockName(place), async () => {
    const { site, files } = await listing(place, access);
    const manifest: Manifest = { place, files: files.map(({ name, size, tag }) => ({ name, size, tag })) };
    const folder = await ModelFolder.create(place);
    const there = await Promise.all(files.map((file) => folder.bytesOf(file)));
    const total = sum(files.map((file) => file.size));
    const done = sum(there);
    await checkRoom(label(place), total - done);
    const meter = new Meter(total, done, report);
    await folder.begin(manifest);
    try {
      for (const file of files) {
        meter.file(file.name);
        if (!(await folder.file(file))) await fetchFile(site, file, folder, meter);
      }
      await folder.finish(manifest);
    } catch (error) {
      throw explained(error, label(place));
    }
    meter.add(0);
    return manifest;
  });
}

/**
 * Fetches a file into `folder` and checks its hash. If the hash is wrong, the file is fetched once
 * more.
 */
async function fetchFile(site: Site, file: RemoteFile, folder: ModelFolder, meter: Meter): Promise<void> {
  const whole = fileName(file);
  for (let attempt = 0; attempt < 2; attempt += 1) {
    const part = await Part.open(folder, whole, file.size, file.ranges ? PIECE : Math.max(file.size, 1));
    let right: boolean;
    try {
      right = await fetchPieces(site, file, part, meter);
    } finally {
      part.close();
    }
    if (right) {
      await (await folder.handle(`${whole}.part`)).move(whole);
      await folder.delete(`${whole}.done`);
      return;
    }
    await folder.delete(`${whole}.part`);
    await folder.delete(`${whole}.done`);
    meter.add(-file.size);
  }
  const what = `${file.name} arrived with a wrong hash twice: something between this computer and the server changes it`;
  throw new AlignattError('network', `${site.label}: ${what}`);
}

/** Fetches all missing pieces. Returns whether the hash is right. */
async function fetchPieces(site: Site, file: RemoteFile, part: Part, meter: Meter): Promise<boolean> {
  const hash = file.sha256 ? await createSHA256() : undefined;
  const missing = part.missing();
  let hashed = 0;
  const hashReady = () => {
    while (hash && hashed < part.piecesLen && part.has(hashed)) part.hash(hashed++, hash);
  };
  hashReady();
  let failed = false;
  const lane = async () => {
    for (let at = missing.shift(); at !== undefined && !failed; at = missing.shift()) {
      await fetchPiece(site, file, part, at, meter);
      hashReady();
    }
  };
  // The file is closed only after all lanes have ended. The first error is the one that is
  // reported.
  const lanes = Array.from({ length: Math.min(PARALLEL, missing.length) }, () =>
    lane().catch((error: unknown) => {
      failed = true;
      throw error;
    }),
  );
  const broken = (await Promise.allSettled(lanes)).find((lane) => lane.status === 'rejected');
  if (broken) throw broken.reason;
  if (hash) return hash.digest('hex') === file.sha256?.toLowerCase();
  return !file.git || (await gitName(part)) === file.git.toLowerCase();
}

async function fetchPiece(site: Site, file: RemoteFile, part: Part, piece: number, meter: Meter): Promise<void> {
  const [from, to] = part.span(piece);
  let at = from;
  await withRetries(site, async (progressed) => {
    if (at >= to) return;
    const { response, body } = await get(site, file.url, file.ranges ? { from: at, to } : {});
    const range = response.headers.get('Content-Range');
    if (range && !range.startsWith(`bytes ${at}-`)) {
      throw new AlignattError('network', `${file.url}: the server sent another range than the one requested`);
    }
    // A server that ignores the range sends the file from its beginning.
    let skip = response.status === 206 ? 0 : at;
    for await (const chunk of body) {
      const wanted = chunk.subarray(Math.min(skip, chunk.length), skip + (to - at));
      skip = Math.max(0, skip - chunk.length);
      if (wanted.length === 0) continue;
      part.write(wanted, at);
      at += wanted.length;
      meter.add(wanted.length);
      progressed(wanted.length);
      if (at >= to) break;
    }
    if (at < to) throw endedEarly(file.url, at, file.size);
  });
  part.mark(piece);
}

/** A file that is being fetched, with the marks of the pieces that are on disk. */
class Part {
  readonly piecesLen: number;
  readonly #size: number;
  readonly #piece: number;
  readonly #data: FileSystemSyncAccessHandle;
  readonly #marks: FileSystemSyncAccessHandle;
  readonly #done: Uint8Array<ArrayBuffer>;

  private constructor(
    data: FileSystemSyncAccessHandle,
    marks: FileSystemSyncAccessHandle,
    size: number,
    piece: number,
  ) {
    this.#data = data;
    this.#marks = marks;
    this.#size = size;
    this.#piece = piece;
    this.piecesLen = Math.ceil(size / piece);
    this.#done = new Uint8Array(this.piecesLen);
  }

  static async open(folder: ModelFolder, name: string, size: number, piece: number): Promise<Part> {
    const data = await folder.open(`${name}.part`);
    const marks = await folder.open(`${name}.done`);
    const part = new Part(data, marks, size, piece);
    try {
      // A file of another length is not continued: its marks would belong to other pieces.
      if (data.getSize() === size && marks.getSize() === part.piecesLen) marks.read(part.#done, { at: 0 });
      else part.#begin();
    } catch (error) {
      part.close();
      throw error;
    }
    return part;
  }

  /**
   * Reserves the space for the whole file at once, so that a full disk is reported now and not
   * after an hour.
   */
  #begin(): void {
    this.#marks.truncate(0);
    this.#data.truncate(this.#size);
    // Chromium does not throw when it cannot reserve the space.
    if (this.#data.getSize() !== this.#size) throw full();
    this.#marks.truncate(this.piecesLen);
    this.#marks.flush();
  }

  has(piece: number): boolean {
    return this.#done[piece] === 1;
  }

  missing(): number[] {
    return [...this.#done.keys()].filter((piece) => !this.has(piece));
  }

  span(piece: number): [from: number, to: number] {
    return [piece * this.#piece, Math.min(this.#size, (piece + 1) * this.#piece)];
  }

  write(bytes: Uint8Array<ArrayBuffer>, at: number): void {
    let written = 0;
    while (written < bytes.length) {
      const len = this.#data.write(bytes.subarray(written), { at: at + written });
      // On a full disk, Chromium returns a negative error code, read as an unsigned number.
      if (len === 0 || len > bytes.length - written) throw full();
      written += len;
    }
  }

  /** Marks the piece as done. The data is flushed to disk before the mark. */
  mark(piece: number): void {
    this.#data.flush();
    this.#done[piece] = 1;
    this.#marks.write(new Uint8Array([1]), { at: piece });
    this.#marks.flush();
  }

  hash(piece: number, into: IHasher): void {
    const [from, to] = this.span(piece);
    for (let at = from; at < to; at += READ) into.update(this.read(at, Math.min(READ, to - at)));
  }

  read(at: number, len: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(len);
    if (this.#data.read(bytes, { at }) === len) return bytes;
    throw new AlignattError('internal', 'storage returned fewer bytes than were written');
  }

  get size(): number {
    return this.#size;
  }

  close(): void {
    this.#data.close();
    this.#marks.close();
  }
}

const READ = 1 << 20;
/**
 * Git's own hash needs the file in one piece, so it is computed only up to this size. Larger files
 * have a SHA-256 on the Hub.
 */
const LARGEST_GIT = 64 << 20;

/** Git's hash of the content (its blob id): the SHA-1 of a short header and the bytes. */
async function gitName(part: Part): Promise<string | undefined> {
  if (part.size > LARGEST_GIT) return undefined;
  const head = new TextEncoder().encode(`blob ${part.size}\0`);
  const all = new Uint8Array(head.length + part.size);
  all.set(head);
  if (part.size > 0) all.set(part.read(0, part.size), head.length);
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-1', all));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function checkRoom(model: string, bytes: number): Promise<void> {
  const { quota, usage } = await navigator.storage.estimate();
  if (quota === undefined || usage === undefined || bytes <= quota - usage) return;
  const free = Math.max(0, quota - usage);
  throw noRoom(model, `${megabytes(bytes)} are needed, and this browser allows the page ${megabytes(free)}`);
}

function full(): DOMException {
  return new DOMException('the storage is full', 'QuotaExceededError');
}

function noRoom(model: string, what: string): AlignattError {
  const remedy = 'delete models that you do not use, or free disk space; what has arrived is kept';
  return new AlignattError('storage-full', `${model}: ${what}; ${remedy}`);
}

function explained(thrown: unknown, model: string): AlignattError {
  const error = asError(thrown);
  return error.code === 'storage-full' ? noRoom(model, 'the storage of this browser is full') : error;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
