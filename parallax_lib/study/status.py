"""Follows a run that was started elsewhere: which stages are done, what is at work, how far it has come.

Knows the files that a run leaves in its folder.  Starts nothing and changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from parallax_lib.core import progress
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError, nearest
from parallax_lib.study import pipeline


def folder_of(run: str) -> Path:
    """The folder of a run by its name or path.  UserError where there is none."""
    named = ROOT / "data" / "runs" / run
    for folder in (named, Path(run).expanduser()):
        if run and folder.is_dir() and (folder / pipeline.MANIFEST).exists():
            return folder
    known = sorted(path.parent.name for path in (ROOT / "data" / "runs").glob(f"*/{pipeline.MANIFEST}"))
    raise UserError(f"status {run}: no run of this name in data/runs{nearest(run, known) if known else ', and no other one'}")


def at_work(folder: Path) -> int:
    """Process that works in the folder; 0 for none.  One that is younger than its mark only has the number of an earlier one."""
    lock = folder / "lock"
    try:
        pid, marked = int(lock.read_text().strip() or 0), lock.stat().st_mtime
        return pid if pid and psutil.Process(pid).create_time() <= marked + 1 else 0
    except (OSError, ValueError, psutil.Error):
        return 0


def stage_lines(folder: Path, alive: bool, now: float) -> list[str]:
    """A line for every stage: done, at work, stopped, failed (and why), or not yet."""
    lines = []
    for stage in pipeline.stages("01-07"):
        record = pipeline.recorded(folder / "notebooks" / f"{stage.notebook.stem}.run.json")
        if record or stage.number not in pipeline.OPTIONAL:
            lines.append(f"[{stage.number}] {stage.notebook.stem:22} {_state(record, alive, now)}")
    return lines


def _state(record: dict, alive: bool, now: float) -> str:
    status = record.get("status")
    if status == "ok":
        return f"done in {progress.duration(record.get('seconds', 0))}"
    if status == pipeline.RUNNING:
        return f"at work for {progress.duration(now - record['began'])}" if alive else "was stopped; run again to go on"
    return f"failed: {record.get('error', 'stopped')}" if status else "not yet"


def follow(run: str, say: Callable[[str], None], once: bool = False) -> Path:
    """Say where a run stands and, while a process works on it, every change and a line at least every ten seconds."""
    folder = folder_of(run)
    pid = at_work(folder)
    say(f"{folder}: {f'process {pid} is at work' if pid else 'nothing is at work here'}")
    before: list[str] = []
    printer = progress.Printer(folder / progress.FILE, "", say)
    while True:
        lines = stage_lines(folder, bool(pid), time.time())
        for line in (line for line in lines if _kind(line) not in map(_kind, before)):
            say(line)
        before = lines
        if pid:
            printer.look()
        if once or not pid:
            return folder
        time.sleep(progress.LOOK_S)
        pid = at_work(folder)


def _kind(line: str) -> str:
    """A stage's line without the time that has passed."""
    return line.partition(" for ")[0]
