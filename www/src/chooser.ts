// The dialog for choosing models: the sets with their sizes, the stored models, and the download.
// The Hub is asked for sizes only when the dialog is opened and the browser is online.

import { models, type Model } from 'alignatt';
import { make } from './dom';
import { bytes, left } from './format';
import { fetched, SETS, SLOTS, SLOT_NAMES, type Bundle } from './sets';
import type { ModelSet } from './settings';

interface Sizes {
  total: number;
  /** Bytes that are stored. */
  done: number;
}

export class Chooser {
  private readonly sizes = new Map<Model, Sizes>();
  private readonly rows = new Map<ModelSet, HTMLElement>();
  private readonly stored = make('ul', { class: 'stored' });
  private readonly state = make('div', { class: 'fetching' });
  private readonly token = make('input', { type: 'password', id: 'token', autocomplete: 'off', spellcheck: 'false', placeholder: 'hf_…' });
  private readonly use = make('button', { type: 'button', class: 'big' }, 'Use the demo pack');
  private chosen: ModelSet = 'demo';
  private fetching: AbortController | undefined;

  constructor(
    private readonly dialog: HTMLDialogElement,
    private readonly onUse: (set: ModelSet) => void,
  ) {
    const options = (Object.keys(SETS) as ModelSet[]).map((name) => this.option(name));
    this.use.addEventListener('click', () => void this.confirm());
    dialog.append(
      make('form', { method: 'dialog', class: 'close' }, make('button', { 'aria-label': 'Close' }, '×')),
      make('h2', { id: 'models-title' }, 'Models'),
      make('fieldset', { class: 'sets' }, make('legend', { class: 'away' }, 'Which models to use'), ...options),
      make(
        'details',
        { class: 'token' },
        make('summary', {}, 'Access token for the Hub'),
        make('p', { class: 'small' }, 'To download Gemma, accept its licence on its page at huggingface.co, then enter a read token here. The token stays in the memory of this tab and is sent to the Hub only.'),
        make('label', { for: 'token', class: 'away' }, 'Access token'),
        this.token,
      ),
      this.state,
      make('p', { class: 'actions' }, this.use),
      make('h3', {}, 'Stored in this browser'),
      this.stored,
    );
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    dialog.addEventListener('close', () => this.fetching?.abort());
  }

  get accessToken(): string {
    return this.token.value.trim();
  }

  async open(chosen: ModelSet): Promise<void> {
    this.select(chosen);
    this.dialog.showModal();
    await Promise.all([this.listStored(), this.askSizes()]);
  }

  private option(name: ModelSet): HTMLElement {
    const set = SETS[name];
    const size = make('span', { class: 'size' }, name === 'demo' ? '20 MB, comes with the page' : '');
    const radio = make('input', { type: 'radio', name: 'set', value: name, onchange: () => this.select(name) });
    const parts = make('ul', { class: 'parts' });
    if (name !== 'demo') {
      for (const slot of SLOTS.filter((slot) => set[slot] !== 'demo')) parts.append(make('li', { 'data-model': set[slot] as string }, make('span', {}, SLOT_NAMES[slot]), make('code', {}, set[slot] as string), make('span', { class: 'size' })));
    }
    const row = make('label', { class: 'set' }, radio, make('span', { class: 'name' }, make('b', {}, set.name), size), make('span', { class: 'about' }, set.about), parts);
    this.rows.set(name, row);
    return row;
  }

  private select(name: ModelSet): void {
    this.chosen = name;
    const radio = this.rows.get(name)?.querySelector('input');
    if (radio) radio.checked = true;
    this.dialog.querySelector<HTMLElement>('.token')?.toggleAttribute('hidden', name === 'demo');
    this.label();
  }

  private missing(set: Bundle): number | undefined {
    let missing = 0;
    for (const model of fetched(set)) {
      const size = this.sizes.get(model);
      if (!size) return undefined;
      missing += Math.max(0, size.total - size.done);
    }
    return missing;
  }

  private label(): void {
    const set = SETS[this.chosen];
    const missing = this.chosen === 'demo' ? 0 : this.missing(set);
    this.use.textContent = missing === 0 ? `Use ${this.chosen === 'demo' ? 'the demo pack' : set.name}` : `Download ${missing === undefined ? '' : bytes(missing)}`;
  }

  private async askSizes(): Promise<void> {
    if (!navigator.onLine) return this.say('Offline: sizes and downloads need the network. Stored models work.');
    this.state.replaceChildren();
    const wanted = new Set(Object.values(SETS).flatMap(fetched));
    const failures: string[] = [];
    await Promise.all(
      [...wanted].map(async (model) => {
        try {
          this.sizes.set(model, await models.size(model, this.access()));
        } catch (error) {
          failures.push(error instanceof Error ? error.message : String(error));
        }
        this.showSizes();
      }),
    );
    if (failures[0]) this.say(`Some sizes are unknown: ${failures[0]}`);
  }

  private showSizes(): void {
    for (const part of this.dialog.querySelectorAll<HTMLElement>('.parts li')) {
      const size = this.sizes.get(part.dataset['model'] ?? '');
      const text = part.querySelector('.size');
      if (size && text) text.textContent = size.done >= size.total ? `${bytes(size.total)}, stored` : size.done ? `${bytes(size.total)}, ${bytes(size.done)} stored` : bytes(size.total);
    }
    for (const [name, row] of this.rows) {
      const sizes = fetched(SETS[name]).map((model) => this.sizes.get(model));
      const text = row.querySelector('.name .size');
      if (name !== 'demo' && text && sizes.every((size) => size)) text.textContent = bytes(sizes.reduce((sum, size) => sum + (size?.total ?? 0), 0));
    }
    this.label();
  }

  private async listStored(): Promise<void> {
    try {
      const found = await models.list();
      const rows = found.map(({ model, done, total }) =>
        make(
          'li',
          {},
          make('code', {}, nameOf(model)),
          make('span', { class: 'size' }, done < total ? `${bytes(done)} of ${bytes(total)}` : bytes(total)),
          make('button', { type: 'button', 'aria-label': `Delete ${nameOf(model)}`, onclick: () => void this.remove(model) }, 'Delete'),
        ),
      );
      this.stored.replaceChildren(...(rows.length ? rows : [make('li', { class: 'small' }, 'No models yet.')]));
    } catch (error) {
      this.stored.replaceChildren(make('li', { class: 'small' }, error instanceof Error ? error.message : String(error)));
    }
  }

  private async remove(model: Model): Promise<void> {
    await models.remove(model);
    this.sizes.delete(model);
    await Promise.all([this.listStored(), this.askSizes()]);
  }

  private access(): { token?: string } {
    return this.accessToken ? { token: this.accessToken } : {};
  }

  /** Downloads the missing files, then closes the dialog and uses the chosen set. */
  private async confirm(): Promise<void> {
    if (this.fetching) return this.fetching.abort();
    const name = this.chosen;
    const set = SETS[name];
    if (name !== 'demo' && this.missing(set) !== 0) {
      this.fetching = new AbortController();
      this.dialog.classList.add('busy');
      this.use.textContent = 'Stop the download';
      this.use.scrollIntoView({ block: 'nearest' });
      try {
        for (const model of fetched(set)) {
          await models.fetch(model, {
            ...this.access(),
            signal: this.fetching.signal,
            onProgress: ({ done, total, bytesPerSecond, secondsLeft }) => this.progress(nameOf(model), done, total, bytesPerSecond, secondsLeft),
          });
        }
        this.state.replaceChildren();
      } catch (error) {
        const { signal } = this.fetching;
        this.say(signal.aborted ? 'Stopped. What has arrived is kept, and the next download continues from there.' : error instanceof Error ? error.message : String(error));
        return;
      } finally {
        this.fetching = undefined;
        this.dialog.classList.remove('busy');
        if (this.dialog.open) await Promise.all([this.listStored(), this.askSizesQuietly()]);
      }
    }
    this.onUse(name);
    this.dialog.close();
  }

  private async askSizesQuietly(): Promise<void> {
    const said = [...this.state.childNodes];
    await this.askSizes();
    if (said.length) this.state.replaceChildren(...said);
  }

  private progress(model: string, done: number, total: number, rate?: number, secondsLeft?: number): void {
    const bar = make('progress', { max: total, value: done, 'aria-label': model });
    const parts = [`${bytes(done)} of ${bytes(total)}`];
    if (rate) parts.push(`${bytes(rate)} a second`);
    if (secondsLeft !== undefined) parts.push(`${left(secondsLeft)} left`);
    this.state.replaceChildren(make('p', {}, make('code', {}, model)), bar, make('p', { class: 'small' }, parts.join(' · ')));
  }

  private say(text: string): void {
    this.state.replaceChildren(make('p', { class: 'small' }, text));
  }
}

const nameOf = (model: Model): string => (typeof model === 'string' ? model : model.url);
