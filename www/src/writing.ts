// The dialog for a text that is typed or pasted instead of spoken.

import { make } from './dom';

export class Writing {
  private readonly text = make('textarea', {
    id: 'text',
    rows: 10,
    spellcheck: 'false',
    placeholder: 'Good morning, everyone. Today we talk about …',
  });
  private readonly use = make('button', { type: 'submit', class: 'big' }, 'Translate');

  constructor(
    private readonly dialog: HTMLDialogElement,
    onText: (text: string) => void,
  ) {
    const form = make(
      'form',
      { method: 'dialog' },
      make('label', { for: 'text', class: 'small' }, 'English text, subtitles (SRT, WebVTT), or words with times as JSON lines.'),
      this.text,
      make('p', { class: 'actions' }, this.use),
    );
    form.addEventListener('submit', () => onText(this.text.value));
    this.text.addEventListener('input', () => this.check());
    dialog.append(
      make('form', { method: 'dialog', class: 'close' }, make('button', { 'aria-label': 'Close' }, '×')),
      make('h2', { id: 'writing-title' }, 'Translate a text'),
      form,
    );
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
  }

  open(): void {
    this.check();
    this.dialog.showModal();
    this.text.focus();
  }

  private check(): void {
    this.use.disabled = this.text.value.trim() === '';
  }
}
