"""What the page of a run needs of the study: its tasks and its bench, when a stored program is to be run again.

Knows parameters of runs.  Knows nothing of pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parallax_lib.analysis.view.rerun import Workshop
from parallax_lib.core.config import check, load_file, resolve
from parallax_lib.study import run as runs

KEPT = ("suite", "validation", "reward")  # sections that say what a task is and how it is judged


def workshop(params: Mapping[str, dict]) -> Workshop:
    """Tasks and tools of a run with these parameter sections; of the study where there are none."""
    sections = {name: params[name] for name in KEPT if name in params}
    settings = check(sections, {}, Path("manifest.json")) if sections else load_file(resolve("params/study.yaml"))
    return of_run(runs.open_params(settings.model_copy(update={"run": "view"})))


def of_run(run: runs.Run) -> Workshop:
    """Tasks and tools of an open run."""
    toolchains, level, limits, _ = runs.open_bench(run)
    parts = {"races": run.params.validation.races, "timing": "off"}
    return Workshop({t.id: t for t in runs.all_tasks(run)}, toolchains, level, limits, parts)
