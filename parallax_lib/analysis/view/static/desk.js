// The recheck desk: the queue on one side, the program on the other; a decision goes on to the next undecided one.

async function deskPage(app, { given }) {
  const name = given.table || app.info.tables[0].name, state = { table: name, show: "undecided", page: "0", ...given };
  const data = await app.ask("desk", state);
  const set = (change) => app.go(written(["recheck"], { ...state, ...change }), true);
  const wanted = given.row !== undefined ? Number(given.row) : data.rows[0]?.row;
  const open = (row) => set({ row });
  const next = async () => { const got = await app.ask("next", { table: name, row: wanted ?? -1 }); if (got.row === null) app.say("Every program of the queue is decided."); else open(got.row); };
  let pane = h("p", {}, "Nothing in this list."), keys = {};
  if (wanted !== undefined) {
    const program = await app.ask("program", { table: name, row: wanted });
    const made = programBody(app, program, async (choiceMade, following) => {
      if (choiceMade && choiceMade !== "recheck" && following !== null) set({ row: following, page: state.page });
      else app.go(app.address, true);
    });
    keys = made.keys;
    const why = data.rows.find((r) => r.row === wanted);
    pane = h("section", { class: "panel", "aria-label": "program" }, h("h2", {}, program.title), why ? h("p", {}, `Why here: ${why.why}. Applies to ${plural(why.rows, "row")}.`) : null, made.body);
  }
  const mark = (d) => (d ? { accept: "✓ accept", reject: "✗ reject", unsure: "? unsure", recheck: "⚑ marked" }[d.choice] : "undecided");
  const listing = h("ol", { class: "queue", start: data.page * data.size + 1 }, data.rows.map((r) => h("li", { class: r.row === wanted && "at" },
    app.link(written(["recheck"], { ...state, row: r.row }), r.title), h("div", {}, badge(app, r.reason), " ", h("span", { class: "muted" }, `${r.why}${r.closeness !== null ? `: off by ${shown(r.closeness)}` : ""}; ${plural(r.rows, "row")}; ${mark(r.decision)}`)))));
  const rates = [{ text: "method", cell: (r) => methodName(app, r.arm) }, { name: "n", text: "n", number: true }, { text: "automatic", number: true, cell: (r) => percent(r.automatic) }, { text: "adjudicated", number: true, cell: (r) => percent(r.rechecked) }, { text: "95 % interval", number: true, cell: (r) => `${percent(r.low)} – ${percent(r.high)}` }];
  const tables = app.info.tables.length > 1 ? choice("table", app.info.tables.map((t) => [t.name, t.name]), name, (table) => app.go(written(["recheck"], { table }))) : null;
  return {
    title: "Recheck",
    body: [h("div", { class: "bar" }, tables, choice("list", [["undecided", "undecided"], ["all", "all"], ["decided", "decided"]], state.show, (show) => set({ show, page: "0", row: "" })), h("button", { type: "button", onclick: next }, "next undecided", h("kbd", {}, "n")),
      h("span", { class: "muted" }, `${plural(data.decided, "program")} of ${count(data.programs)} decided; they stand for ${plural(data.covered, "row")}. Kept in ${data.notes}`), data.absent ? h("span", { class: "muted" }, `${plural(data.absent, "row")} of programs whose text does not ship are not in the queue.`) : null),
      h("div", { class: "desk" }, h("section", { class: "side", "aria-label": "queue" }, pager(data.found, data.size, data.page, (page) => set({ page, row: "" }), "programs"), listing,
        h("details", {}, h("summary", {}, "why programs are here"), h("ul", {}, data.whys.map(([why, n]) => h("li", {}, `${count(n)} × ${why}`))))), pane),
      h("h3", {}, "Rates"), table("validated share, by the harness alone and with the decisions laid on top; the interval is the adjudicated rate's", rates, data.rates)],
    keys: { n: ["next undecided", next], ...keys },
  };
}
