// The table of programs: one filter field, chosen columns, sorting, pages; and the map of failures, which filters it.

const HELP = [
  ["atomic \"omp parallel\"", "both texts, anywhere in source, translation, log, task or decoded latents"],
  ["-atomic", "not this text"],
  ["code:atomic  source:for  log:line", "a text in the translation, the source, the log"],
  ["reason:wrong  reason=ok", "a column holds the text; is exactly it"],
  ["score>0.8  seed=1", "a number: =  >  >=  <  <="],
];

function filterBar(app, text, changed, note) {
  const send = later(220, (value) => changed(value));
  const field = h("input", { type: "search", id: "px-filter", value: text || "", placeholder: "filter: words in source, translation and log, or column:value", autocomplete: "off", spellcheck: "false", "aria-describedby": "px-terms",
    oninput: (e) => send(e.target.value) });
  app.filter = field;
  const help = h("details", { class: "help" }, h("summary", {}, "how to filter"),
    h("dl", {}, HELP.map(([term, said]) => [h("dt", {}, h("code", {}, term)), h("dd", {}, said)])));
  return h("div", { class: "filter" }, h("label", { for: "px-filter" }, "Filter"), field, help, note);
}

const columnsKey = (app, name) => `parallax-columns-${app.info.name}-${name}`;

async function programsPage(app, { given }) {
  const name = given.table || app.info.tables[0].name;
  const columns = name === app.info.tables[0].name ? app.info.columns : await app.ask("columns", { table: name });
  let chosen = columns.filter((c) => c.shown).map((c) => c.name);
  try { chosen = JSON.parse(localStorage.getItem(columnsKey(app, name))) || chosen; } catch { /* no storage: the first choice stays */ }
  const state = { table: name, q: "", sort: "", page: "0", size: "50", ...given };
  const box = h("div", { "aria-live": "polite" }), note = h("p", { class: "muted", id: "px-terms" });
  let at = 0, data = null;

  const usual = { table: app.info.tables[0].name, page: "0", size: "50" };  // not told in the address
  const set = (change) => app.go(written(["programs"], Object.fromEntries(Object.entries({ ...state, page: "0", ...change }).filter(([k, v]) => String(v) !== usual[k]))), true);
  const pick = h("details", { class: "columns" }, h("summary", {}, "columns"),
    h("div", { class: "choices" }, columns.map((c) => h("label", {}, h("input", { type: "checkbox", checked: chosen.includes(c.name), onchange: (e) => {
      chosen = columns.map((k) => k.name).filter((k) => (k === c.name ? e.target.checked : chosen.includes(k)));
      try { localStorage.setItem(columnsKey(app, name), JSON.stringify(chosen)); } catch { /* kept for this page only */ }
      draw();
    } }), c.name))));
  const tables = app.info.tables.length > 1 ? choice("table", app.info.tables.map((t) => [t.name, t.name]), name, (table) => app.go(written(["programs"], { table, q: state.q }))) : null;
  const sizes = choice("rows a page", [25, 50, 100, 250].map((n) => [n, n]), state.size, (size) => set({ size }));
  const out = h("button", { type: "button", onclick: () => save(app, state) }, "export CSV");

  function heading(c) {
    const now = state.sort === c.name ? "ascending" : state.sort === "-" + c.name ? "descending" : "none";
    const next = now === "ascending" ? "-" + c.name : now === "descending" ? "" : c.name;
    const arrow = { ascending: " ▲", descending: " ▼", none: "" }[now];
    return h("th", { scope: "col", "aria-sort": now, class: c.number && "number" }, h("button", { type: "button", class: "sort", onclick: () => set({ sort: next }) }, columnWord(c.name) + arrow));
  }
  function draw() {
    const cols = columns.filter((c) => chosen.includes(c.name));
    const body = data.rows.map((row, i) => h("tr", { "data-row": row.row, class: i === at && "at", onclick: (e) => { if (!e.target.closest("a")) app.go(address(row.row)); } },
      h("th", { scope: "row" }, app.link(address(row.row), count(row.row))),
      cols.map((c) => h("td", { class: c.number && "number", title: String(row[c.name] ?? "") }, c.name === "reason" ? badge(app, row.reason) : c.name === "arm" ? methodName(app, row.arm) : shown(row[c.name])))));
    const caption = `${plural(data.found, "program")} of ${count(data.total)} in table ${name}` + (state.sort ? `, by ${state.sort.replace(/^-(.*)/, "$1, descending")}` : "");
    const head = h("tr", {}, h("th", { scope: "col" }, "row"), cols.map(heading));
    const facets = Object.entries(data.facets).filter(([c]) => c !== "family" || data.facets.family.length <= 12).map(([c, values]) =>
      h("details", { class: "facet", open: c === "reason" }, h("summary", {}, `${columnWord(c)} (${values.length})`),
        h("ul", {}, values.map(([value, n]) => h("li", {}, h("button", { type: "button", onclick: () => toggle(c, value) }, c === "arm" ? methodName(app, value) : value), " ", h("span", { class: "muted" }, count(n))))))); 
    const turn = () => pager(data.found, data.size, data.page, (page) => set({ page }), "programs");
    box.replaceChildren(h("div", { class: "facets" }, facets), turn(),
      h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption }, h("table", { class: "programs" }, h("caption", {}, caption), h("thead", {}, head), h("tbody", {}, body))),
      data.rows.length ? turn() : h("p", {}, "No program passes this filter."));
  }
  function toggle(column, value) {
    const term = `${column}=${/\s/.test(value) ? `"${value}"` : value}`, words = state.q.split(/\s+/).filter(Boolean);
    set({ q: words.includes(term) ? words.filter((w) => w !== term).join(" ") : [...words, term].join(" ") });
  }
  const address = (row) => written(["program", name, row], { q: state.q, sort: state.sort });
  async function load() {
    const from = performance.now();
    data = await app.ask("programs", state);
    note.textContent = (data.terms.length ? data.terms.join(" and ") + ": " : "") + `${plural(data.found, "program")}, ${Math.round(performance.now() - from)} ms`;
    at = Math.min(at, Math.max(0, data.rows.length - 1));
    draw();
  }
  const step = (by) => { at = Math.max(0, Math.min(data.rows.length - 1, at + by)); draw(); box.querySelector("tr.at")?.scrollIntoView({ block: "nearest" }); };
  await load();
  return {
    title: "Programs",
    body: [filterBar(app, state.q, (q) => set({ q }), note), h("div", { class: "bar" }, tables, sizes, pick, out), absentNote(app, name), box],
    keys: { n: ["next program", () => step(1)], p: ["previous program", () => step(-1)], Enter: ["open it", () => data.rows[at] && app.go(address(data.rows[at].row))],
      "]": ["next page", () => set({ page: Math.min(data.page + 1, Math.ceil(data.found / data.size) - 1) })], "[": ["previous page", () => set({ page: Math.max(0, data.page - 1) })] },
    update: async (next) => {  // the same page with other parameters: the filter field keeps its focus
      if ((next.table || app.info.tables[0].name) !== name) return false;
      Object.assign(state, { table: name, q: "", sort: "", page: "0", size: "50" }, next);
      if (document.activeElement !== app.filter) app.filter.value = state.q;
      at = 0;
      await load();
      return true;
    },
  };
}

function absentNote(app, name) {
  const { source_code: sources = 0, code = 0 } = name === app.info.tables[0].name ? app.info.absent : {};
  if (!sources && !code) return null;
  return h("p", {}, `Text of HeCBench does not ship: ${plural(sources, "row")} here without a source, ${count(code)} without a program. Verdicts, plans and latents are those of the whole texts. `,
    sources ? ["To see the sources: ", h("code", {}, "view RUN --hecbench DIR"), " with a checkout."] : "The sources are read from the checkout.");
}

async function save(app, state) {
  const found = await app.ask("export", { table: state.table, q: state.q, sort: state.sort });
  const link = h("a", { href: URL.createObjectURL(new Blob([found.csv], { type: "text/csv" })), download: found.name });
  link.click();
  URL.revokeObjectURL(link.href);
  app.say(`${plural(found.rows, "row")} saved as ${found.name}`);
}

async function failuresPage(app, { given }) {
  const name = given.table || app.info.tables[0].name, box = h("div", {}), note = h("p", { class: "muted", id: "px-terms" });
  const state = { table: name, q: "", by: "", ...given };
  const set = (change) => app.go(written(["failures"], { ...state, ...change }), true);
  async function load() {
    const data = await app.ask("failures", state);
    const tables = app.info.tables.length > 1 ? choice("table", app.info.tables.map((t) => [t.name, t.name]), name, (table) => app.go(written(["failures"], { table }))) : null;
    const most = data.totals.map((total) => total || 1);
    const columns = [{ name: "reason", text: "reason", cell: (r) => badge(app, r[0]) },
      ...data.columns.map((c, j) => ({ text: data.by === "arm" ? methodName(app, c) : c, number: true, css: "number", cell: (r) => cell(r, c, j) })),
      { text: "all", number: true, cell: (r) => count(r[1].reduce((a, b) => a + b, 0)) }];
    function cell(r, column, j) {
      const n = r[1][j], share = n / most[j];
      const q = `${state.q} reason=${r[0]} ${data.by}=${/\s/.test(column) ? `"${column}"` : column}`.trim();
      if (!n) return h("span", { class: "heat none" }, "0");
      return h("span", { class: "heat", style: `--share:${share.toFixed(3)}`, title: `${percent(share)} of ${column}` }, app.link(written(["programs"], { table: name, q }), count(n)));
    }
    note.textContent = plural(data.found, "program");
    box.replaceChildren(h("div", { class: "bar" }, tables, choice("columns", data.choices.map((c) => [c, columnWord(c)]), data.by, (by) => set({ by }))),
      table(`${plural(data.found, "program")} by reason and ${columnWord(data.by)}; the shade is the share of a column; a number opens its programs`, columns, data.rows, { class: "map" }),
      h("dl", { class: "reasons" }, data.rows.map((r) => [h("dt", {}, r[0]), h("dd", {}, app.info.reasons[r[0]] || "")])));
  }
  await load();
  return { title: "Failures", body: [filterBar(app, state.q, (q) => set({ q }), note), box],
    update: async (next) => { if ((next.table || app.info.tables[0].name) !== name) return false; Object.assign(state, { q: "", by: "" }, next); await load(); return true; } };
}
