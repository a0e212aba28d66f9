// Captions on a page: what is committed stays and only grows, what is tentative follows it, paler.
// All text is set as text, never as markup.

/** Letters and marks without blanks between words: CJK, kana, and their punctuation. */
const WIDE = /[⺀-〿぀-ヿ㇀-㇯㐀-鿿豈-﫿︰-﹏＀-￯\u{1b000}-\u{1b16f}\u{20000}-\u{3fffd}]/u;
/** What is said to a screen viewer and is still kept. */
const SAID = 30;

/** Joins words and pieces of text as their languages do. */
export function joined(parts) {
  let text = '';
  for (const part of parts) {
    const [last] = [...text.slice(-2)].slice(-1);
    const [first] = part;
    text += (last && first && !WIDE.test(last) && !WIDE.test(first) ? ' ' : '') + part;
  }
  return text;
}

/** The name of a language in that language, or its code. */
export function languageName(code) {
  try {
    const name = new Intl.DisplayNames([code], { type: 'language' }).of(code) ?? code;
    return name.charAt(0).toLocaleUpperCase(code) + name.slice(1);
  } catch {
    return code;
  }
}

export class Captions {
  #root;
  #said;
  #most;
  #changed;
  #segments = [];
  #languages = { source: '', target: '' };
  /** Nothing is said before: viewers who come late are not read all that was said. */
  #sayFrom = Infinity;

  /**
   * `root`: the element of the captions; its `data-side` says what is shown. `said`: an element
   * whose additions are read to those who cannot see. `most`: segments that are kept. `changed`:
   * called after each change.
   */
  constructor(root, { said, most = Infinity, changed = () => {} } = {}) {
    this.#root = root;
    this.#said = said;
    this.#most = most;
    this.#changed = changed;
  }

  clear() {
    this.#root.replaceChildren();
    this.#said?.replaceChildren();
    this.#segments = [];
  }

  /** The languages of new segments. */
  languages(source, target) {
    this.#languages = { source, target };
  }

  /** From `ms` from now on, additions are said. */
  sayAfter(ms) {
    this.#sayFrom = Date.now() + ms;
  }

  /** The whole committed text of a segment so far. */
  commit(stream, number, side, text) {
    const part = this.#part(stream, number, side);
    if (!part) return;
    // What came twice, or is older, changes nothing.
    const more = text.startsWith(part.stays.data) ? text.slice(part.stays.data.length) : '';
    part.open.textContent = '';
    if (more) {
      part.stays.appendData(more);
      this.#say(side, more);
    }
    this.#changed();
  }

  /** What may still change, after the committed text of a segment. */
  tentative(stream, number, side, text) {
    for (const segment of this.#segments) {
      if (segment.stream === stream && segment.number !== number) segment[side].open.textContent = '';
    }
    const part = text ? this.#part(stream, number, side) : this.#find(stream, number)?.[side];
    if (!part) return;
    part.open.textContent = side === 'source' ? joined([part.stays.data, text]).slice(part.stays.data.length) : text;
    this.#changed();
  }

  /** Nothing of a stream is tentative any more. */
  settle(stream) {
    for (const segment of this.#segments) {
      if (segment.stream === stream) segment.source.open.textContent = segment.target.open.textContent = '';
    }
  }

  #find(stream, number) {
    return this.#segments.findLast((segment) => segment.stream === stream && segment.number === number);
  }

  #part(stream, number, side) {
    const known = this.#find(stream, number);
    if (known) return known[side];
    const element = document.createElement('div');
    element.className = 'segment';
    const made = { stream, number, element, source: this.#line(element, 'source'), target: this.#line(element, 'target') };
    const after = this.#segments.findLastIndex((other) => other.stream < stream || (other.stream === stream && other.number < number));
    this.#root.insertBefore(element, this.#segments[after + 1]?.element ?? null);
    this.#segments.splice(after + 1, 0, made);
    while (this.#segments.length > this.#most) this.#segments.shift().element.remove();
    return this.#segments.includes(made) ? made[side] : undefined;
  }

  #line(element, side) {
    const line = document.createElement('p');
    line.className = side;
    line.dir = 'auto';
    line.lang = this.#languages[side];
    const open = document.createElement('span');
    open.className = 'open';
    const stays = document.createTextNode('');
    line.append(stays, open);
    element.append(line);
    return { stays, open };
  }

  #say(side, text) {
    if (!this.#said || Date.now() < this.#sayFrom || this.#root.dataset.side === (side === 'source' ? 'target' : 'source')) return;
    const span = document.createElement('span');
    span.lang = this.#languages[side];
    span.textContent = text;
    this.#said.append(span, ' ');
    while (this.#said.childNodes.length > SAID) this.#said.firstChild.remove();
  }
}
