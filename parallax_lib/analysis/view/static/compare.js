// Method against method, run against run, verdict against earlier verdict.

async function comparePage(app, { given }) {
  const name = given.table || app.info.tables[0].name, arms = await app.ask("arms", { table: name }), made = [];
  const tabs = [["methods", arms.length > 1], ["verdicts", true], ["runs", Boolean(app.info.other)]].filter(([, here]) => here).map(([t]) => t);
  const how = tabs.includes(given.how) ? given.how : tabs[0];
  const to = (change) => written(["compare"], { table: name, how, ...given, ...change });
  const titles = { methods: "method against method", verdicts: "verdict against verdict", runs: `run against run` };
  const nav = h("nav", { class: "tabs", "aria-label": "comparisons" }, tabs.map((t) => app.link(written(["compare"], { table: name, how: t }), titles[t], t === how)));
  const tables = app.info.tables.length > 1 ? choice("table", app.info.tables.map((t) => [t.name, t.name]), name, (table) => app.go(written(["compare"], { table }))) : null;
  if (how === "methods") made.push(...(await methodsView(app, name, arms, given, to)));
  else if (how === "runs") made.push(...matrixView(app, await app.ask("runs", { table: name }), name, given, to, true));
  else {
    const data = await app.ask("rejudged", { table: name });
    if (data.what) made.push(...matrixView(app, data, name, given, to, false));
    else made.push(h("p", {}, "This table holds one verdict a program. To compare with a re-judgement: ", h("code", {}, "python -m parallax_lib rejudge FOLDER --out NEW"), ", then ", h("code", {}, "python -m parallax_lib view FOLDER --against NEW"), "."),
      app.info.tables.some((t) => t.name === "rollouts") && name !== "rollouts" ? h("p", {}, app.link(written(["compare"], { table: "rollouts", how: "verdicts" }), "the table rollouts"), " may hold a second judge's.") : null);
  }
  return { title: "Compare", body: [nav, h("div", { class: "bar" }, tables), ...made] };
}

async function methodsView(app, name, arms, given, to) {
  const a = given.a || (arms.includes("guided") ? "guided" : arms[1]), b = given.b || (arms.includes("unguided") ? "unguided" : arms[0]);
  const data = await app.ask("methods", { table: name, a, b }), s = data.summary, show = given.show || "differ";
  const [nameA, nameB] = [a, b].map((x) => methodName(app, x));
  const pick = (label, key, value) => choice(label, arms.map((x) => [x, methodName(app, x)]), value, (v) => app.go(to({ [key]: v, page: "" })));
  const cards = [["wins", s.wins, "win"], ["ties", s.ties, "tie"], ["losses", s.losses, "loss"]];
  const kept = data.tasks.filter((t) => show === "all" || (show === "differ" ? t.outcome !== "tie" : t.outcome === show));
  const page = Number(given.page || 0), size = 50;
  const columns = [{ text: "task", cell: (t) => app.link(written(["pair"], { a: t.row_a, b: t.row_b, table_a: name, table_b: name }), t.task) }, { text: "outcome of " + nameA, cell: (t) => h("span", { class: "o-" + t.outcome }, { win: "▲ win", loss: "▼ loss", tie: "= tie" }[t.outcome]) }, { name: "a", text: nameA + ", validated" }, { name: "b", text: nameB + ", validated" }];
  return [h("div", { class: "bar" }, pick("method", "a", a), pick("against", "b", b)),
    h("p", {}, `${nameA} validates ${percent(s.rate_a)} of the tasks by the harness alone, ${nameB} ${percent(s.rate_b)}: `, h("strong", {}, `${s.diff >= 0 ? "+" : ""}${(100 * s.diff).toFixed(1)} points`), ` [${(100 * s.low).toFixed(1)}, ${(100 * s.high).toFixed(1)}] over ${plural(s.tasks, "task")}` + (s.unpaired ? `; ${plural(s.unpaired, "task")} judged under one of them only` : "") + "."),
    h("ul", { class: "cards" }, cards.map(([text, n, key]) => h("li", { class: "o-" + key }, app.link(to({ show: key, page: "" }), `${count(n)} ${text}`)))),
    h("div", { class: "bar" }, choice("list", [["differ", "tasks where they differ"], ["win", "wins"], ["tie", "ties"], ["loss", "losses"], ["all", "all tasks"]], show, (v) => app.go(to({ show: v, page: "" })))),
    pager(kept.length, size, page, (p) => app.go(to({ page: p })), "tasks"),
    table(`tasks of ${nameA} against ${nameB}; a task opens both programs side by side`, columns, kept.slice(page * size, (page + 1) * size))];
}

function matrixView(app, data, name, given, to, twoRuns) {
  const [before, after] = data.what, cell = Object.fromEntries(data.matrix.map(([x, y, n]) => [x + "|" + y, n]));
  const chosen = given.from ? data.rows.filter((r) => r.old === given.from && r.new === given.to) : data.rows;
  const page = Number(given.page || 0), size = 50;
  const columns = [{ text: "old \\ new", cell: (x) => badge(app, x) }, ...data.order.map((y) => ({ text: y, number: true, cell: (x) => {
    const n = cell[x + "|" + y] || 0;
    if (!n) return h("span", { class: "muted" }, "0");
    return x === y ? h("span", {}, count(n)) : h("strong", {}, app.link(to({ from: x, to: y, page: "" }), count(n)));
  } }))];
  const rows = [{ text: "task", cell: (r) => app.link(twoRuns ? written(["pair"], { a: r.row_a, b: r.row_b, table_a: name, side: "other" }) : written(["program", name, r.row_a]), r.task) }, { text: "old", cell: (r) => badge(app, r.old) }, { text: "new", cell: (r) => badge(app, r.new) }];
  const changed = data.rows.length;
  return [h("p", {}, `${plural(data.paired, "program")} paired by ${data.key.join(", ")}: `, h("strong", {}, `${count(changed)} changed`), `, ${count(data.won)} validated only by the new verdict, ${count(data.lost)} only by the old one. ${plural(data.only_old, "row")} only in the old, ${count(data.only_new)} only in the new.`),
    table(`old verdict (rows): ${before}; new verdict (columns): ${after}`, columns, data.order, { class: "matrix" }),
    h("h3", {}, given.from ? `${given.from} → ${given.to}` : "Programs whose verdict changed"), given.from ? app.link(to({ from: "", to: "", page: "" }), "all changes") : null,
    pager(chosen.length, size, page, (p) => app.go(to({ page: p })), "programs"),
    chosen.length ? table("programs whose verdict changed", rows, chosen.slice(page * size, (page + 1) * size)) : h("p", { class: "muted" }, "No verdict changed.")];
}
