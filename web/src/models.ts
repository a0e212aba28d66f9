// Models: their names, and what is stored of them in this browser.

import { demoBytes } from './demo.js';
import { listing, type Access } from './hub.js';
import { Peer } from './peer.js';
import { label, placeOf, type Model, type Place } from './place.js';
import type { FetchProgress } from './progress.js';
import { keepStorage, ModelFolder, removeModel, type Manifest } from './store.js';

export interface StoredModel {
  model: Model;
  /** Bytes that are stored, and bytes of the whole model. */
  done: number;
  total: number;
}

export interface FetchOptions extends Access {
  onProgress?: (progress: FetchProgress) => void;
  signal?: AbortSignal;
  /** Where the package's files are, if not beside its modules. */
  base?: string | URL;
}

/** The store of models, which all tabs of a site share. */
export const models = {
  /** The models that are stored, completely or in part. */
  async list(): Promise<StoredModel[]> {
    const found: StoredModel[] = [];
    for (const folder of await ModelFolder.all()) {
      const manifest = (await folder.complete()) ?? (await folder.partial());
      if (manifest) found.push({ model: modelOf(manifest.place), ...(await stored(folder, manifest)) });
    }
    return found;
  },

  /**
   * The size of a model and how many of its bytes are stored. Asks the network if the model is not
   * stored completely.
   */
  async size(model: Model, access: Access = {}): Promise<{ done: number; total: number }> {
    const place = placeOf(model);
    if (place === 'demo') return { done: 0, total: demoBytes() };
    const folder = await ModelFolder.find(place);
    const complete = await folder?.complete();
    if (folder && complete) return stored(folder, complete);
    const { files } = await listing(place, access);
    return stored(folder, { files });
  },

  /** Fetches a model into the store, or updates it. An interrupted fetch is continued. */
  async fetch(model: Model, { onProgress, signal, base, ...access }: FetchOptions = {}): Promise<void> {
    const place = placeOf(model);
    if (place === 'demo') return;
    void keepStorage();
    const peer = new Peer(base);
    try {
      const call = { do: 'fetch', place, access } as const;
      await peer.call(call, { signal, note: (note) => 'fetched' in note && onProgress?.(note.fetched) });
    } finally {
      peer.close();
    }
  },

  async remove(model: Model): Promise<void> {
    const place = placeOf(model);
    if (place !== 'demo') await removeModel(place);
  },
};

function modelOf(place: Place): Model {
  return 'repo' in place ? label(place) : place;
}

async function stored(
  folder: ModelFolder | undefined,
  { files }: Pick<Manifest, 'files'>,
): Promise<{ done: number; total: number }> {
  const there = await Promise.all(files.map((file) => folder?.bytesOf(file) ?? 0));
  return { done: there.reduce((sum, len) => sum + len, 0), total: files.reduce((sum, file) => sum + file.size, 0) };
}
