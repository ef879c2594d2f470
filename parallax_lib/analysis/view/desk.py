"""The recheck desk: doubtful programs in order, each decided once for all its rows, and both rates as they move.

Knows the queue of `recheck` and the file of `decisions`.  Judges nothing: people do.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping

import numpy as np
import pandas as pd

from parallax_lib.analysis import recheck
from parallax_lib.analysis.decisions import decide, program_key, read_decisions, rows_decided
from parallax_lib.analysis.view.dataset import program_id
from parallax_lib.analysis.view.program import title
from parallax_lib.analysis.view.programs import Programs, plain, plain_row
from parallax_lib.analysis.view.rerun import Rerunner
from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.tasks.hecbench import masked

AUDIT = ROOT / "data" / "minibench" / "audit.json"
SHOWN = ("undecided", "all", "decided")


def weakness() -> dict[str, float]:
    """{kernel: share of wrong variants that its oracle lets pass}, as the audit of the bundled suite measured it."""
    if not AUDIT.exists():
        return {}
    kernels = json.loads(AUDIT.read_text(encoding="utf-8"))["kernels"]
    return {name: 1 - float(row["score"]) for name, row in kernels.items() if row.get("score") is not None}


def _settled(decision: Mapping | None) -> bool:
    return bool(decision) and decision["choice"] != "recheck"


class Desk:
    """The queue of one table, made again when a mark or a run changes it."""

    def __init__(self, programs: Programs, rerunner: Rerunner | None = None, threshold: float = 0.5):
        self.programs, self.rerunner, self.threshold = programs, rerunner, threshold
        self.lock, self.made = threading.RLock(), None

    @property
    def notes(self):
        return self.programs.dataset.notes

    def queue(self) -> pd.DataFrame:
        """`recheck.queue` with what people marked and what was run again."""
        measured = self.rerunner.measured() if self.rerunner else {}
        marked = sorted(key for key, value in read_decisions(self.notes).items() if value["choice"] == "recheck")
        identity = json.dumps([measured, marked])
        with self.lock:
            if self.made is None or self.made[0] != identity:
                other = self.judged_otherwise()
                readable = self.programs.frame[~self.absent()]
                self.made = identity, recheck.queue(readable, self.threshold, weakness(), measured, marked, other)
            return self.made[1]

    def absent(self) -> np.ndarray:
        """[n] rows whose program's text does not ship: nobody can decide on them."""
        frame = self.programs.frame
        return frame["code"].str.startswith(masked.MARK).fillna(False).to_numpy(bool) if "code" in frame else np.zeros(len(frame), bool)

    def decisions(self, table: pd.DataFrame) -> list[dict | None]:
        """The decision on each program of the queue; only tasks that have one are looked up."""
        found = read_decisions(self.notes)
        tasks = {value["task"] for value in found.values()}
        rows = table[["task", "code"]].to_dict("records") if tasks else [{}] * len(table)
        return [found.get(program_key(row)) if row.get("task") in tasks else None for row in rows]

    def judged_otherwise(self) -> set[str]:
        """Keys of the programs that a judge on a GPU validated and the table does not, or the other way round."""
        judge, frame = self.programs.dataset.other_judge, self.programs.frame
        if not judge or not len(frame):
            return set()
        cuda = frame[frame["task"].str.endswith("-cuda")].drop_duplicates(["task", "code"])
        rows = cuda[["task", "code", "validated"]].to_dict("records")
        found = [(row, judge.get(program_id(row["task"], row["code"]))) for row in rows if isinstance(row["code"], str)]
        return {program_key(row) for row, other in found if other and (other["reason"] == "ok") != bool(row["validated"])}

    def page(self, show: str = "undecided", page: int = 0, size: int = 50) -> dict:
        """One page of the queue, with the counts and both rates."""
        if show not in SHOWN:
            raise UserError(f"recheck: show is {show!r}, must be one of {', '.join(SHOWN)}")
        table = self.queue()
        decided = self.decisions(table)
        settled = np.array([_settled(decision) for decision in decided], bool)
        rows = np.flatnonzero({"all": np.ones(len(table), bool), "decided": settled, "undecided": ~settled}[show])
        page = max(0, min(page, (len(rows) - 1) // size))
        part = rows[page * size : (page + 1) * size]
        listed = [self.entry(row, decided[i]) for i, row in zip(part, table.iloc[part].to_dict("records"), strict=True)]
        counts = {"programs": len(table), "decided": int(settled.sum()), "covered": int(table["rows"].sum()) if len(table) else 0}
        whys = table["why"].value_counts().items() if len(table) else ()
        return {"rows": listed, "page": page, "size": size, "found": len(rows), **counts, "whys": [[str(k), int(n)] for k, n in whys],
                "rates": self.rates(), "absent": int(self.absent().sum()),
                "can_run": self.rerunner is not None, "notes": str(self.notes)}  # fmt: skip

    def entry(self, row: Mapping, decision: dict | None) -> dict:
        shown = {name: row.get(name) for name in ("row", "rows", "task", "why", "urgency", "closeness", "reason", "level", "score")}
        return plain_row(shown) | {"title": title(row), "decision": decision}

    def next_undecided(self, row: int) -> int | None:
        """The row of the first program after this one in the queue that nobody has decided; then of those before it."""
        table = self.queue()
        rows = table["row"].tolist()
        waiting = [i for i, decision in enumerate(self.decisions(table)) if not _settled(decision) and rows[i] != row]
        at = rows.index(row) if row in rows else -1
        later = [i for i in waiting if i > at] or waiting
        return int(rows[later[0]]) if later else None

    def rates(self) -> list[dict]:
        """Validated share per method by the harness alone, and with the decisions laid on top."""
        frame = self.programs.frame
        if frame.empty:
            return []
        return [plain_row(row) for row in recheck.both_rates(frame, rows_decided(frame, self.notes)).to_dict("records")]

    def decide(self, row: int, choice: str | None, note: str = "", reviewer: str = "") -> dict:
        """Keep a decision on a row's program, for every row that holds it; None takes it back."""
        record = self.programs.record(row)
        decide(self.notes, record, choice, note, reviewer)
        return {"decision": plain(choice) and read_decisions(self.notes)[program_key(record)], "next": self.next_undecided(row)}
