// PRM scores: a cloud with a box to select, curves over depth, reliability, groups; all but the cloud follow the selection.

const least = (values) => values.reduce((a, b) => (b < a ? b : a), Infinity);  // Math.min takes no 100,000 arguments

async function scoresPage(app, { given }) {
  const state = { table: app.info.scores[0] || "", q: "", model: "", depth: "-1", x: "uncertainty", by: "direction", box: "", ...given };
  const box = h("div", {}), note = h("p", { class: "muted", id: "px-terms" });
  const set = (change) => app.go(written(["scores"], { ...state, ...change }), true);
  async function load() {
    const data = await app.ask("scores", state), points = data.points;
    note.textContent = `${plural(data.n, "scored trajectory", "scored trajectories")}, every one drawn` + (points.missing ? `; ${plural(points.missing, "further one")} lack a value of the x axis` : "");
    const bar = h("div", { class: "bar" },
      data.tables.length > 1 ? choice("table", data.tables.map((t) => [t, t]), data.table_name, (table) => app.go(written(["scores"], { table }))) : null,
      choice("scores by", data.models.map((m) => [m, m]), data.model, (model) => set({ model, box: "" })),
      data.steps.length > 1 ? choice("after step", data.steps.map((s) => [s, s + 1]), data.depth, (depth) => set({ depth, box: "" })) : null,
      choice("x axis", Object.keys(data.axes).map((a) => [a, a]), points.axis, (x) => set({ x, box: "" })),
      data.groups.length ? choice("groups", data.groups.map((g) => [g, g]), data.by, (by) => set({ by })) : null);
    const sel = data.selected;
    const picked = cloud(app, points, { axis: data.axes[points.axis], short: app.root.clientWidth < 700 ? points.axis : data.axes[points.axis], box: state.box ? state.box.split(",").map(Number) : null,
      select: (b) => set({ box: b.map((v) => Number(v.toPrecision(6))).join(",") }), open: (row) => app.go(written(["program", data.table_name, row])) });
    const kinds = [...new Set(points.reasons.map((r) => app.info.classes[r] || "not judged"))];
    const counts = {};
    points.reason.forEach((r) => { const kind = app.info.classes[points.reasons[r]] || "not judged"; counts[kind] = (counts[kind] || 0) + 1; });
    const legend = h("ul", { class: "legend" }, Object.keys(MARKS).filter((k) => kinds.includes(k)).map((k) => h("li", { class: "c-" + slug(k) }, `${MARKS[k]} ${k} (${count(counts[k] || 0)})`)));
    const groupColumns = [{ text: data.by, cell: (r) => h("button", { type: "button", class: "sort", onclick: () => narrow(r.value) }, r.value) }, { text: "n", number: true, cell: (r) => count(r.n) }, { text: "validated", number: true, cell: (r) => percent(r.validated) }, { text: "mean score", number: true, cell: (r) => shown(r.score) }, { text: "AUROC", number: true, cell: (r) => shown(r.auroc) }];
    function narrow(value) {
      if (app.info.columns.some((c) => c.name === data.by) || data.by !== "cluster") set({ q: `${state.q} ${data.by}=${/\s/.test(value) ? `"${value}"` : value}`.trim(), box: "" });
    }
    const rest = data.table.rest;
    const scope = sel ? `of the ${plural(sel.n, "selected trajectory", "selected trajectories")}` : "of all";
    const rows = sel ? [...table(`${plural(Math.min(sel.n, sel.rows.length), "program")} of ${count(sel.n)} selected`, [{ text: "row", cell: (r) => app.link(written(["program", data.table_name, r.row]), count(r.row)) }, ...["task", "arm", "plan"].filter((c) => sel.rows.some((r) => r[c])).map((c) => ({ text: columnWord(c), cell: (r) => (c === "arm" ? methodName(app, r.arm) : shown(r[c])) })), { text: "reason", cell: (r) => badge(app, r.reason) }], sel.rows).childNodes] : [];
    box.replaceChildren(bar, picked, legend,
      h("p", { class: "muted" }, "A click opens a program; a drawn box selects, and what stands below follows. ", sel ? h("button", { type: "button", onclick: () => set({ box: "" }) }, "clear the selection") : null),
      h("div", { class: "pair" },
        h("section", {}, h("h3", {}, "Scores over depth"), h("p", { class: "muted" }, `Median and quartiles ${scope}.`), h("div", { class: "wide" }, curvesChart(data.curves, data.steps))),
        h("section", {}, h("h3", {}, "Reliability"), h("p", { class: "muted" }, `Share validated by score, ${scope}. A click on a dot selects its bin.`), h("div", { class: "wide" }, reliabilityChart(data.reliability, (b) => set({ box: [least(points.x), -least(points.x.map((v) => -v)), b.bin / 10, (b.bin + 1) / 10 - 1e-9].join(",") }))))),
      h("div", {}, h("h3", {}, `By ${data.by}`), table(`scores and verdicts by ${data.by}, ${scope}; a click on a value filters`, groupColumns, rest ? [...data.table.rows, rest] : data.table.rows)),
      sel ? h("div", {}, h("h3", {}, "Selected programs"), sel.n > sel.rows.length ? h("p", { class: "muted" }, `The first ${sel.rows.length} of ${count(sel.n)} are listed; a smaller box lists all.`) : null, h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "selected programs" }, rows)) : null);
    picked.draw();
  }
  await load();
  return { title: "Scores", body: [filterBar(app, state.q, (q) => set({ q, box: "" }), note), box],
    update: async (next) => { Object.assign(state, { q: "", model: "", depth: "-1", x: "uncertainty", by: "direction", box: "" }, next); if (document.activeElement !== app.filter) app.filter.value = state.q; app.redraw.length = 0; await load(); return true; } };
}
