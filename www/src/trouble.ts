// The page of a failure: what it means, what to do, and how to continue.

import { advice } from './help';
import { make } from './dom';

export interface Actions {
  /** Absent where the CPU cannot be used instead. */
  cpu?: (() => void) | undefined;
  again?: (() => void) | undefined;
  back?: (() => void) | undefined;
}

export function showTrouble(root: HTMLElement, code: string, message: string, actions: Actions): void {
  const { title, about, steps, cpu } = advice(code, message);
  const button = (text: string, act: (() => void) | undefined, name = '') =>
    act && make('button', { type: 'button', class: name, onclick: act }, text);
  root.dataset['code'] = code;
  root.replaceChildren(
    make('h1', {}, title),
    make('p', { class: 'lead' }, about),
    make('ol', { class: 'steps' }, ...steps.map((step) => make('li', {}, ...marked(step)))),
    make(
      'div',
      { class: 'starts' },
      button('Try again', actions.again, 'big'),
      cpu && button('Use the CPU instead (slower)', actions.cpu, actions.again ? '' : 'big'),
      button('Back', actions.back),
    ),
    make('p', { class: 'small' }, 'Code: ', make('code', {}, code)),
  );
  root.hidden = false;
  root.focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

/** Marks up addresses and commands as code, so that they are easy to copy. */
function marked(text: string): Array<Node | string> {
  return text.split(/((?:chrome|edge|about):\S*[^\s:;,.)]|ffmpeg -i \S+ \S+\w|dom\.webgpu\.enabled|vulkaninfo --summary)/).map((part, at) => (at % 2 ? make('code', {}, part) : part));
}
