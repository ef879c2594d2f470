// The page: addresses, keys, theme.  In a browser the address is the part after #; in a notebook it is kept by the widget.

const PAGES = {
  programs: [programsPage, "Programs", () => true], failures: [failuresPage, "Failures", () => true], scores: [scoresPage, "Scores", (info) => info.scores.length],
  tree: [treePage, "Latent tree", (info) => info.tree], compare: [comparePage, "Compare", () => true], recheck: [deskPage, "Recheck", () => true],
  program: [programPage], pair: [pairPage],
};

async function start(root, ask, place) {
  const app = { root, info: null, redraw: [], address: "", link, go, say, reviewer, ask: question, listing: null, filter: null };
  const main = h("main", { id: "px-main", tabindex: "-1" }), status = h("div", { class: "toast", role: "status", hidden: true });
  let page = null, pending = 0;

  async function question(path, given, body) {
    pending += 1;
    root.classList.add("busy");
    try { return await ask(path, given, body); }
    finally { pending -= 1; if (!pending) root.classList.remove("busy"); }
  }
  function say(text) {
    status.textContent = text;
    status.hidden = false;
    setTimeout(() => { status.hidden = true; }, 5000);
  }
  function reviewer(name) {
    try {
      if (name !== undefined) localStorage.setItem("parallax-reviewer", name);
      return localStorage.getItem("parallax-reviewer") || app.info.reviewer;
    } catch { return name || app.info.reviewer; }
  }
  function link(address, text, current) {
    return h("a", { href: "#" + address, "aria-current": current ? "page" : null, onclick: (e) => {
      if (place.own || (!e.ctrlKey && !e.metaKey && !e.shiftKey && e.button === 0)) { e.preventDefault(); go(address); }
    } }, text);
  }
  function go(address, same) {  // same: another state of the page that is open
    place.write(address, same && parse(address).parts[0] === parse(app.address).parts[0]);
    return open(address);
  }
  async function open(address) {
    const before = parse(app.address), asked = parse(address);
    app.address = address;
    const same = page && before.parts.join("/") === asked.parts.join("/");
    try {
      if (same && page.update && (await page.update(asked.given))) return;
      const [make] = PAGES[asked.parts[0]] || PAGES.programs;
      app.redraw = [];
      const made = await make(app, asked);
      if (app.address !== address) return;  // another page was asked for meanwhile
      page = made;
      main.replaceChildren(h("h1", {}, page.title), ...page.body.flat().filter(Boolean));
      if (!place.own) document.title = `${page.title} · ${app.info.name} · Parallax`;
      if (!same && !place.own) window.scrollTo(0, 0);
      drawNav(asked.parts[0]);
    } catch (e) {
      const told = h("p", { class: "error", role: "alert" }, e.message);
      if (same && page?.update) { main.querySelector(".error")?.remove(); main.querySelector(".filter")?.after(told); }
      else { page = null; main.replaceChildren(h("h1", {}, "Not shown"), told); drawNav(""); }
      return;
    }
    main.querySelector(".filter + .error")?.remove();
  }

  const nav = h("nav", { class: "pages", "aria-label": "pages" });
  const drawNav = (now) => nav.replaceChildren(...Object.entries(PAGES).filter(([, p]) => p[1] && p[2](app.info)).map(([key, p]) => link("/" + key, p[1], key === now)));
  const themes = ["auto", "light", "dark"];
  const theme = h("button", { type: "button", class: "theme", onclick: () => setTheme(themes[(themes.indexOf(root.dataset.theme) + 1) % 3]) });
  function setTheme(name) {
    root.dataset.theme = name;
    theme.textContent = `theme: ${name}`;
    try { localStorage.setItem("parallax-theme", name); } catch { /* for this page only */ }
    app.redraw.forEach((draw) => draw());
  }
  const keysBox = h("dialog", { "aria-label": "keys" });
  function showKeys() {
    const all = { "/": ["filter"], "?": ["these keys"], t: ["theme"], ...(page?.keys || {}) };
    keysBox.replaceChildren(h("h2", {}, "Keys"), h("dl", {}, Object.entries(all).map(([key, [what]]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])), h("button", { type: "button", onclick: () => keysBox.close() }, "close"));
    keysBox.showModal();
  }
  root.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const writing = e.target.closest("input, textarea, select");
    if (writing) { if (e.key === "Escape") { e.target.blur(); main.focus({ preventScroll: true }); } return; }
    if (e.target.closest("button, a, summary, .leaf, canvas") && e.key === "Enter") return;
    const shared = { "/": () => app.filter?.isConnected && app.filter.focus(), "?": showKeys, t: () => theme.click() };
    const act = page?.keys?.[e.key]?.[1] || shared[e.key];
    if (!act) return;
    e.preventDefault();
    e.stopPropagation();
    Promise.resolve(act()).catch((error) => say(error.message));
  });
  if (!place.own) document.addEventListener("keydown", (e) => { if (e.target === document.body) root.dispatchEvent(new KeyboardEvent("keydown", e)); });
  window.addEventListener("unhandledrejection", (e) => { if (e.reason instanceof Error && e.reason.asked) { say(e.reason.message); e.preventDefault(); } });

  try { setTheme(place.own ? "auto" : localStorage.getItem("parallax-theme") || "auto"); } catch { setTheme("auto"); }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => app.redraw.forEach((draw) => draw()));
  if (place.own) new MutationObserver(() => app.redraw.forEach((draw) => draw())).observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  root.classList.add("px-view");
  try { app.info = await question("open", {}); }
  catch (e) { root.replaceChildren(h("p", { class: "error", role: "alert" }, e.message)); return app; }
  const head = h("header", {}, h("a", { href: "#px-main", class: "skip", onclick: (e) => { e.preventDefault(); main.focus(); } }, "to the content"), h("strong", {}, "Parallax"), h("span", { class: "muted" }, app.info.name), nav, h("button", { type: "button", onclick: showKeys }, "keys", h("kbd", {}, "?")), theme);
  root.replaceChildren(head, main, status, keysBox);
  await open(place.read() || "/programs");
  place.watch?.((address) => { if (address !== app.address) open(address || "/programs"); });
  return app;
}

class Refused extends Error { asked = true; }

// In a browser: questions over HTTP, the address after #.
async function overHttp(path, given, body) {
  const query = new URLSearchParams(given || {}).toString();
  const sent = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  let reply;
  try { reply = await fetch(`api/${path}${query ? "?" + query : ""}`, sent); }
  catch { throw new Refused("The command that serves this page has ended; start it again and reload."); }
  const found = await reply.json();
  if (!reply.ok) throw new Refused(found.error);
  return found;
}

const inBrowser = {
  own: false,
  read: () => location.hash.slice(1),
  write: (address, same) => history[same ? "replaceState" : "pushState"](null, "", "#" + address),
  watch: (changed) => window.addEventListener("popstate", () => changed(location.hash.slice(1))),
};

// In a notebook: questions over the kernel's connection.
async function render({ model, el }) {
  const waiting = new Map();
  let last = 0;
  model.on("msg:custom", (said) => {
    const [done, failed] = waiting.get(said.id) || [];
    waiting.delete(said.id);
    if (said.error) failed?.(new Refused(said.error));
    else done?.(JSON.parse(said.answer));
  });
  const ask = (path, given, body) => new Promise((done, failed) => {
    const id = ++last;
    waiting.set(id, [done, failed]);
    const plain = Object.fromEntries(Object.entries(given || {}).map(([k, v]) => [k, String(v)]));
    model.send({ id, path, given: plain, ...(body ? { body } : {}) });
  });
  let address = model.get("address");
  const root = h("div", { tabindex: "-1", "data-lm-suppress-shortcuts": "true" });
  el.append(root);
  await start(root, ask, { own: true, read: () => address, write: (next) => { address = next; model.set("address", next); model.save_changes(); }, watch: null });
}

if (document.body.classList.contains("px-page")) start(document.getElementById("view"), overHttp, inBrowser);
export default { render };
