// Highlights the source words that a target word listened to. The pictures also work without this
// script. Each segment's data is in its JSON.
(() => {
  const why = {
    frontier: "rests on what was not heard yet",
    "after-held": "after a held word",
    "open-unit": "its word was not whole",
    "no-row": "no attention captured",
    "not-finite": "its attention is not a number",
  };
  const masses = ["heard", "unheard", "prompt", "draft"];
  document.documentElement.classList.add("live");

  const known = new WeakMap();
  function of(card) {
    if (!known.has(card)) {
      const json = card.querySelector("script[type='application/json']");
      const all = (name) => [...card.querySelectorAll("svg.time ." + name)];
      known.set(card, { ...(json ? JSON.parse(json.textContent) : { s: [], t: [], h: [] }),
        svg: card.querySelector("svg.time"), bars: all("s"), units: all("t"), stops: all("h") });
    }
    return known.get(card);
  }

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const draw = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text) element.textContent = text;
    return element;
  };
  const word = (text) => make("bdi", {}, "“" + text + "”");
  const share = (mille) => (mille / 1000).toFixed(2);
  const clock = (ms) => {
    const minutes = Math.floor(ms / 60000), seconds = ((ms % 60000) / 1000).toFixed(2);
    return minutes ? minutes + ":" + seconds.padStart(5, "0") : seconds + " s";
  };

  // One readout for all segments, at the bottom of the window.
  const readout = make("aside", { class: "readout", "aria-live": "polite" });
  document.body.append(readout);
  let lit = null;

  function leave() {
    readout.replaceChildren();
    if (!lit) return;
    const data = of(lit);
    data.svg.classList.remove("lit");
    data.svg.querySelectorAll(".beam").forEach((beam) => beam.remove());
    for (const element of [...data.bars, ...data.units, ...data.stops]) element.classList.remove("on", "now");
  }

  const light = (element, mass) => {
    element.classList.add("on");
    element.style.setProperty("--mass", Math.min(1, mass / 600).toFixed(2));
  };

  // A ribbon from a source word's bar to a target word's box. Its width and opacity show the
  // attention.
  function ribbon(bar, box, mille) {
    const a = bar.querySelector("rect"), b = box.querySelector("rect");
    const number = (e, name) => parseFloat(e.getAttribute(name));
    const x = number(a, "x") + number(a, "width") / 2, y = number(a, "y") + number(a, "height");
    const left = number(b, "x"), top = number(b, "y"), bend = y + (top - y) * 0.6;
    const u = left + number(b, "width") / 2, v = top + number(b, "height") / 2;
    const d = box.matches(".below")
      ? `M${x} ${y}C${x} ${bend} ${left - Math.min(60, Math.max(0, left - x)) / 2} ${v} ${left} ${v}`
      : `M${x} ${y}C${x} ${bend} ${u} ${bend} ${u} ${top}`;
    return draw("path", { d, "stroke-width": (1 + mille / 110).toFixed(1),
      opacity: Math.min(0.9, 0.15 + mille / 900).toFixed(2) });
  }

  // A mark on the line of source words where the heard sound ended.
  function until(data, heard) {
    const rect = data.bars[Math.max(0, heard - 1)]?.querySelector("rect");
    if (!rect) return [];
    const x = parseFloat(rect.getAttribute("x")) + (heard ? parseFloat(rect.getAttribute("width")) : 0);
    const y = parseFloat(rect.getAttribute("y"));
    return [draw("path", { class: "until", d: `M${x} ${y - 4}v26` }),
      draw("text", { x: x - 4, y: y + 22, "text-anchor": "end" }, "heard")];
  }

  function show(element) {
    const card = element.closest(".segment"), data = of(card);
    if (!data.t.length && !data.h.length) return;
    leave();
    lit = card;
    data.svg.classList.add("lit");
    element.classList.add("now");
    const beam = draw("g", { class: "beam" });
    const parts = [];
    if (element.matches(".s")) {
      const at = data.bars.indexOf(element);
      const heard = [];
      data.t.forEach(([text, , listened], unit) => {
        const on = listened?.[2].find(([place, mass]) => place === at && mass >= 50);
        if (!on) return;
        light(data.units[unit], on[1]);
        beam.append(ribbon(element, data.units[unit], on[1]));
        heard.push([text, on[1]]);
      });
      parts.push(make("p", {}, make("b", {}, make("bdi", {}, data.s[at][0])), ` said until ${clock(data.s[at][1])}`));
      parts.push(list(heard.length ? "Listened to by: " : "No target word listened to it.", heard));
    } else {
      const held = element.matches(".h");
      const at = (held ? data.stops : data.units).indexOf(element);
      const entry = (held ? data.h : data.t)[at];
      const [text, time, listened] = entry;
      for (const [place, mass] of listened?.[2] ?? []) {
        light(data.bars[place], mass);
        if (mass >= 30) beam.append(ribbon(data.bars[place], element, mass));
      }
      if (held) {
        beam.classList.add("held");
        beam.append(...until(data, entry[4]));
      }
      parts.push(...(held ? stopped(data, entry) : shown(data, entry)));
      if (listened) parts.push(...listening(data, listened));
    }
    data.svg.insertBefore(beam, data.bars[0] ?? null);
    readout.replaceChildren(...parts);
  }

  function shown(data, [text, time, listened, past]) {
    const line = make("p", {}, make("b", {}, make("bdi", {}, text)), ` shown at ${clock(time)}`);
    const rest = listened && listened[0] !== null ? data.s[listened[0]] : null;
    if (rest) {
      const lag = (time - rest[1]) / 1000;
      line.append(`, ${Math.abs(lag).toFixed(2)} s ${lag < 0 ? "before" : "after"} `, word(rest[0]), " ended");
    }
    const history = past.map(([from, to, times, reason]) => make("li", { class: "held" },
      `${clock(from)}${times > 1 ? " – " + clock(to) + ", " + times + " times" : ""} held: ${why[reason] ?? reason}`));
    return history.length ? [line, make("ul", {}, ...history)] : [line];
  }

  function stopped(data, [text, time, listened, reason, heard, behind]) {
    const line = make("p", { class: "held" }, make("b", {}, make("bdi", {}, text)),
      ` held at ${clock(time)}: ${why[reason] ?? reason}`);
    if (listened[0] !== null) line.append(", ", word(data.s[listened[0]][0]));
    line.append(`; ${heard} ${heard === 1 ? "word" : "words"} of the segment heard`);
    return behind ? [line, make("p", {}, "Behind it: ", make("bdi", {}, behind))] : [line];
  }

  function listening(data, [, mass, on]) {
    const bar = make("div", { class: "mass", "aria-hidden": "true" },
      ...masses.map((name, at) => make("i", { class: name, style: `flex:${Math.max(0, mass[at])}` })));
    const key = make("ul", {}, ...masses.map((name, at) =>
      make("li", {}, make("i", { class: "dot " + name }), `${name} ${share(mass[at])}`)));
    return [bar, key, list("Listened to: ", on.map(([place, mille]) => [data.s[place][0], mille]))];
  }

  function list(head, pairs) {
    const line = make("p", {}, head);
    pairs.sort((a, b) => b[1] - a[1]).slice(0, 8).forEach(([text, mille], at) =>
      line.append(at ? " · " : "", make("bdi", {}, text), " " + share(mille)));
    return line;
  }

  function matrix(details) {
    const data = of(details.closest(".segment"));
    const head = make("tr", {}, make("td"), ...data.s.map(([text]) => make("th", { scope: "col" }, text)));
    head.firstChild.style.background = "none";
    const rows = data.t.filter(([, , listened]) => listened).map(([text, , listened]) => {
      const on = new Map(listened[2]);
      return make("tr", {}, make("th", { scope: "row" }, text), ...data.s.map(([source], at) => {
        const mille = on.get(at) ?? 0;
        const cell = make("td", { title: `${text} → ${source}: ${share(mille)}` }, mille >= 100 ? share(mille).slice(1) : "");
        cell.style.setProperty("--mass", Math.min(1, mille / 700).toFixed(2));
        if (mille >= 400) cell.classList.add("dark");
        if (listened[0] === at) cell.classList.add("rest");
        return cell;
      }));
    });
    const note = make("p", { class: "hint" }, "A row a target word, a column a source word; the frame marks the word it rests on.");
    details.append(note, make("div", { tabindex: 0 }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
  }

  // Each picture has one Tab stop. From there the arrow keys move.
  function reach(element) {
    element.setAttribute("tabindex", "0");
    element.setAttribute("role", "button");
  }
  document.querySelectorAll("svg.time").forEach((svg) => {
    const first = svg.querySelector(".t, .h");
    if (first) reach(first);
  });

  const at = (event) => event.target.closest?.("svg.time .s, svg.time .t, svg.time .h");
  document.addEventListener("pointerover", (event) => at(event) && event.pointerType === "mouse" && show(at(event)));
  document.addEventListener("click", (event) => {
    if (at(event)) show(at(event));
    else if (!readout.contains(event.target)) leave();
  });
  document.addEventListener("focusin", (event) => at(event) && show(at(event)));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return leave();
    const element = at(event);
    if (!element) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const data = of(element.closest(".segment"));
    const all = [...data.units, ...data.stops, ...data.bars];
    const next = all[all.indexOf(element) + step];
    if (!step || !next) return;
    event.preventDefault();
    element.setAttribute("tabindex", "-1");
    reach(next);
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  document.addEventListener("toggle", (event) => {
    const details = event.target;
    if (details.matches?.(".matrix") && details.open && !details.querySelector("table")) matrix(details);
  }, true);
})();
