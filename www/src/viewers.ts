// The dialog that shows viewers the way: a link, and its QR code. Only where a server translates.

import type { Opened } from 'alignatt/server';
import { find, make } from './dom';

export class Viewers {
  private readonly code = make('img', { alt: 'QR code of the link for viewers', width: 320, height: 320 });
  private readonly link = make('a', { target: '_blank', rel: 'noopener' });

  constructor(private readonly dialog: HTMLDialogElement) {
    dialog.append(
      make('form', { method: 'dialog', class: 'close' }, make('button', { 'aria-label': 'Close' }, '×')),
      make('h2', { id: 'viewers-title' }, 'For viewers'),
      make('p', {}, 'Whoever opens this link, for example on a phone, reads along:'),
      make('p', { class: 'way' }, this.code),
      make('p', { class: 'way' }, this.link),
      make('p', { class: 'small' }, 'The same address with /overlay shows captions over a picture, for OBS or a projector.'),
    );
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    find('viewers').addEventListener('click', () => dialog.showModal());
  }

  show({ link }: Opened): void {
    this.link.href = link;
    this.link.textContent = link.replace(/^https?:\/\//, '');
    const code = new URL('./qr.svg', location.href);
    code.searchParams.set('text', link);
    this.code.src = code.href;
    find('viewers').hidden = false;
  }

  hide(): void {
    find('viewers').hidden = true;
    this.dialog.close();
  }
}
