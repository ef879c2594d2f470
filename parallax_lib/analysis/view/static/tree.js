// The latent tree of a task: depth from left to right, a line a trajectory; what each latent decodes to, its score, the verdict at the end.

async function treePage(app, { parts, given }) {
  const tasks = await app.ask("tasks", {});
  const task = parts[1] || tasks[0]?.task;
  const data = await app.ask("tree", { task, model: given.model || "" });
  const at = tasks.findIndex((t) => t.task === task);
  const go = (i) => { if (tasks[i]) app.go(written(["tree", tasks[i].task], given)); };
  const list = h("datalist", { id: "px-tasks" }, tasks.map((t) => h("option", { value: t.task }, `${t.validated} of ${t.trajectories} validated`)));
  const field = h("input", { list: "px-tasks", value: task, "aria-label": "task", class: "long", onchange: (e) => tasks.some((t) => t.task === e.target.value) && app.go(written(["tree", e.target.value], given)) });
  const models = data.models.length > 1 ? choice("scores by", data.models.map((m) => [m, m]), data.model, (model) => app.go(written(["tree", task], { model }))) : data.model ? h("span", { class: "muted" }, `scores by: ${data.model}`) : h("span", { class: "muted" }, "no scores of single steps here");
  const made = data.roots.map((root, i) => rootView(app, data, root, i));
  return {
    title: `Latent tree of ${task}`,
    body: [h("div", { class: "bar" }, h("button", { type: "button", disabled: at <= 0, onclick: () => go(at - 1) }, "previous", h("kbd", {}, "p")), h("button", { type: "button", disabled: at >= tasks.length - 1, onclick: () => go(at + 1) }, "next", h("kbd", {}, "n")),
      h("label", { class: "field" }, h("span", {}, "task"), field), list, models, h("span", { class: "muted" }, `task ${count(at + 1)} of ${count(tasks.length)}`)), ...made],
    keys: { n: ["next task", () => go(at + 1)], p: ["previous task", () => go(at - 1)] },
  };
}

const wide = (text) => 7.4 * text.length + 14;

function rootView(app, data, root, number) {
  const leaves = root.leaves, steps = data.steps, row = 44, top = 40, left = 20;
  const scored = leaves.some((l) => l.scores.some((s) => s !== null));
  const longest = Array.from({ length: steps }, (_, k) => Math.max(...leaves.map((l) => wide(l.words[k] || "·"))));
  const xs = []; let x = left + 70;
  for (let k = 0; k < steps; k++) { xs.push(x + longest[k] / 2); x += Math.max(longest[k], 60) + 44; }
  const end = x, width = end + 300, height = top + row * leaves.length + 8;
  const guided = (leaf) => leaf.chosen.some(([arm]) => /^guided(_mean)?$/.test(arm));
  const taken = leaves.filter(guided);
  const g = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "tree", role: "group", "aria-label": `${leaves.length} trajectories over ${steps} latent steps` });
  const y = (i) => top + row * i + row / 2, mid = (i) => y(i) - 7;
  for (let k = 0; k < steps; k++) g.append(svg("text", { x: xs[k], y: 16, "text-anchor": "middle", class: "head" }, `step ${k + 1}`));
  g.append(svg("text", { x: left, y: 16, class: "head" }, "prompt"), svg("text", { x: end, y: 16, class: "head" }, "verdict"));
  const origin = Math.max(0, leaves.findIndex((l) => l.depth < 0));
  const marks = svg("g", {});
  leaves.forEach((leaf, i) => {
    const from = Math.max(0, leaf.depth), css = "edge" + (guided(leaf) ? " chosen" : "");
    const startX = from === 0 ? left + 46 : xs[from - 1] + longest[from - 1] / 2;
    const startY = leaf.depth < 0 ? mid(i) : mid(origin);
    const path = [`M${startX},${startY}`], entry = xs[from] - longest[from] / 2;
    path.push(`C${startX + 26},${startY} ${entry - 26},${mid(i)} ${entry},${mid(i)}`);
    g.append(svg("path", { d: path.join(" "), class: css }));
    g.append(svg("line", { x1: entry, x2: end - 8, y1: mid(i), y2: mid(i), class: css }));
    if (guided(leaf) && leaf.depth > 0) g.append(svg("line", { x1: left + 46, x2: startX, y1: mid(origin), y2: mid(origin), class: css }));
    for (let k = from; k < steps; k++) marks.append(node(leaf, k, i));
    marks.append(leafView(leaf, i));
  });
  g.append(svg("circle", { cx: left + 34, cy: mid(origin), r: 6, class: "root" }), marks);
  function node(leaf, k, i) {
    const word = leaf.words[k] || "·", score = leaf.scores[k], w = wide(word);
    return svg("g", {}, svg("rect", { x: xs[k] - w / 2, y: y(i) - 17, width: w, height: 20, rx: 4, class: "node" }),
      svg("text", { x: xs[k], y: y(i) - 3, "text-anchor": "middle", class: "word" }, word),
      score === null ? null : svg("text", { x: xs[k], y: y(i) + 18, "text-anchor": "middle", class: "score" }, score.toFixed(2)),
      score === null ? null : svg("rect", { x: xs[k] - 20, y: y(i) + 5, width: 40 * Math.max(0, Math.min(1, score)), height: 2, class: "bar" }),
      svg("title", {}, `step ${k + 1}: ${word}${score === null ? "" : `, PRM score ${score}`}`));
  }
  function leafView(leaf, i) {
    const kind = app.info.classes[leaf.reason] || "not judged", open = () => app.go(written(["program", "rollouts", leaf.row]));
    const by = leaf.chosen.length ? "taken by " + leaf.chosen.map(([, name]) => name).join(", ") : "";
    const name = leaf.depth < 0 ? "original" : `branch-off at step ${leaf.depth + 1}`;
    return svg("g", { class: "leaf", tabindex: 0, role: "link", "aria-label": `${name}: ${leaf.reason}${by ? ", " + by : ""}; open the program`, onclick: open, onkeydown: (e) => { if (e.key === "Enter") open(); } },
      svg("rect", { x: end - 6, y: y(i) - 19, width: 300, height: 40, rx: 4, class: "hit" }),
      svg("text", { x: end, y: y(i) - 3, class: "verdict c-" + slug(kind) }, `${MARKS[kind]} ${leaf.reason}`),
      svg("text", { x: end, y: y(i) + 13, class: "by" }, cut(by || name, 44)), svg("title", {}, `${name}${leaf.chosen.length ? "; taken by " + takers(leaf) : ""}`));
  }
  const columns = [{ text: "trajectory", cell: (l) => app.link(written(["program", "rollouts", l.row]), l.depth < 0 ? "original" : `branch-off at step ${l.depth + 1}`) }, { text: "decoded latents", cell: (l) => l.words.join(" ") },
    ...Array.from({ length: scored ? steps : 0 }, (_, k) => ({ text: `score ${k + 1}`, number: true, cell: (l) => shown(l.scores[k]) })), { text: "verdict", cell: (l) => badge(app, l.reason) }, { text: "taken by", css: "wrap", cell: (l) => takers(l) || "–" }];
  return h("section", {}, h("h3", {}, number ? `Root ${number + 1}: ${root.root}` : "Trajectories"),
    h("p", { class: "muted" }, `${plural(leaves.length, "trajectory", "trajectories")}, ${leaves.filter((l) => l.validated).length} validated. ` + (taken.length ? "The thick path is what PRM-guided choice took under at least one seed." : "No choice among these trajectories is stored.") + " A click on a verdict opens its program."),
    h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "latent tree" }, g), scored ? h("div", { class: "wide" }, trajectoryChart(app, data, leaves)) : null,
    table(`the ${leaves.length} trajectories`, columns, leaves));
}

const takers = (leaf) => leaf.chosen.map(([, name, seeds]) => (seeds ? `${name}, ${seeds}` : name)).join("; ");
const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);  // the whole text is in the title and in the table below

function trajectoryChart(app, data, leaves) {
  const w = 420, h2 = 240, pad = { left: 40, right: 14, top: 24, bottom: 40 };
  const g = frame(w, h2, "PRM score of every trajectory after each latent step; the table below has the numbers");
  const X = (k) => pad.left + 16 + (data.steps > 1 ? (k / (data.steps - 1)) * (w - pad.left - pad.right - 32) : 100), Y = (v) => h2 - pad.bottom - v * (h2 - pad.top - pad.bottom);
  axes(g, w, h2, pad, Array.from({ length: data.steps }, (_, k) => [k, String(k + 1)]), [0, 0.25, 0.5, 0.75, 1], X, Y, "latent step", "PRM score; dashed: not validated");
  for (const leaf of leaves) {
    const known = leaf.scores.map((s, k) => [k, s]).filter(([, s]) => s !== null);
    g.append(svg("polyline", { points: known.map(([k, s]) => `${X(k)},${Y(Math.max(0, Math.min(1, s)))}`).join(" "), class: "line thin " + (leaf.validated ? "good" : "bad dashed") }, svg("title", {}, `${leaf.words.join(" ")}: ${leaf.reason}`)));
  }
  return g;
}
