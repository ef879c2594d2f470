"""Method against method within a table, and run against run: wins, ties, losses by task, and what became of each verdict.

Knows tables of programs and how their rows are paired.  Knows no drawing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from parallax_lib.analysis import metrics
from parallax_lib.analysis.view.dataset import program_id
from parallax_lib.analysis.view.programs import FEW, Programs, plain
from parallax_lib.core.errors import UserError, nearest
from parallax_lib.verdict.reasons import REASONS

KEYS = (["capture_id"], ["task", "arm", "seed", "sample", "attempt", "repair"], ["task", "arm", "seed"], ["task", "code"], ["task"])
ORDER = ["ok", *(name for name in REASONS if name != "ok")]


def methods(programs: Programs, a: str, b: str) -> dict:
    """Method `a` against `b` in one table: rates with the paired difference and its interval, and every task with its outcome."""
    frame = programs.frame
    if "arm" not in frame:
        raise UserError(f"table {programs.name}: no column method; methods are compared in the table results")
    arms = list(dict.fromkeys(frame["arm"]))
    for arm in (a, b):
        if arm not in arms:
            raise UserError(f"no method {arm!r}{nearest(arm, arms)}")
    difference = metrics.paired(frame[frame["arm"].isin([a, b])], a, b)
    sides = [_by_task(frame[frame["arm"] == arm]) for arm in (a, b)]
    both = sides[0].join(sides[1], suffixes=("_a", "_b"), how="inner")
    rows = [_task(name, row) for name, row in zip(both.index, both.to_dict("records"), strict=True)]
    return {"arms": arms, "a": a, "b": b, "summary": {name: plain(value) for name, value in difference.items()}, "tasks": rows}


def _by_task(part: pd.DataFrame) -> pd.DataFrame:
    """Per task: n judged programs, how many validate, the first row of each kind."""
    part = metrics.judged(part).assign(row=lambda rows: rows.index)
    good = part["validated"].astype(bool)
    counts = part.assign(good=good).groupby("task", sort=False).agg(n=("good", "size"), good=("good", "sum"), row=("row", "first"))
    return counts.assign(passing=part[good].groupby("task")["row"].first(), failing=part[~good].groupby("task")["row"].first())


def _task(name: str, row: dict) -> dict:
    """One task's outcome, with the pair of rows that shows the difference best."""
    a, b = row["good_a"] / row["n_a"], row["good_b"] / row["n_b"]
    outcome = "win" if a > b else "loss" if a < b else "tie"
    shown = {"win": ("passing_a", "failing_b"), "loss": ("failing_a", "passing_b"), "tie": ("row_a", "row_b")}[outcome]
    cells = {"a": f"{int(row['good_a'])} of {int(row['n_a'])}", "b": f"{int(row['good_b'])} of {int(row['n_b'])}"}
    return {"task": str(name), "outcome": outcome} | cells | dict(zip(("row_a", "row_b"), (int(row[c]) for c in shown), strict=True))


def key_of(left: pd.DataFrame, right: pd.DataFrame) -> list[str]:
    """The first key whose columns both tables have; what repeats within one table is paired in its order."""
    for key in KEYS:
        if set(key) <= set(left) and set(key) <= set(right):
            return key
    raise UserError("the two tables share no key: a capture_id, or a task")


def runs(old: Programs, new: Programs) -> dict:
    """What became of each verdict from one table to another: pairs of rows that are the same program or the same place.

    {"key", "paired", "only_old", "only_new", "matrix": [[old reason, new reason, count]], "won", "lost", "rows": those that differ}.
    """
    key = key_of(old.frame, new.frame)
    sides = [_numbered(side.frame, key) for side in (old, new)]
    both = sides[0].merge(sides[1], on=[*key, "_place"], how="outer", suffixes=("_old", "_new"), indicator="where")
    paired = both[both["where"] == "both"]
    counts = (both["where"] == name for name in ("left_only", "right_only"))
    only_old, only_new = (int(count.sum()) for count in counts)
    return {"key": key, "paired": len(paired), "only_old": only_old, "only_new": only_new} | _changes(paired)


def _numbered(frame: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    columns = list(dict.fromkeys([*key, "task", "reason", "validated"]))
    numbered = frame[columns].assign(row=frame.index, _place=frame.groupby(key, dropna=False).cumcount())
    return numbered.rename(columns={} if "task" in key else {"task": "of"})


def _changes(paired: pd.DataFrame) -> dict:
    """The matrix of reasons and the rows whose reason changed."""
    name = "task" if "task" in paired else "of_old"
    counts = paired.groupby(["reason_old", "reason_new"]).size()
    matrix = [[str(a), str(b), int(n)] for (a, b), n in counts.items()]
    before, after = (paired[f"validated_{side}"].astype(bool) for side in ("old", "new"))
    other = paired[paired["reason_old"] != paired["reason_new"]]
    columns = ("reason_old", "reason_new", "row_old", "row_new")
    rows = [
        {"task": str(task), "old": old, "new": new, "row_a": int(a), "row_b": int(b)}
        for task, old, new, a, b in other[[name, *columns]].itertuples(index=False)
    ]
    reasons = {reason for cell in matrix for reason in cell[:2]}
    order = [reason for reason in ORDER if reason in reasons] + sorted(reasons - set(ORDER))
    return {"matrix": matrix, "order": order, "won": int((~before & after).sum()), "lost": int((before & ~after).sum()), "rows": rows}


def rejudged(programs: Programs) -> dict:
    """As `runs`, of verdicts that the table itself holds twice: an earlier one in `was`, or a GPU's beside an emulator's."""
    frame = programs.frame
    known = frame[["task", "reason", "validated"]].rename(columns={"reason": "reason_old", "validated": "validated_old"})
    known = known.assign(row_old=frame.index, row_new=frame.index)
    if "was" in frame:
        after = pd.DataFrame({"reason_new": known["reason_old"], "validated_new": known["validated_old"]})
        known = known.assign(reason_old=frame["was"], validated_old=frame["was"] == "ok").join(after)
        paired, what = known[known["reason_old"].notna()], ("the earlier verdict", "the verdict now")
    else:
        judge, cuda = programs.dataset.other_judge, frame[frame["task"].str.endswith("-cuda") & frame["code"].notna()]
        found = [judge.get(program_id(task, code), {}) for task, code in zip(cuda["task"], cuda["code"], strict=True)] if judge else []
        reason = pd.Series([row.get("reason") for row in found], index=cuda.index[: len(found)], dtype="str")
        known = known.assign(reason_new=reason, validated_new=reason == "ok")
        paired, what = known[known["reason_new"].notna()], ("the verdict of the table", "the verdict on a GPU")
    if paired.empty:
        return {"what": None}
    summary = {"what": what, "key": ["task", "code"], "paired": len(paired), "only_old": len(frame) - len(paired), "only_new": 0}
    return summary | _changes(paired)


def failures(programs: Programs, text: str, by: str) -> dict:
    """Counts by reason and a column: {"by", "choices", "columns", "rows": [[reason, [count, ...]]], "totals"} under a filter."""
    groups = [name for name in ("arm", "direction", "family", "split") if name in programs.frame]
    choices = [name for name in groups if len(programs.codes(name)[1]) <= FEW] or ["direction"]
    by = by if by in choices else choices[0]
    rows = programs.rows(text)
    across, names = programs.codes(by)
    down, reasons = programs.codes("reason")
    counts = np.zeros((len(reasons), len(names)), int)
    np.add.at(counts, (down[rows], across[rows]), 1)
    order = sorted(range(len(reasons)), key=lambda i: ORDER.index(reasons[i]) if reasons[i] in ORDER else len(ORDER))
    kept = [j for j in range(len(names)) if counts[:, j].any()]
    table = [[str(reasons[i]), [int(counts[i, j]) for j in kept]] for i in order if counts[i].any()]
    totals = [int(counts[:, j].sum()) for j in kept]
    return {"by": by, "choices": choices, "columns": [str(names[j]) for j in kept], "rows": table, "totals": totals, "found": len(rows)}
