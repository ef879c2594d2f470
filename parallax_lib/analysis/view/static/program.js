// One program: verdict, texts side by side, log, outputs, siblings; and two programs beside each other.

// listing: {rows: [[left number, left, right number, right, kind]], folds}.  heads: captions of the two sides.
function listingView(app, listing, heads, id) {
  const narrow = app.root.clientWidth && app.root.clientWidth < 760;
  let how = app.listing || (narrow ? "one" : "two");
  const opened = new Set(), holder = h("div", { class: "listing" });
  const open = (i) => { opened.add(i); draw(); };
  const words = { "=": "", "~": "changed", "-": "only left", "+": "only right" };
  const sign = { "=": " ", "~": "~", "-": "−", "+": "+" };
  function row(r, i) {
    const code = (html, side) => h("td", { class: "code " + side, html });
    const number = (n, side) => h("td", { class: "line " + (side || ""), id: side === "right" && n ? `${id}-${n}` : null }, n ?? "");
    const mark = h("td", { class: "sign" }, h("span", { "aria-hidden": "true" }, sign[r[4]]), words[r[4]] ? h("span", { class: "unseen" }, words[r[4]]) : null);
    const css = { "=": "same", "~": "changed", "-": "gone", "+": "new" }[r[4]];
    if (how === "two") return h("tr", { class: css }, number(r[0], "left"), code(r[1], "left"), mark, number(r[2], "right"), code(r[3], "right"));
    if (r[4] === "~") return [h("tr", { class: "gone" }, number(r[0], "left"), number(null), h("td", { class: "sign" }, "−"), code(r[1], "left")), h("tr", { class: "new" }, number(null), number(r[2], "right"), h("td", { class: "sign" }, "+"), code(r[3], "right"))];
    return h("tr", { class: css }, number(r[0], "left"), number(r[2], "right"), mark, code(r[4] === "-" ? r[1] : r[3], r[4] === "-" ? "left" : "right"));
  }
  function draw() {
    const rows = [], folds = listing.folds.map((f, k) => [...f, k]);  // [first, last, what stands in it, number]
    for (let i = 0; i < listing.rows.length; i++) {
      const fold = folds.find(([first, , , k]) => first === i && !opened.has(k));
      if (fold) {
        const n = fold[1] - fold[0] + 1;
        rows.push(h("tr", { class: "fold" }, h("td", { colspan: 5 }, h("button", { type: "button", onclick: () => open(fold[3]), "aria-expanded": "false" }, `⋯ ${n} unchanged lines (${listing.rows[fold[0]][2]}–${listing.rows[fold[1]][2]})${fold[2] ? ": " + fold[2] : ""}; show`))));
        i = fold[1];
      } else rows.push(row(listing.rows[i], i));
    }
    const head = how === "two" ? h("tr", {}, h("th", { scope: "col", colspan: 2 }, heads[0]), h("td", {}), h("th", { scope: "col", colspan: 2 }, heads[1])) : h("tr", {}, h("th", { scope: "col", colspan: 4 }, `${heads[0]} (−) and ${heads[1]} (+)`));
    const cols = how === "two" ? ["line", "half", "sign", "line", "half"] : ["line", "line", "sign", "whole"];
    holder.replaceChildren(
      h("div", { class: "bar" }, choice("listing", [["two", "side by side"], ["one", "one column"]], how, (value) => { how = app.listing = value; draw(); }),
        h("button", { type: "button", onclick: () => { listing.folds.forEach((_, k) => opened.add(k)); draw(); } }, "unfold all"),
        h("span", { class: "muted" }, listing.changed ? `${plural(listing.changed, "line")} of ${count(listing.rows.length)} differ` : "no difference")),
      h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": heads.join(" and ") },
        h("table", { class: "diff " + how }, h("caption", {}, `${heads[0]} beside ${heads[1]}; words that differ are marked`), h("colgroup", {}, cols.map((c) => h("col", { class: c }))), h("thead", {}, head), h("tbody", {}, rows.flat()))));
  }
  holder.jump = (line) => {
    const at = listing.rows.findIndex((r) => r[2] === line);
    listing.folds.forEach(([first, last], k) => { if (first <= at && at <= last) opened.add(k); });
    draw();
    const found = holder.querySelector(`#${CSS.escape(id + "-" + line)}`)?.parentElement;
    if (!found) return;
    found.classList.add("here");
    found.scrollIntoView({ block: "center" });
    setTimeout(() => found.classList.remove("here"), 2500);
  };
  draw();
  return holder;
}

function ladderView(steps) {
  const state = { reached: "✓", stopped: "✗", open: "·" };
  return h("ol", { class: "ladder", "aria-label": "levels of the verdict" }, steps.map((s, i) =>
    h("li", { class: s.state }, h("span", { "aria-hidden": "true" }, state[s.state]), ` ${i + 1} ${s.name}`, h("span", { class: "unseen" }, s.state === "reached" ? ", reached" : s.state === "stopped" ? ", not reached: it ended before" : ", not reached"))));
}

function logView(log, jump) {
  if (!log.length) return h("p", { class: "muted" }, "The log is empty.");
  return h("ol", { class: "log" }, log.map((l) => h("li", {}, l.line ? h("button", { type: "button", class: "jump", onclick: () => jump(l.line), title: `line ${l.line} of the translation` }, l.text, h("span", { class: "to" }, ` → line ${l.line}`)) : l.text)));
}

function outputsView(rerun) {
  const v = rerun.verdict, made = [h("p", {}, `Run again by harness version ${rerun.harness}: ${v.reason}${v.log ? " (" + v.log.split("\n")[0] + ")" : ""}. ${v.toolchain}.`)];
  if (!rerun.inputs.length) made.push(h("pre", {}, rerun.build || "It does not build."));
  rerun.inputs.forEach((input, i) => input.runs.forEach((run) => {
    const what = `input ${i + 1} (${input.args.join(" ")}), ${run.threads} ${run.threads === 1 ? "thread or first order" : "threads or another order"}`;
    if (run.ended !== "ok") return made.push(h("p", {}, `${what}: ended with ${run.ended}. ${run.log}`));
    const said = run.first === null ? "no difference" : `first difference in line ${run.first + 1}`;
    const numbers = run.numbers ? `, ${run.agree} of ${run.numbers} numbers agree within 1e-6, largest relative difference ${shown(run.largest)}` : "";
    const columns = [{ text: "line", number: true, cell: (r) => r.at + 1 }, { text: "reference", cell: (r) => words(r, 0) }, { text: "program", cell: (r) => [words(r, 1), r.at === run.first ? h("strong", { class: "first" }, " ← first difference") : null] }];
    made.push(table(`${what}: ${said}${numbers}`, columns, run.rows.map((r, at) => ({ at, row: r })), { class: "outputs", row: (r) => ({ class: r.row[2] && "differs" }) }));
    if (run.more) made.push(h("p", {}, `${plural(run.more, "further line")} not sent.`));
  }));
  return made;
  function words(r, side) {
    const own = r.row[side], other = r.row[1 - side];
    if (own === null) return h("em", {}, "no such line");
    if (!r.row[2]) return h("code", {}, own);
    const theirs = (other || "").split(/(\s+)/);
    return h("code", {}, own.split(/(\s+)/).map((word, k) => (word.trim() && word !== theirs[k] ? h("mark", {}, word) : word)));
  }
}

function decisionBar(app, data, done) {
  const note = h("input", { type: "text", id: "px-note", value: data.decision?.note || "", placeholder: "note, kept with the decision" });
  const who = h("input", { type: "text", id: "px-who", value: app.reviewer(), oninput: (e) => app.reviewer(e.target.value) });
  const status = h("p", { class: "muted", role: "status" }, told(data.decision));
  async function decide(choiceMade) {
    const got = await app.ask("decide", { table: data.table }, { row: data.row, choice: choiceMade, note: note.value, reviewer: who.value });
    data.decision = got.decision;
    status.textContent = told(got.decision);
    await done(choiceMade, got.next);
  }
  function told(d) {
    if (!d) return `Not decided. A decision applies to ${plural(data.applies, "row")} with this very program.`;
    const by = d.reviewer ? ` by ${d.reviewer}` : "", when = d.time ? `, ${d.time.replace("T", " ").replace("+00:00", " UTC")}` : "";
    const then = d.verdict ? `; verdict then: ${d.verdict.reason}, harness version ${d.harness}` : "";
    return `Decided: ${d.choice}${by}${when}${then}${d.note ? `. Note: ${d.note}` : ""}. It applies to ${plural(data.applies, "row")}.`;
  }
  const button = (name, key, css) => h("button", { type: "button", class: css, onclick: () => decide(name) }, name === "recheck" ? "mark: look again" : name, h("kbd", {}, key));
  const bar = h("section", { class: "decide", "aria-label": "decision" },
    h("div", { class: "bar" }, button("accept", "a", "good"), button("reject", "r", "bad"), button("unsure", "u"), button("recheck", "m"),
      h("button", { type: "button", onclick: () => decide(null) }, "take back"),
      h("label", { class: "field" }, h("span", {}, "note"), note), h("label", { class: "field" }, h("span", {}, "reviewer"), who)), status);
  bar.keys = { a: ["accept", () => decide("accept")], r: ["reject", () => decide("reject")], u: ["unsure", () => decide("unsure")], m: ["mark: look again", () => decide("recheck")] };
  return bar;
}

// Why a text is not here, and where it can be had.
function absentView(data) {
  const said = [];
  if (data.absent.source) said.push(h("p", {}, "The source is a program of HeCBench, whose text does not ship. To see it, start the page with a checkout of your own: ", h("code", {}, "view RUN --hecbench DIR"), ". SHA-256 of the text: ", h("code", {}, data.absent.source), "."));
  else if (!data.has.source) said.push(h("p", { class: "muted" }, "The source of this task is not stored here."));
  if (data.absent.code) said.push(h("p", {}, "The translation repeats text of HeCBench and does not ship; its verdict, plan and latents do. A checkout does not hold it either: ", h("code", {}, "collect"), " with the run's parameters writes it again. SHA-256 of the text: ", h("code", {}, data.absent.code), "."));
  else if (!data.has.code) said.push(h("p", { class: "muted" }, "The row holds no program."));
  return said;
}

function programBody(app, data, done) {
  const id = "l" + Math.random().toString(36).slice(2, 7), f = data.facts;
  const listing = listingView(app, data.listing, ["source", "translation"], id);
  const outputs = h("div", {}), bar = decisionBar(app, data, done);
  const run = h("button", { type: "button", onclick: again }, "build and run again", h("kbd", {}, "b"));
  async function again() {
    run.disabled = true;
    outputs.replaceChildren(h("p", { role: "status" }, "Building and running… The first run of a session also checks this machine with known programs; that takes about a minute."));
    try { outputs.replaceChildren(...outputsView(await app.ask("rerun", { table: data.table }, { row: data.row }))); }
    catch (e) { outputs.replaceChildren(h("p", { class: "error", role: "alert" }, e.message)); }
    run.disabled = false;
  }
  if (data.rerun) outputs.replaceChildren(...outputsView(data.rerun));
  else if (!data.has.code) outputs.replaceChildren(h("p", { class: "muted" }, "Without a text nothing can be run."));
  else outputs.replaceChildren(h("p", { class: "muted" }, "Outputs are not stored. The verdict's log above names the first difference; a run here shows both outputs."));
  const near = data.closeness === null ? null : h("p", {}, `The first number that differs is off by ${shown(data.closeness)} of the expected value.`);
  const other = data.elsewhere ? h("p", {}, "On a GPU the same program was judged ", badge(app, data.elsewhere.reason), ` (${data.elsewhere.toolchain}). ${data.elsewhere.log || ""}`) : null;
  const sib = data.siblings, named = ["arm", "branch_depth", "resample", "seed", "sample", "repair", "level", "score", "plan"].filter((c) => sib.some((s) => s[c] !== undefined));
  const columns = [{ text: "row", cell: (s) => app.link(written(["program", data.table, s.row]), count(s.row)) }, { text: "reason", cell: (s) => badge(app, s.reason) },
    { text: "text", cell: (s) => (s.same ? "the same" : app.link(written(["pair"], { a: data.row, b: s.row, table_a: data.table, table_b: data.table }), "compare")) }, ...named.map((c) => ({ text: columnWord(c), number: c !== "arm" && c !== "plan", cell: (s) => (c === "arm" ? methodName(app, s.arm) : c === "branch_depth" ? trajectory(s[c]) : shown(s[c])) }))];
  const body = [
    h("p", { class: "verdict" }, badge(app, f.reason), f.plan ? h("span", {}, " decoded latents: ", h("code", {}, f.plan)) : null, f.score !== null && f.score !== undefined ? ` PRM score ${shown(f.score)}` : null,
      app.info.tree ? [" ", app.link(written(["tree", f.task]), "latent tree")] : null),
    ladderView(data.ladder),
    h("details", { class: "evidence", open: true }, h("summary", {}, "the verdict in words"), h("ul", {}, data.words.map((w) => h("li", {}, w))), near, other),
    bar,
    h("h3", {}, "Source and translation"), ...absentView(data), data.has.source || data.has.code ? listing : null,
    h("h3", {}, "Compiler and run log"), logView(data.log, listing.jump),
    h("h3", {}, "Outputs against the reference"), data.can_run && data.has.code ? h("div", { class: "bar" }, run) : null, outputs,
    h("h3", {}, `Siblings (${count(sib.length)})`), sib.length ? table(`the other programs of ${f.task}; the same texts first`, columns, sib) : h("p", { class: "muted" }, "No other program of this task."),
    h("details", {}, h("summary", {}, "every column of the row"), table("columns of the row", [{ text: "column", cell: (r) => r[0] }, { text: "value", cell: (r) => shown(r[1]) }], Object.entries(f))),
  ];
  return { body, keys: { ...bar.keys, ...(data.can_run && data.has.code ? { b: ["build and run again", again] } : {}) } };
}

async function programPage(app, { parts, given }) {
  const [, name, row] = parts;
  const data = await app.ask("program", { table: name, row, q: given.q || "", sort: given.sort || "" });
  const to = (n) => written(["program", name, n], given), around = data.around;
  const step = (n) => { if (n !== null) app.go(to(n)); };
  const made = programBody(app, data, async (choiceMade) => { if (choiceMade && choiceMade !== "recheck") step(around.next); });
  const turn = (n, text, key) => h("button", { type: "button", disabled: n === null, onclick: () => step(n) }, text, h("kbd", {}, key));
  const place = around.at === null ? "not among the filtered programs" : `${count(around.at + 1)} of ${count(around.found)}`;
  return {
    title: data.title,
    body: [h("div", { class: "bar" }, app.link(written(["programs"], { table: name, q: given.q, sort: given.sort }), "← table"), turn(around.previous, "previous", "p"), turn(around.next, "next", "n"), h("span", { class: "muted" }, place, given.q ? ` (filter: ${given.q})` : "")), ...made.body],
    keys: { n: ["next program", () => step(around.next)], p: ["previous program", () => step(around.previous)], ...made.keys },
  };
}

async function pairPage(app, { given }) {
  const data = await app.ask("pair", given);
  const heads = data.sides.map((s) => s.title);
  const side = (s, i) => h("section", {}, h("h3", {}, i && given.side === "other" ? s.title : app.link(written(["program", s.table, s.row]), s.title)), h("p", {}, badge(app, s.reason)), h("ul", {}, s.words.slice(0, 2).map((w) => h("li", {}, w))));
  return { title: "Two programs", body: [h("div", { class: "pair" }, data.sides.map(side)), data.same ? h("p", {}, "Both rows hold the same text.") : null, listingView(app, data.listing, heads, "pair")] };
}
