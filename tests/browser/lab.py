"""JupyterLab as a user has it, in headless Chromium: start, open a notebook, run all cells, talk to plotly figures."""

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
DRAWN = """([figure, trace]) => {
  const graph = document.querySelectorAll('.js-plotly-plot')[figure];
  return graph?._fullData?.[trace] && graph._fullLayout?.xaxis?._length > 0;
}"""
PIXEL = """([figure, trace, point]) => {
  const graph = document.querySelectorAll('.js-plotly-plot')[figure], box = graph.getBoundingClientRect();
  const {xaxis, yaxis} = graph._fullLayout, data = graph._fullData[trace];
  const at = Array.isArray(point) ? point : [data.x[point], data.y[point]];
  const where = (axis, value) => axis._offset + axis.d2p(value);
  return {x: box.left + where(xaxis, at[0]), y: box.top + where(yaxis, at[1])};
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


def click(page, trace: int, point: int | list, figure: int = 0) -> None:
    """Click a point of a trace by its number, or a place by its axis values."""
    graph = page.locator(".js-plotly-plot").nth(figure)
    graph.scroll_into_view_if_needed()
    page.wait_for_function(DRAWN, arg=[figure, trace])
    page.wait_for_timeout(500)
    at = page.evaluate(PIXEL, [figure, trace, point])
    page.mouse.move(at["x"], at["y"])
    page.wait_for_timeout(300)
    page.mouse.click(at["x"], at["y"])
