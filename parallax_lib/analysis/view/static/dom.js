// Elements, addresses and words.  Texts enter the page as text; only listings that the server has escaped enter as HTML.

function h(tag, given, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "html") made.innerHTML = value;
    else if (name === "value" || name === "checked" || name === "className") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  add(made, children);
  return made;
}

function add(parent, children) {
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return parent;
}

function svg(tag, given, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  return add(made, children);
}

const count = (n) => Number(n).toLocaleString("en-US");
const percent = (x, digits = 1) => (x === null || x === undefined ? "–" : (100 * x).toFixed(digits) + " %");
const plural = (n, word, many = word + "s") => `${count(n)} ${n === 1 ? word : many}`;

function shown(value) {
  if (value === null || value === undefined) return "–";
  if (value === true) return "yes";
  if (value === false) return "no";
  if (typeof value === "number" && !Number.isInteger(value)) {
    if (Math.abs(value) < 0.001) return value.toExponential(2);
    return Math.abs(value) >= 1000 ? value.toPrecision(6) : value.toFixed(3);
  }
  return String(value);
}

function parse(address) {
  const [path, query] = address.replace(/^#/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decodeURIComponent), given: Object.fromEntries(new URLSearchParams(query || "")) };
}

function written(parts, given) {
  const kept = Object.entries(given || {}).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(kept).toString();
  return "/" + parts.map(encodeURIComponent).join("/") + (query ? "?" + query : "");
}

function later(wait, act) {
  let timer;
  return (...all) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...all), wait);
  };
}

function badge(app, reason) {
  const kind = app.info.classes[reason] || "not judged";
  return h("span", { class: "badge " + slug(kind), title: app.info.reasons[reason] || "" }, (MARKS[kind] || "·") + " " + reason);
}

const MARKS = { validated: "✓", race: "⇄", "wrong output": "✗", "not parallel": "‖", "does not build": "⌂", stopped: "■", "not judged": "?" };
const columnWord = (column) => (column === "arm" ? "method" : column);
const trajectory = (depth) => (depth === null || depth === undefined ? "–" : depth < 0 ? "original" : `branch-off at step ${depth + 1}`);
const methodName = (app, arm) => app.info.methods[arm] || arm;
const slug = (text) => text.replace(/ /g, "-");

// A table with a caption.  columns: [{name, text, number, cell(row)}].
function table(caption, columns, rows, given = {}) {
  const head = columns.map((c) => h("th", { scope: "col", class: c.number && "number", title: c.title }, c.head || c.text));
  const body = rows.map((row) =>
    h("tr", given.row ? given.row(row) : {},
      columns.map((c, i) => h(i === 0 && given.rowHead !== false ? "th" : "td", { scope: i === 0 && given.rowHead !== false ? "row" : null, class: c.css || (c.number && "number") }, c.cell ? c.cell(row) : shown(row[c.name])))));
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: given.class }, h("caption", {}, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

function choice(label, options, value, changed) {
  const box = h("select", { onchange: (e) => changed(e.target.value) },
    options.map(([name, text]) => h("option", { value: name, selected: String(name) === String(value) }, text)));
  return h("label", { class: "field" }, h("span", {}, label), box);
}

function pager(found, size, page, go, what) {
  const last = Math.max(0, Math.ceil(found / size) - 1);
  const from = found ? page * size + 1 : 0, to = Math.min(found, (page + 1) * size);
  const turn = (text, label, at, off) => h("button", { type: "button", "aria-label": label, disabled: off, onclick: () => go(at) }, text);
  const jump = h("input", { type: "number", min: 1, max: last + 1, value: String(page + 1), "aria-label": "page number",
    onchange: (e) => go(Math.max(0, Math.min(last, Number(e.target.value) - 1))) });
  return h("nav", { class: "pager", "aria-label": "pages of " + what },
    turn("«", "first page", 0, page === 0), turn("‹", "previous page", page - 1, page === 0),
    h("span", {}, "page ", jump, ` of ${count(last + 1)}`),
    turn("›", "next page", page + 1, page >= last), turn("»", "last page", last, page >= last),
    h("span", { class: "muted" }, `${count(from)}–${count(to)} of ${count(found)} ${what}`));
}
