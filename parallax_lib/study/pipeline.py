"""Runs the numbered notebooks with papermill from one parameter file: progress, skip when unchanged, resume.

Knows stages, files and notebooks.  Knows nothing of what a stage computes.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parallax_lib.core import fingerprint, progress
from parallax_lib.core.config import ROOT, dump
from parallax_lib.core.errors import UserError
from parallax_lib.core.imports import without_grammar_of_iris
from parallax_lib.core.settings import SECTIONS, Params
from parallax_lib.core.storage import digest, held, run_folder, whole, write_json
from parallax_lib.study import remembered

MANIFEST = "manifest.json"  # of a folder in which `parallax_lib run` has started
NOTEBOOKS = ROOT / "notebooks"
PART = {
    "01": ("suite", "translator", "latent", "decode", "collect", "reward", "validation", "executor"),
    "02": ("suite", "reward", "prm"),
    "03": ("prm", "selection", "report"),
    "04": ("suite", "translator", "latent", "decode", "prm", "search", "executor"),
    "05": ("search", "validation"),
    "06": (),
    "07": ("suite", "translator", "reward", "prm", "search", "report"),
}
OWN = ("notebooks", "vectors", "readings", MANIFEST, progress.FILE, "lock")  # of a run's folder: no stage's result
MEANING = "## What it means"  # heading of a notebook's section that the study's numbers stand in
RUNNING = "running"  # a stage's record while it is at work, or after its process was killed
OPTIONAL = {"07"}  # runs with `report.enabled`, or when --only names it


@dataclass(frozen=True)
class Stage:
    """One notebook of the study and the parameters that can change what it makes."""

    number: str
    notebook: Path

    def key(self, params: Params, before: str) -> str:
        """Identity of this stage's result: notebook, library, its parameters, and the stage before it (of the first, what a run reads)."""
        values = dump(params)
        used = {name: values[name] for name in PART[self.number]} | {"run": params.run, "seed": params.seed}
        return digest([self.notebook.read_text(encoding="utf-8"), library_digest(), used, before])


def stages(only: str = "", report: bool = False) -> list[Stage]:
    """Stages 01-06 (and 07 with `report`), or those whose numbers are in `only` ("01,02" or "03-05")."""
    found = [Stage(n, next(NOTEBOOKS.glob(f"{n}_*.ipynb"))) for n in PART]
    if not only:
        return [s for s in found if report or s.number not in OPTIONAL]
    selected: set[str] = set()
    for part in only.split(","):
        first, _, last = (each.strip().zfill(2) for each in part.partition("-"))
        last = last if "-" in part else first
        numbers = {s.number for s in found if first <= s.number <= last and (first + last).isdigit()}
        if not numbers:
            why = f"{part.strip()} runs backwards" if (first + last).isdigit() and last < first else f"no stage {part.strip()!r}"
            raise UserError(f"--only {only}: {why}; stages are {', '.join(s.number for s in found)}, such as 01,03-05")
        selected |= numbers
    return [s for s in found if s.number in selected]


def library_digest() -> str:
    """Hash of every library module: a changed line reruns the stages."""
    text = b"".join(p.read_bytes() for p in sorted((ROOT / "parallax_lib").rglob("*")) if p.suffix == ".py")
    return hashlib.sha256(text).hexdigest()


def run(params: Params, only: str = "", force: bool = False, say: Callable[[str], None] = print) -> Path:
    """Execute the stages in order; returns the run folder.  A stage whose key is recorded as done, of its own settings and of
    what the stages before it left, is skipped.  force: none is, and what the stages asked for remember is forgotten first."""
    from parallax_lib.search import methods

    selected = {stage.number for stage in stages(only, params.report.enabled)}
    methods.check(params)
    folder = run_folder(params.run)
    with held(folder):
        write_json(folder / MANIFEST, manifest(params))
        _run_selected(params, folder, selected, force, say)
    return folder


def _run_selected(params: Params, folder: Path, selected: set[str], force: bool, say: Callable[[str], None]) -> None:
    before, again = fingerprint.inputs(params), force
    for stage in stages("01-07"):
        key = stage.key(params, before)
        record = folder / "notebooks" / f"{stage.notebook.stem}.run.json"
        if stage.number not in selected:
            key = _left(record, key, before)
        elif not again and _done(folder, record, key):
            say(f"[{stage.number}] {stage.notebook.stem}: unchanged, skipped")
        else:
            again = True  # a stage that ran again makes the later ones run again
            if force:
                remembered.forget(folder, stage.number)
            execute(stage, params, folder, key, record, say)
        before = key


def _left(record: Path, key: str, before: str) -> str:
    """What the stages after one that is not asked for read: its result under these settings, or else whatever is there."""
    found = recorded(record)
    return key if (found.get("key"), found.get("status")) == (key, "ok") else digest([found.get("key"), found.get("status"), before])


def _done(folder: Path, record: Path, key: str) -> bool:
    """Did the stage end well under this key, and is all that it wrote still there?"""
    found = recorded(record)
    if (found.get("key"), found.get("status")) != (key, "ok") or not record.with_suffix("").with_suffix(".ipynb").exists():
        return False
    return all(whole(folder / name) for name in found.get("files") or ())


def recorded(record: Path) -> dict:
    """What a stage's record says; nothing where there is none or it cannot be read."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """Results in a run's folder and what tells that one was written again; not what the harness keeps for itself."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if name.parts[0] not in OWN and not path.name.startswith((".", "journal.sqlite")) and path.is_file():
            found[name.as_posix()] = (path.stat().st_mtime_ns, path.stat().st_ino)
    return found


def execute(stage: Stage, params: Params, folder: Path, key: str, record: Path, say: Callable[[str], None]) -> None:
    """Run one notebook; its record says ok only after papermill returned without an exception.

    After a dead kernel papermill leaves a file that looks finished, so the output is written under another name first.
    """
    with without_grammar_of_iris():
        import papermill
    from jupyter_client.kernelspec import NoSuchKernel

    out = folder / "notebooks" / stage.notebook.name
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part.ipynb")
    earlier, files = recorded(record).get("files") or [], written(folder)
    clock = time.time()
    entry = {"notebook": stage.notebook.name, "key": key, "status": "failed", "files": earlier}
    write_json(record, entry | {"status": RUNNING, "began": clock})  # what is left here if this process is killed
    say(f"[{stage.number}] {stage.notebook.stem} ...")
    try:
        with progress.watched(folder / progress.FILE, f"[{stage.number}]", say), _this_library():
            values = dump(params)
            given = {"run": params.run, "seed": params.seed, "overrides": {name: values[name] for name in SECTIONS}}
            papermill.execute_notebook(str(stage.notebook), str(part), parameters=given, cwd=str(NOTEBOOKS), **_engine())
        entry["status"] = "ok"
        entry["files"] = _results(folder, files, earlier)
        _made_its_own(part, params.run)
        os.replace(part, out)
    except (RuntimeError, TimeoutError, NoSuchKernel) as e:  # of nbclient and jupyter_client: a kernel that died or never came
        if part.exists():
            os.replace(part, out.with_suffix(".failed.ipynb"))
        entry["error"] = " ".join(f"{type(e).__name__}: {e}".split())[:200]
        remedy = "if memory ran out (dmesg tells), lower decode.batch or executor.workers; the same command goes on from here"
        raise UserError(f"{stage.notebook.name}: its Jupyter kernel is dead ({entry['error']}); {remedy}") from None
    except papermill.PapermillExecutionError as e:
        os.replace(part, out.with_suffix(".failed.ipynb"))
        if e.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
        entry["error"] = f"{e.ename}: {e.evalue}"
        where = f"{stage.notebook.name}, cell {e.exec_count}"
        raise UserError(
            f"{e.evalue}" if e.ename == "UserError" else f"{where}: {e.ename}: {e.evalue} (see {out.with_suffix('.failed.ipynb')})"
        ) from None
    finally:
        entry["seconds"] = round(time.time() - clock, 1)
        write_json(record, entry)
    say(f"[{stage.number}] {stage.notebook.stem}: done in {entry['seconds']} s")


@contextmanager
def _this_library() -> Iterator[None]:
    """Kernels started meanwhile import the library of this checkout, whichever one is installed."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def _made_its_own(notebook: Path, run: str) -> None:
    """An executed notebook: its links lead to the repository's files from where it lies, and its text says which run it tells of."""
    import nbformat

    executed, up = nbformat.read(notebook, 4), Path(os.path.relpath(ROOT, notebook.parent)).as_posix()
    notice = f"{MEANING}\n*This text was written about the study that ships; the outputs above are of run `{run}`.*\n"
    for cell in executed.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", f"]({up}/").replace(MEANING, notice)
    nbformat.write(executed, notebook)


def _results(folder: Path, before: dict[str, tuple[int, int]], earlier: list[str]) -> list[str]:
    """Files that a stage has just written, and those of its earlier run that it took as they are."""
    now = written(folder)
    changed = {name for name, mark in now.items() if before.get(name) != mark} | (set(earlier) & set(now))
    return sorted(name for name in changed if whole(folder / name))


def _engine() -> dict:
    from traitlets.config import Config

    kernel = Config({"AsyncKernelManager": {"transport_encryption": "auto"}})
    return {
        "progress_bar": False,
        "coalesce_streams": True,
        "store_widget_state": False,
        "iopub_timeout": 120,
        "extra_arguments": ["--IPKernelApp.log_level=50"],  # a kernel that is stopped has nothing to add to our own line
        "config": kernel,
        "kernel_name": "python3",
    }


def commit() -> str:
    """The checkout's commit, and whether files differ from it; "unknown" outside a checkout."""
    import subprocess

    git = ["git", "-C", str(ROOT)]
    try:
        name = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=20).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return name + (", with changes" if changed.strip() else "")


def manifest(params: Params) -> dict:
    """What made this run: every parameter, library and package versions, machine."""
    import platform
    from importlib.metadata import distributions

    listed = ("torch", "transformers", "peft", "papermill", "pandas", "plotly")
    packages = {d.name: d.version for d in distributions() if d.name in listed}
    return {
        "params": dump(params),
        "commit": commit(),
        "library": library_digest()[:12],
        "python": platform.python_version(),
        "packages": packages,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
