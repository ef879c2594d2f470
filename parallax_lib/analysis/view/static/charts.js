// Small drawings: a cloud of points on a canvas, curves, reliability.  Colours are those of the style sheet, so figures follow the theme.

function colours(app) {
  const style = getComputedStyle(app.root);
  const read = (name) => style.getPropertyValue(name).trim();
  const classes = {};
  for (const kind of Object.keys(MARKS)) classes[kind] = read("--c-" + slug(kind));
  return { classes, fg: read("--fg"), muted: read("--muted"), line: read("--line"), accent: read("--accent"), bg: read("--bg") };
}

function ticks(low, high, log) {
  if (log) {
    const made = [];
    for (let e = Math.ceil(Math.log10(low)); e <= Math.log10(high); e++) made.push(10 ** e);
    return made.length > 7 ? made.filter((_, i) => i % 2 === 0) : made;
  }
  const step = 10 ** Math.floor(Math.log10((high - low || 1) / 4));
  const by = [1, 2, 5, 10].map((k) => k * step).find((s) => (high - low) / s <= 6) || step;
  const made = [];
  for (let v = Math.ceil(low / by) * by; v <= high + by * 1e-9; v += by) made.push(Math.abs(v) < by * 1e-9 ? 0 : v);
  return made;
}

function tick(v) {
  if (v && (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e5)) return "1e" + Math.round(Math.log10(v));
  return String(Number(v.toPrecision(4)));
}

// points: {row, x, y, reason, reasons, log}.  Click opens a point, a drawn box selects.  All points are drawn.
function cloud(app, points, given) {
  const canvas = h("canvas", { class: "cloud", role: "img", tabindex: "0",
    "aria-label": `${count(points.row.length)} points, PRM score against ${given.axis}; the table below lists a selection` });
  const tip = h("div", { class: "tip", hidden: true });
  const holder = h("div", { class: "canvas" }, canvas, tip);
  const pad = { left: 46, right: 10, top: 8, bottom: 42 };
  let low = Infinity, high = -Infinity;
  for (const v of points.x) { if (v < low) low = v; if (v > high) high = v; }
  if (!points.x.length) { low = 0.1; high = 1; }
  if (points.log) { low /= 1.3; high *= 1.3; } else { const m = (high - low || 1) * 0.03; low -= m; high += m; }
  const f = points.log ? Math.log : (v) => v;
  let width = 0, height = 0, box = null;
  const X = (v) => pad.left + ((f(v) - f(low)) / (f(high) - f(low))) * (width - pad.left - pad.right);
  const Y = (v) => height - pad.bottom - ((v + 0.03) / 1.06) * (height - pad.top - pad.bottom);
  const unX = (p) => { const t = f(low) + ((p - pad.left) / (width - pad.left - pad.right)) * (f(high) - f(low)); return points.log ? Math.exp(t) : t; };
  const unY = (p) => ((height - pad.bottom - p) / (height - pad.top - pad.bottom)) * 1.06 - 0.03;
  function draw() {
    const c = colours(app), ratio = window.devicePixelRatio || 1;
    width = holder.clientWidth; height = Math.max(300, Math.min(460, width * 0.5));
    canvas.width = width * ratio; canvas.height = height * ratio; canvas.style.height = height + "px";
    const g = canvas.getContext("2d");
    g.scale(ratio, ratio); g.clearRect(0, 0, width, height);
    g.font = "12px system-ui, sans-serif"; g.fillStyle = c.muted; g.strokeStyle = c.line; g.lineWidth = 1; g.textAlign = "center";
    for (const v of ticks(low, high, points.log)) { g.beginPath(); g.moveTo(X(v), pad.top); g.lineTo(X(v), height - pad.bottom); g.stroke(); g.fillText(tick(v), X(v), height - pad.bottom + 16); }
    g.textAlign = "right";
    for (const v of [0, 0.25, 0.5, 0.75, 1]) { g.beginPath(); g.moveTo(pad.left, Y(v)); g.lineTo(width - pad.right, Y(v)); g.stroke(); g.fillText(String(v), pad.left - 6, Y(v) + 4); }
    g.textAlign = "center"; g.fillStyle = c.fg; g.fillText(given.short, (pad.left + width) / 2, height - 8);
    const n = points.row.length, size = n > 2000 ? 2.2 : 3.6;
    g.globalAlpha = n > 30000 ? 0.25 : n > 2000 ? 0.45 : 0.8;
    const kinds = points.reasons.map((reason) => app.info.classes[reason] || "not judged");
    for (let i = 0; i < n; i++) {  // in the order of the rows, so that no class lies over all others
      const kind = kinds[points.reason[i]], x = X(points.x[i]), y = Y(points.y[i]);
      g.fillStyle = c.classes[kind];
      if (kind === "validated") { g.beginPath(); g.arc(x, y, size, 0, 7); g.fill(); }
      else if (kind === "wrong output") { g.fillRect(x - size, y - 0.8, 2 * size, 1.6); g.fillRect(x - 0.8, y - size, 1.6, 2 * size); }
      else if (kind === "race") { g.beginPath(); g.moveTo(x, y - size); g.lineTo(x + size, y + size); g.lineTo(x - size, y + size); g.fill(); }
      else if (kind === "does not build") { g.beginPath(); g.moveTo(x, y - size); g.lineTo(x + size, y); g.lineTo(x, y + size); g.lineTo(x - size, y); g.fill(); }
      else g.fillRect(x - size * 0.8, y - size * 0.8, size * 1.6, size * 1.6);
    }
    g.globalAlpha = 1;
    const b = box || given.box;
    if (b) { g.strokeStyle = c.accent; g.lineWidth = 2; g.strokeRect(X(b[0]), Y(b[3]), X(b[1]) - X(b[0]), Y(b[2]) - Y(b[3])); }
    holder.drawn = points.row.length;
  }
  function nearest(px, py) {
    let best = -1, least = 144;
    for (let i = 0; i < points.row.length; i++) {
      const dx = X(points.x[i]) - px, dy = Y(points.y[i]) - py, d = dx * dx + dy * dy;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }
  let start = null;
  const at = (e) => { const r = canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
  canvas.addEventListener("pointerdown", (e) => { start = at(e); canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", (e) => {
    const [px, py] = at(e);
    if (start && Math.hypot(px - start[0], py - start[1]) > 6) {
      box = [Math.min(unX(start[0]), unX(px)), Math.max(unX(start[0]), unX(px)), Math.min(unY(start[1]), unY(py)), Math.max(unY(start[1]), unY(py))];
      tip.hidden = true; requestAnimationFrame(draw); return;
    }
    const i = nearest(px, py);
    tip.hidden = i < 0;
    if (i >= 0) { tip.textContent = `row ${points.row[i]}: ${points.reasons[points.reason[i]]}, score ${points.y[i]}`; tip.style.left = Math.min(px + 12, width - 190) + "px"; tip.style.top = py + 12 + "px"; }
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("pointerup", (e) => {
    const [px, py] = at(e), moved = start && Math.hypot(px - start[0], py - start[1]) > 6;
    start = null;
    if (moved && box) return given.select(box);
    const i = nearest(px, py);
    if (i >= 0) given.open(points.row[i]);
  });
  holder.draw = draw;
  new ResizeObserver(() => { if (holder.clientWidth && Math.abs(holder.clientWidth - width) > 1) draw(); }).observe(holder);
  app.redraw.push(draw);
  return holder;
}

function frame(width, height, label) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "chart" });
}

function axes(g, w, h2, pad, xs, ys, X, Y, xName, yName) {
  for (const [v, text] of xs) { g.append(svg("line", { x1: X(v), x2: X(v), y1: pad.top, y2: h2 - pad.bottom, class: "grid" }), svg("text", { x: X(v), y: h2 - pad.bottom + 16, "text-anchor": "middle" }, text)); }
  for (const v of ys) { g.append(svg("line", { x1: pad.left, x2: w - pad.right, y1: Y(v), y2: Y(v), class: "grid" }), svg("text", { x: pad.left - 6, y: Y(v) + 4, "text-anchor": "end" }, String(v))); }
  g.append(svg("text", { x: (pad.left + w - pad.right) / 2, y: h2 - 4, "text-anchor": "middle" }, xName));
  g.append(svg("text", { x: pad.left, y: 12 }, yName));
}

// Median and quartiles of the score after each step, for validated and other programs.
function curvesChart(curves, steps) {
  const w = 420, h2 = 260, pad = { left: 40, right: 14, top: 38, bottom: 40 };
  const g = frame(w, h2, "PRM score by latent step, median and quartiles: " + curves.map((c) => `${c.name} ${c.steps.map((s) => shown(s[2])).join(", ")}`).join("; "));
  const last = Math.max(...steps, 1);
  const X = (v) => pad.left + 14 + (steps.length > 1 ? (v / last) * (w - pad.left - pad.right - 28) : (w - pad.left - pad.right) / 2 - 14);
  const Y = (v) => h2 - pad.bottom - v * (h2 - pad.top - pad.bottom);
  axes(g, w, h2, pad, steps.map((s) => [s, String(s + 1)]), [0, 0.25, 0.5, 0.75, 1], X, Y, "latent step", "PRM score");
  curves.forEach((curve, k) => {
    const css = k === 0 && curve.name === "validated" ? "good" : "bad";
    const line = (i) => curve.steps.map((s) => `${X(s[0])},${Y(s[i])}`);
    g.append(svg("polygon", { points: [...line(1), ...line(3).reverse()].join(" "), class: "band " + css }));
    g.append(svg("polyline", { points: line(2).join(" "), class: "line " + css }));
    for (const s of curve.steps) {
      g.append(svg("line", { x1: X(s[0]), x2: X(s[0]), y1: Y(s[1]), y2: Y(s[3]), class: "line thin " + css }));
      g.append(svg("circle", { cx: X(s[0]), cy: Y(s[2]), r: 4, class: "dot " + css }, svg("title", {}, `${curve.name}, step ${s[0] + 1}: median ${shown(s[2])}, quartiles ${shown(s[1])} to ${shown(s[3])}`)));
    }
    g.append(svg("text", { x: w - pad.right, y: 12 + 0, "text-anchor": "end", class: css, dy: k * 14 }, `${css === "good" ? "●" : "◆"} ${curve.name} (n ${count(curve.n)})`));
  });
  return g;
}

function reliabilityChart(bins, pick) {
  const w = 420, h2 = 260, pad = { left: 40, right: 14, top: 24, bottom: 40 };
  const g = frame(w, h2, "share validated by PRM score: " + bins.map((b) => `${shown(b.score)}: ${percent(b.rate)} of ${b.n}`).join("; "));
  const X = (v) => pad.left + v * (w - pad.left - pad.right), Y = (v) => h2 - pad.bottom - v * (h2 - pad.top - pad.bottom);
  axes(g, w, h2, pad, [0, 0.25, 0.5, 0.75, 1].map((v) => [v, String(v)]), [0, 0.25, 0.5, 0.75, 1], X, Y, "PRM score (bins of 0.1)", "share validated, 95 % interval");
  g.append(svg("line", { x1: X(0), y1: Y(0), x2: X(1), y2: Y(1), class: "ideal" }));
  for (const b of bins) {
    g.append(svg("line", { x1: X(b.score), x2: X(b.score), y1: Y(b.low), y2: Y(b.high), class: "line accent" }));
    g.append(svg("circle", { cx: X(b.score), cy: Y(b.rate), r: 5, class: "dot accent", tabindex: 0, onclick: () => pick(b) }, svg("title", {}, `score ${shown(b.score)}: ${percent(b.rate)} of ${count(b.n)} validated, ${percent(b.low)} to ${percent(b.high)}`)));
  }
  return g;
}
