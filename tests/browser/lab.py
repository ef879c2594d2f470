"""JupyterLab as a user has it, in headless Chromium: start, open a notebook, run all cells; and what any page is held to."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
IDLE = """() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  return panel?.sessionContext?.session?.kernel?.status === 'idle';
}"""


# What a page must hold: nothing of this kind is found on it.
FOUND = {"contrast": [], "small": [], "tables": [], "wide": False}
LOOK = """(root) => {
  const luminance = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const parse = (text) => { const c = text.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  function ground(e) {
    const layers = [];
    for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) layers.push(c); if (c[3] === 1) break; }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  }
  const found = { contrast: [], small: [], tables: [], wide: document.documentElement.scrollWidth > innerWidth + 1 };
  const walk = document.createTreeWalker(document.querySelector(root), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || !e.checkVisibility() || e.closest('option, datalist, title, .unseen, .skip')) continue;
    const style = getComputedStyle(e), svg = e.closest('svg.chart'), size = parseFloat(style.fontSize);
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    const below = ground(e), own = over(parse(e.closest('svg') ? style.fill : style.color), below);
    const [a, b] = [luminance(own), luminance(below)].sort((x, y) => y - x), contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.contrast.push([text.slice(0, 30), contrast.toFixed(2), style.color, e.className.toString()]);
    if (size * scale < 11) found.small.push([text.slice(0, 30), (size * scale).toFixed(1)]);
  }
  for (const table of document.querySelectorAll(root + ' table')) {
    if (!table.caption || [...table.querySelectorAll('th')].some((th) => !th.scope)) found.tables.push(table.innerText.slice(0, 40));
  }
  for (const name of ['contrast', 'small']) found[name] = found[name].slice(0, 5);
  return found;
}"""


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Lab:
    """A JupyterLab server on a free port with its settings in `home`; `root` is what it serves."""

    def __init__(self, root: Path, home: Path, python_path: list[Path]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.token, self.url, self.log = secrets.token_hex(16), f"http://127.0.0.1:{port}", home / "lab.log"
        places = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "RUNTIME")}
        env = os.environ | places | {"IPYTHONDIR": str(home / "ipython")}
        env["PYTHONPATH"] = os.pathsep.join([*map(str, python_path), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
                   f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}",
                   f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True",
                   "--LabApp.news_url=", "--LabApp.extension_manager=readonly",
                   "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # fmt: skip
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)

    def wait(self, seconds: int = 120) -> "Lab":
        for _ in range(2 * seconds):
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=2)
                return self
            except OSError:
                time.sleep(0.5)
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()}")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def run_notebook(page, lab: Lab, notebook: str) -> None:
    """Open a notebook afresh and run every cell."""
    page.goto(f"{lab.url}/lab/tree/{notebook}?token={lab.token}&reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-Notebook", timeout=120_000)
    page.wait_for_function(IDLE, timeout=120_000)
    page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")

