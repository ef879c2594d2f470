"""Questions of a page and their answers as plain JSON: the one place where a path meets a function.

Knows paths and parameters.  Knows no HTTP and no widget: `server` and `notebook` carry questions here.
"""

from __future__ import annotations

import getpass
import threading
from collections.abc import Callable, Mapping

import pandas as pd

from parallax_lib.analysis.figures.escape import to_csv
from parallax_lib.analysis.figures.theme import failure_class
from parallax_lib.analysis.readable import METHODS, method
from parallax_lib.analysis.view import compare, program, scores, tree
from parallax_lib.analysis.view.dataset import Dataset
from parallax_lib.analysis.view.desk import Desk
from parallax_lib.analysis.view.programs import Programs, plain_row
from parallax_lib.analysis.view.rerun import Rerunner, Workshop
from parallax_lib.core.errors import UserError, nearest
from parallax_lib.core.storage import Journal
from parallax_lib.tasks.hecbench import masked
from parallax_lib.verdict.reasons import REASONS

Given = Mapping[str, str]
FIRST_PAGE_S = 1.5  # after its rows are asked for the first page stands


class View:
    """A dataset ready to be asked.  other: a second one to compare with.  workshop: makes what running a program again takes."""

    def __init__(
        self, dataset: Dataset, other: Dataset | None = None, workshop: Callable[[], Workshop] | None = None, threshold: float = 0.5
    ):
        self.dataset, self.other, self.threshold, self.lock = dataset, other, threshold, threading.RLock()
        self.workshop, self.tables, self.desks, self.warmed = workshop, {}, {}, False
        self.reruns: Rerunner | None = None

    def answer(self, path: str, given: Given | None = None, body: Mapping | None = None) -> dict | list:
        """The answer to one question; UserError for a path or a value that is none.  body: of questions that change something."""
        known = CHANGES if body is not None else QUESTIONS
        if path not in known:
            raise UserError(f"no page {path!r}{nearest(path, known)}")
        try:
            return known[path](self, given or {}, *([body] if body is not None else []))
        except (KeyError, ValueError) as e:
            if isinstance(e, UserError):
                raise
            raise UserError(f"{path}: {e!s:.200} is missing or no such value") from None

    def programs(self, given: Given, key: str = "table") -> Programs:
        """The table that a question names, of the dataset or, with `side=other`, of the second one."""
        dataset = self.other if given.get("side") == "other" and self.other else self.dataset
        name = given.get(key) or dataset.programs[0]
        with self.lock:
            if (dataset.name, name) not in self.tables:
                self.tables[dataset.name, name] = Programs(dataset, name)
            return self.tables[dataset.name, name]

    def rerunner(self) -> Rerunner | None:
        with self.lock:
            if self.reruns is None and self.workshop is not None:
                self.reruns = Rerunner(Journal(self.dataset.notes.parent / "view.sqlite"), self.workshop)
            return self.reruns

    def desk(self, given: Given) -> Desk:
        programs = self.programs(given)
        with self.lock:
            if programs.name not in self.desks:
                self.desks[programs.name] = Desk(programs, self.rerunner(), self.threshold)
            return self.desks[programs.name]

    def warm(self) -> None:
        """Make the indexes of the first table, once, when the first page stands: beside it they would slow it."""
        if not self.warmed:
            self.warmed = True
            later = threading.Timer(FIRST_PAGE_S, self.programs({}).warm)
            later.daemon = True
            later.start()


def _open(view: View, given: Given) -> dict:
    data = view.dataset
    tables = [{"name": name, "rows": len(view.programs({"table": name}))} for name in data.programs[:1]]
    tables += [{"name": name, "rows": None} for name in data.programs[1:]]
    first = view.programs({})
    return {
        "name": data.name, "tables": tables, "columns": first.kinds(), "other": view.other.name if view.other else None,
        "others": view.other.programs if view.other else [], "tree": "rollouts" in data.tables, "arms": "arm" in first.frame,
        "scores": _scored(data), "reasons": REASONS, "classes": {reason: failure_class(reason) for reason in REASONS},
        "methods": {arm: method(arm) for arm in [*METHODS, *(first.codes("arm")[1] if "arm" in first.frame else ())]},
        "reviewer": getpass.getuser(), "can_run": view.workshop is not None,
        "absent": absent(first.frame),
    }  # fmt: skip


def absent(frame: pd.DataFrame) -> dict[str, int]:
    """How many rows hold no source and no program because the text does not ship."""
    texts = {name: frame[name] for name in ("source_code", "code") if name in frame}
    return {name: int(text.str.startswith(masked.MARK).sum()) for name, text in texts.items()}


def _scored(data: Dataset) -> list[str]:
    """Tables whose trajectories have scores."""
    steps = "scores" in data.tables or "step_scores" in data.tables
    own = [name for name in data.programs[:1] if "score" in data.table(name) and data.table(name)["score"].notna().any()]
    return (["rollouts"] if steps and "rollouts" in data.tables else []) + [name for name in own if name != "rollouts"]


def _page(view: View, given: Given) -> dict:
    page = view.programs(given).page(given.get("q", ""), given.get("sort", ""), int(given.get("page", 0)), int(given.get("size", 50)))
    view.warm()
    return page


def _program(view: View, given: Given) -> dict:
    programs, row = view.programs(given), int(given["row"])
    shown = program.page(programs, row, given.get("q", ""), given.get("sort", ""))
    rerunner = view.rerunner()
    return shown | {"rerun": rerunner and rerunner.known(programs.record(row)), "can_run": rerunner is not None}


def _scores(view: View, given: Given) -> dict:
    if not _scored(view.dataset):
        raise UserError(f"{view.dataset.name}: no PRM scores here; a run has them after stage 02")
    programs = view.programs({"table": given.get("table") if given.get("table") in _scored(view.dataset) else _scored(view.dataset)[0]})
    box = tuple(map(float, given["box"].split(","))) if given.get("box") else None
    names = [given.get(name, default) for name, default in (("q", ""), ("model", ""))]
    answer = scores.view(programs, *names, int(given.get("depth", -1)), given.get("x", "uncertainty"), given.get("by", "direction"), box)
    chosen = answer.pop("selected")
    if chosen is not None:
        shown = programs.frame.iloc[chosen[:100]][[c for c in ("task", "arm", "reason", "plan") if c in programs.frame]]
        rows = [plain_row(row) | {"row": int(n)} for n, row in zip(chosen, shown.to_dict("records"), strict=False)]
        answer["selected"] = {"n": len(chosen), "rows": rows}
    return answer | {"table_name": programs.name, "tables": _scored(view.dataset)}


def _pair(view: View, given: Given) -> dict:
    left = view.programs({"table": given.get("table_a", "")})
    right = view.programs({"table": given.get("table_b", ""), "side": given.get("side", "")})
    return program.pair((left, int(given["a"])), (right, int(given["b"])))


def _runs(view: View, given: Given) -> dict:
    if view.other is None:
        raise UserError("no second run: start again with --against RUN")
    comparison = compare.runs(view.programs(given), view.programs({"table": given.get("table_b", ""), "side": "other"}))
    return comparison | {"what": [f"{view.dataset.name} (old)", f"{view.other.name} (new)"]}


def _decide(view: View, given: Given, body: Mapping) -> dict:
    return view.desk(given).decide(int(body["row"]), body.get("choice"), str(body.get("note", "")), str(body.get("reviewer", "")))


def _rerun(view: View, given: Given, body: Mapping) -> dict:
    rerunner = view.rerunner()
    if rerunner is None:
        raise UserError("nothing can be run again here: the page was opened without the run's settings")
    return rerunner.run(view.programs(given).record(int(body["row"])))


def _export(view: View, given: Given) -> dict:
    programs = view.programs(given)
    rows = programs.frame.iloc[programs.sorted(given.get("q", ""), given.get("sort", ""))]
    return {"csv": to_csv(rows), "name": f"{view.dataset.name}-{programs.name}.csv", "rows": len(rows)}


QUESTIONS: dict[str, Callable] = {
    "open": _open,
    "columns": lambda view, given: view.programs(given).kinds(),
    "programs": _page,
    "program": _program,
    "pair": _pair,
    "tasks": lambda view, given: tree.tasks(view.dataset),
    "tree": lambda view, given: tree.tree(view.dataset, given["task"], given.get("model", "")),
    "scores": _scores,
    "failures": lambda view, given: compare.failures(view.programs(given), given.get("q", ""), given.get("by", "")),
    "methods": lambda view, given: compare.methods(view.programs(given), given["a"], given["b"]),
    "arms": lambda view, given: view.programs(given).codes("arm")[1] if "arm" in view.programs(given).frame else [],
    "runs": _runs,
    "rejudged": lambda view, given: compare.rejudged(view.programs(given)),
    "desk": lambda view, given: view.desk(given).page(given.get("show", "undecided"), int(given.get("page", 0))),
    "next": lambda view, given: {"row": view.desk(given).next_undecided(int(given.get("row", -1)))},
    "export": _export,
}
CHANGES: dict[str, Callable] = {"decide": _decide, "rerun": _rerun}
