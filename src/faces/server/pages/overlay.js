// Captions over a picture, for a streaming program or a projector. The address says how they look:
//
//   lines=2  size=48  side=target|source|both  align=left|center|right  color=ffffff
//   back=000000  to=de  tentative=1

import { Captions } from './captions.js';
import { Link, placeOf } from './link.js';

/** Segments that are kept: more than fit. */
const KEPT = 8;

const query = new URL(location.href).searchParams;
const style = document.documentElement.style;
const main = document.getElementById('captions');

function number(name, least, most) {
  const value = Number(query.get(name) ?? NaN);
  return Number.isFinite(value) ? Math.max(least, Math.min(most, value)) : undefined;
}

function colour(name) {
  const value = query.get(name) ?? '';
  return /^([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})$/i.test(value) ? `#${value}` : undefined;
}

function set(name, value) {
  if (value !== undefined) style.setProperty(name, value);
}

const size = number('size', 8, 400);
set('--lines', number('lines', 1, 40));
set('--size', size && `${size}px`);
set('--color', colour('color'));
set('--back', colour('back'));
set('--align', ['left', 'center', 'right'].find((align) => align === query.get('align')));
const side = ['source', 'both'].find((side) => side === query.get('side')) ?? 'target';
main.dataset.side = side;
main.classList.toggle('plain', colour('back') !== undefined);
main.classList.toggle('calm', query.get('tentative') !== '1');

/** The language that the address names, else the first that is translated to. */
function choose(sessions) {
  const targets = sessions.map(({ to }) => to).filter(Boolean);
  const [target] = targets.filter((to) => to === (query.get('to') ?? to));
  main.dataset.side = target ? side : 'source';
  return side === 'source' || !target ? 'source' : target;
}

const state = (now) => (document.body.dataset.state = now);
const link = new Link(placeOf(location.href), new Captions(main, { most: KEPT }), { sessions: choose, state });
void link.look();
