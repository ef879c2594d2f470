"""Pairs to fine-tune a translator on: source and right program of each training task, people's own or a translator's own.

Knows suites, the split and rollouts.  Knows nothing of models or of how a pair is trained on.

Only families of the training side give pairs: with `suite.split` clusters that the file puts there, else families that no hash tests.
`other_programs` are of kernels that the split does not name, and so of neither side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from parallax_lib.core.cpp_text import without_comments
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params, Suite
from parallax_lib.core.storage import write_atomic
from parallax_lib.study.rejudge import read_rows
from parallax_lib.tasks import clusters, split_file
from parallax_lib.tasks.hecbench import checkout
from parallax_lib.tasks.suites import load_suite
from parallax_lib.tasks.synthetic import generator
from parallax_lib.tasks.task import Kernel, Task, put_together, split_of, tasks

NEEDED = ("task", "source_code", "code", "validated")


def training_tasks(params: Params) -> list[Task]:
    """The tasks of the suite on the training side.  UserError where there is none."""
    offered = tasks(load_suite(params.suite), params.suite.directions)
    found = [t for t in offered if split_of(t.kernel.family, params.suite, generator.SEEN_FAMILIES) == "train"]
    if not found:
        raise UserError("suite: no kernel of the training side; check suite.kinds, suite.root and suite.split")
    return found


def own_programs(params: Params) -> list[dict]:
    """A pair for each training task of which the kernel has a program in the target API that may be shown and says what is right."""
    return [_pair(task, task.kernel.sources[task.target]) for task in training_tasks(params) if _usable(task)]


def validated_programs(params: Params, folder: str, most: int, say: Callable[[str], None] = print) -> list[dict]:
    """At most `most` pairs for each training task from rollouts that validated: programs that differ in more than comments and space, and
    from the kernel's own.

    Rows of other tasks, or with another source than the suite's, are passed over and counted.
    """
    rows, by_id = read_rows(folder)[0], {task.id: task for task in training_tasks(params)}
    if missing := [name for name in NEEDED if name not in rows]:
        raise UserError(f"{folder}: rollouts have no column {missing[0]!r}; judge them first: parallax_lib rejudge {folder} --out DIR")
    right = rows[rows["validated"].eq(True) & rows["code"].notna()]
    same = [row.task in by_id and by_id[row.task].source_code == row.source_code for row in right.itertuples()]
    known = right[pd.Series(same, index=right.index, dtype=bool)]
    say(f"{folder}: {len(right)} of {len(rows)} programs validated, {len(known)} of them of training tasks")
    return list(_distinct(known, by_id, most))


def other_programs(params: Params, say: Callable[[str], None] = print) -> list[dict]:
    """A pair for each direction of each HeCBench kernel that the split does not name and that is in no cluster with one that it names.

    Their programs are as their authors wrote them; nothing was judged.  A serial program is the OpenMP one without pragmas.
    """
    if not (params.suite.root and params.suite.split):
        raise UserError("pairs --others: needs suite.root, a HeCBench checkout, and suite.split, which says what is not other")
    entries = checkout.entries(Path(params.suite.root))
    written = [kernel for entry in entries if (kernel := checkout.as_written(entry)) is not None]
    apart = _apart(written, params.suite.split)
    say(f"{params.suite.root}: {len(written)} kernels, {len(apart)} of them in no cluster that the split names")
    offered = tasks(apart, params.suite.directions) if apart else []
    return [_pair(task, task.kernel.sources[task.target]) for task in offered if _writable(task)]


def _apart(kernels: list[Kernel], split: str) -> list[Kernel]:
    """Those of the kernels that are in no cluster with a kernel of the split file, whatever was judged of it."""
    named = {f"{suite}/{name}" for suite, name in split_file.rows(split)}
    bundled = [kernel for kernel in load_suite(Suite(kinds=("minibench",))) if f"minibench/{kernel.name}" in named]
    programs = {f"{k.suite}/{k.name}": tuple(put_together(k).sources.values()) for k in (*bundled, *kernels)}
    found = clusters.clusters(programs, split_file.twins(split))
    alike = {name for members in found if named & {*members} for name in members}
    return [kernel for kernel in kernels if f"{kernel.suite}/{kernel.name}" not in alike]


def pairs(params: Params, folder: str = "", most: int = 4, say: Callable[[str], None] = print, others: bool = False) -> list[dict]:
    """Rows {kernel, family, direction, source_code, target_code, suite} of `own_programs`, of the rollouts in `folder`, or of
    `other_programs`.

    source_code is what a translator reads, target_code what it would write.  UserError where there is no pair.
    """
    if others:
        found = other_programs(params, say)
    else:
        found = validated_programs(params, folder, most, say) if folder else own_programs(params)
    if not found:
        raise UserError(f"{folder or 'suite'}: no pair of a training task; check suite.split, suite.directions and what was judged right")
    ways = Counter(row["direction"] for row in found)
    kernels, families = ({row[name] for row in found} for name in ("kernel", "family"))
    by_way = ", ".join(f"{way} {count}" for way, count in sorted(ways.items()))
    say(f"{len(found)} pairs of {len(kernels)} kernels in {len(families)} families: {by_way}")
    return found


def write(path: Path, rows: list[dict]) -> None:
    """One JSON object a line."""
    write_atomic(path, pd.DataFrame(rows).to_json(orient="records", lines=True, force_ascii=False).encode())


def _usable(task: Task) -> bool:
    kernel = task.kernel
    return task.target in kernel.sources and task.target not in kernel.unshown and not {task.source, task.target} & {*kernel.unreliable}


def _writable(task: Task) -> bool:
    """Whether the task's target is a program to learn from: OpenMP that stands for CUDA's indices is none."""
    kernel = task.kernel
    return task.target in kernel.sources and task.target not in (*kernel.unshown, *kernel.unreliable)


def _pair(task: Task, code: str) -> dict:
    row = {"kernel": task.kernel.name, "family": task.kernel.family, "direction": task.direction}
    return row | {"source_code": task.source_code, "target_code": code, "suite": task.kernel.suite}


def _distinct(rows: pd.DataFrame, by_id: dict[str, Task], most: int) -> Iterator[dict]:
    for name, group in rows.groupby("task", sort=True):
        task = by_id[name]
        texts = {_words(task.kernel.sources.get(task.target, ""))}
        for code in group["code"]:
            if _words(code) not in texts and len(texts) <= most:
                texts.add(_words(code))
                yield _pair(task, code)


def _words(code: str) -> str:
    return " ".join(without_comments(code).split())
