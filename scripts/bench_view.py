"""Times of the page of `python -m parallax_lib view`: first view, filter, program, scores, compare and recheck, in process and browser.

    python scripts/bench_view.py [--rows 100000] [--browser] [RUN ...]   # RUN: as of `view`; default: the study, then synthetic rows

In process: CPU seconds of one answer, the indexes made.  --browser: seconds from the start of the command to a page that shows rows, and
from an address to its page, in a headless Chromium (playwright); on a busy machine these say little.  Prints a table a run, the
machine's load, and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from parallax_lib.analysis.view.api import View
from parallax_lib.analysis.view.dataset import open_dataset
from parallax_lib.core.storage import read_table, write_table

STUDY = Path(__file__).resolve().parents[1] / "data" / "study"
QUESTIONS = {
    "first page": ("programs", {}),
    "filter, rare word": ("programs", {"q": "atomicadd"}),
    "filter, two words": ("programs", {"q": '"pragma omp" reduction'}),
    "filter, nothing found": ("programs", {"q": "no such words anywhere"}),
    "filter, column and number": ("programs", {"q": "reason:wrong score>0.5"}),
    "sort by score": ("programs", {"sort": "-score"}),
    "last page": ("programs", {"page": "999999999"}),
    "program": ("program", {"row": "6"}),
    "failures": ("failures", {}),
    "tasks": ("tasks", {}),
    "scores": ("scores", {}),
    "scores, a box": ("scores", {"box": "0,0.003,0.2,0.6"}),
    "method against method": ("methods", {"a": "guided", "b": "unguided"}),
    "recheck": ("desk", {}),
}
PAGES = {"programs": "/programs", "filtered": "/programs?q=atomic", "program": None, "failures": "/failures", "scores": "/scores",
         "tree": "/tree", "compare": "/compare", "recheck": "/recheck"}  # fmt: skip


def synthetic(rows: int, folder: Path) -> Path:
    """A run's folder with that many rows, every program another text: the study's, each with a comment of its own."""
    study = read_table(STUDY, "results")
    rng = np.random.default_rng(0)
    table = study.iloc[np.resize(np.arange(len(study)), rows)].reset_index(drop=True)
    copy = (np.arange(rows) // len(study)).astype(str)
    table["task"] = table["kernel"] + "_" + copy + "." + table["direction"]
    table["code"] = table["code"].fillna("") + [f"// program {i}\n" for i in range(rows)]
    table["score"] = rng.random(rows)
    table["source_code"] = table["code"]
    write_table(folder, "results", table)
    trajectories(rows, folder)
    return folder


def trajectories(rows: int, folder: Path) -> None:
    """As many collected trajectories, with scores after each latent step and what each chooser took: the study's, under further names."""
    study = open_dataset()
    known, scores, taken = study.table("rollouts"), study.table("step_scores"), study.table("cross_validation")
    copies = -(-rows // len(known))
    named = {name: [] for name in ("rollouts", "scores", "cross_validation")}
    for copy in range(copies):
        for name, part in (("rollouts", known), ("scores", scores), ("cross_validation", taken)):
            keys = {key: part[key] + f"_{copy}" for key in ("capture_id", "root") if key in part}
            keys |= {"task": part["kernel"] + f"_{copy}." + part["direction"]} if "kernel" in part else {}
            named[name].append(part.assign(**keys))
    kept = pd.concat(named["rollouts"], ignore_index=True).iloc[:rows]
    for name, parts in named.items():
        table = pd.concat(parts, ignore_index=True)
        write_table(folder, name, table[table["capture_id"].isin(kept["capture_id"])])


def in_process(name: str) -> dict[str, float]:
    """CPU seconds by question; each filter is asked for the first time."""
    start = time.process_time()
    view = View(open_dataset(name))
    view.warmed = True  # no thread beside what is measured
    view.answer("open")
    view.answer("programs")
    found = {"open and first page": time.process_time() - start}
    start = time.process_time()
    view.programs({}).warm()
    found["text indexes (made after the first page)"] = time.process_time() - start
    for what, (path, given) in QUESTIONS.items():
        start = time.process_time()
        view.answer(path, given)
        found[what] = time.process_time() - start
    return found


def in_browser(name: str) -> dict[str, float]:
    """Seconds on the clock until a page shows what was asked for."""
    from playwright.sync_api import sync_playwright

    found, start = {}, time.monotonic()
    command = [sys.executable, "-m", "parallax_lib", "view", *([name] if name else []), "--no-browser"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page, start = browser.new_page(viewport={"width": 1280, "height": 900}), time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            url = server.stdout.readline().split(": ", 1)[1].split()[0]
            page.goto(url)
            page.wait_for_selector("table.programs tbody tr")
            found["start of the command to the first rows"] = time.monotonic() - start
            found["CPU of the command until then"] = sum(psutil.Process(server.pid).cpu_times()[:2])
            first = page.locator("table.programs tbody a").first.get_attribute("href")[1:]
            for what, address in PAGES.items():
                page.goto("about:blank")
                start = time.monotonic()
                page.goto(f"{url}#{address or first}")
                page.wait_for_selector("main h1", timeout=120_000)
                page.wait_for_function("() => !document.querySelector('.px-view.busy')", timeout=120_000)
                found[f"page {what}"] = time.monotonic() - start
            server.terminate()
        browser.close()
    return found


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("runs", nargs="*")
    parse.add_argument("--rows", type=int, default=100_000)
    parse.add_argument("--browser", action="store_true")
    args = parse.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = args.runs or ["", str(synthetic(args.rows, Path(folder)))]
        told = {}
        for name in runs:
            key = "synthetic" if name.startswith(folder) else name or "study"
            told[key] = in_process(name) | (in_browser(name) if args.browser else {})
            print(f"\n{key}\n" + pd.Series(told[key]).round(3).to_string(), flush=True)
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(json.dumps({name: {what: round(s, 3) for what, s in found.items()} for name, found in told.items()}))


if __name__ == "__main__":
    main()
