"""How often emulated CUDA and a real GPU give the same verdict: judge on each machine, then compare.

    python scripts/agree_cuda.py --judge emulated --out emulated.jsonl [--forge 84] [--parts minibench,forge,mutants]
    python scripts/agree_cuda.py --judge gpu --out gpu.jsonl
    python scripts/agree_cuda.py --judge gpu --out more.jsonl --without gpu.jsonl  # what another machine or hour left
    python scripts/agree_cuda.py --compare emulated.jsonl gpu.jsonl  # files of one kind can be joined with cat
    python scripts/agree_cuda.py --judge gpu --table data/runs/study/results.parquet --params study --out arms.jsonl
    python scripts/agree_cuda.py --compare data/runs/study/results.parquet arms.jsonl
    python scripts/agree_cuda.py --compare data/rollouts data/rollouts/gpu.jsonl.gz  # the shipped rollouts: both halves are here
    python scripts/agree_cuda.py --relabel data/rollouts data/rollouts/gpu.jsonl.gz --out data/runs/real  # for collect.shipped

Judged are the bundled suite's CUDA programs, forge programs with every right and some wrong strategies, and simple text
mutants of both, some 1,070 programs; with --table the different CUDA programs of a run's results or rollouts (a parquet
table, or a folder of shipped rollouts), under the limits of its parameters.  `--judge emulated --parts minibench` is
also the full sweep of the bundled suite under emulation; right programs that are not validated are listed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from parallax_lib.analysis import metrics
from parallax_lib.core.config import load
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Suite
from parallax_lib.core.storage import Journal, digest, writable_folder
from parallax_lib.prm import labels as reward_labels
from parallax_lib.sandbox import sandbox
from parallax_lib.search.rollout_files import read_rollouts, write_rollouts
from parallax_lib.study import rejudge
from parallax_lib.study.run import run_limits
from parallax_lib.tasks.suites import load_suite
from parallax_lib.tasks.synthetic import generator
from parallax_lib.tasks.task import Kernel, Task, tasks
from parallax_lib.verdict import toolchain, validate
from parallax_lib.verdict.assurance.synthetic_labels import cases
from parallax_lib.verdict.reasons import UNKNOWN

FORGE_SEED = 2_000_000
LIMITS = sandbox.Limits(cpu_s=20, memory_mb=4096)
MUTATIONS = {  # name: (pattern, replacement) of the first place, "all" of every place
    "no copy back": (r"cudaMemcpy\([^;]*cudaMemcpyDeviceToHost\);", "", "all"),
    "no barrier": (r"__syncthreads\(\);", "", "first"),
    "no barriers": (r"__syncthreads\(\);", "", "all"),
    "no guard": (r"if \((\w+) < (\w+)\) (?=\w)", "", "first"),
    "guard off by one": (r"if \((\w+) < (\w+)\)", r"if (\1 <= \2)", "first"),
    "guard reaches less": (r"if \((\w+) < (\w+)\)", r"if (\1 < \2 - 1)", "first"),
    "no atomic": (r"atomicAdd\(&([^;,]+), ([^;]+)\);", r"\1 += \2;", "all"),
    "no memset": (r"cudaMemset\([^;]*\);", "", "first"),
    "2048 threads": (r"<<<([^;]*), [^;,]+>>>", r"<<<\1, 2048>>>", "all"),
    "no blocks": (r"<<<.*?, ", "<<<0, ", "all"),
    "never launched": (r"\w+<<<[^;]*;", ";", "all"),
    "wrong direction": (r"cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost", "first"),
    "plus for minus": (r" \+ (?=\w+\[)", " - ", "first"),
    "one block": (r"<<<[^;]*?, ", "<<<1, ", "first"),
    "copy too long": (r"(cudaMemcpy\(\w+, \w+, )", r"\g<1>8 + ", "first"),
    "host pointer": (r"cudaMalloc\(&?(?:\(void \*\*\))?&?(\w+), ([^;]*)\);", r"*(void **)&\1 = malloc(\2);", "first"),
}


def mutants(code: str) -> dict[str, str]:
    """name -> mutant, for every mutation that changes the text."""
    texts = {}
    for name, (pattern, new, where) in MUTATIONS.items():
        text = re.sub(pattern, new, code, count=1 if where == "first" else 0)
        if text != code:
            texts[name] = text
    return texts


def programs(parts: set[str], forge_count: int) -> list[tuple[str, str, Task]]:
    """(id, program, task), the same on every machine."""
    rows = []
    bundled = load_suite(Suite(kinds=("minibench",)))
    drawn = [
        (spec, generator.as_kernel(spec)) for spec in (generator.sample(FORGE_SEED + i, generator.ALL_FAMILIES) for i in range(forge_count))
    ]
    if "minibench" in parts:
        rows += [(f"minibench/{k.name}/right", k.sources["cuda"], Task(k, "serial", "cuda")) for k in bundled]
    if "forge" in parts:
        for spec, kernel in drawn:
            rows += [(f"forge/{kernel.name}/{'right' if right else 'wrong'}/{'-'.join(plan)}", text, Task(kernel, "serial", "cuda"))
                     for plan, right, text in _plans(spec)]  # fmt: skip
    if "mutants" in parts:
        for kernel in [*bundled, *(k for _, k in drawn)]:
            rows += [(f"mutant/{kernel.name}/{name}", text, Task(kernel, "serial", "cuda")) for name, text in _some(kernel)]
    return rows


def _plans(spec):
    """Two programs that the labels call right and two that they call wrong."""
    rng = random.Random(f"agree {spec.name}")
    found = [(case.plan, generator.is_right(spec, "cuda", case.plan)) for case in cases(spec, "cuda")]
    for right in (True, False):
        plans = sorted({plan for plan, good in found if good == right and set(plan) != {"serial"}})
        for plan in rng.sample(plans, min(2, len(plans))):
            yield plan, right, generator.render(spec, "cuda", plan)


def _some(kernel: Kernel) -> list[tuple[str, str]]:
    named = sorted(mutants(kernel.sources["cuda"]).items())
    return random.Random(f"mutants {kernel.name}").sample(named, min(6, len(named)))


def written(table: Path, params: str) -> list[tuple[str, str, Task]]:
    """(id, program, task) of every different CUDA program in a table of results or rollouts."""
    rows, loaded = named(table), [load(name) for name in params.split(",")]
    by_id = {t.id: t for p in loaded for t in tasks(load_suite(p.suite), p.suite.directions)}
    if gone := sorted(set(rows["task"]) - set(by_id)):
        raise UserError(f"{table}: task {gone[0]} is not in the suite of {params}; give the parameters of its run")
    return [(r.id, r.code, by_id[r.task]) for r in rows.itertuples()]


def named(table: Path) -> pd.DataFrame:
    """The different CUDA programs of a table, with ids that say the same on every machine."""
    if not table.exists():
        raise UserError(
            f"{table} does not exist; name results.parquet or rollouts.parquet of a run folder, or a folder of shipped rollouts"
        )
    if not table.is_dir() and table.suffix != ".parquet":
        raise UserError(f"{table} is neither a .parquet table nor a folder of rollouts")
    frame = read_rollouts(str(table))[0] if table.is_dir() else pd.read_parquet(table)
    return frame.assign(id=ids(frame)).dropna(subset="id").drop_duplicates("id")


def ids(frame: pd.DataFrame) -> list[str | None]:
    """The name of each row's program; None where it is no CUDA program."""
    return [
        f"written/{task.rpartition('.')[0]}/{task.rpartition('.')[2]}/{digest(code)[:12]}"
        if task.endswith("-cuda") and isinstance(code, str)
        else None
        for task, code in zip(frame["task"], frame["code"], strict=True)
    ]


def judge(
    how: str, out: Path, rows: list[tuple[str, str, Task]], workers: int, minutes: float, journal: Path, back: bool, limits: sandbox.Limits
) -> None:
    """Verdicts of the programs, one JSON line each as it falls, in a random order of kernels that is the same everywhere.

    What time does not suffice for is left out; a machine that goes `back` begins at the order's end.  A stopped run goes on where it
    was: the journal remembers.
    """
    bench = toolchain.detect(how), sandbox.probe(), limits, Journal(journal)
    until, lock, done = time.monotonic() + 60 * minutes, threading.Lock(), {}
    groups: dict[str, list] = {}  # a kernel's programs one after another: its reference is made once
    for row in rows:
        groups.setdefault(row[2].kernel.name, []).append(row)
    with out.open("w") as f, ThreadPoolExecutor(max_workers=workers) as pool:

        def work(group: list) -> None:
            for name, code, task in group:
                if time.monotonic() > until:
                    return
                row = {"id": name} | validate.to_row(validate.judge(code, task, *bench, draw=0))
                with lock:
                    done[name] = row
                    f.write(json.dumps(row) + "\n")
                    f.flush()
                    if len(done) % 25 == 0:
                        print(f"{len(done)}/{len(rows)}", flush=True)

        shuffled = sorted(groups.values(), key=lambda group: random.Random(group[0][2].kernel.name).random(), reverse=back)
        list(pool.map(work, shuffled))
    tell(done)


def tell(done: dict[str, dict]) -> None:
    """Counts of reasons, and what contradicts a label."""
    for kind in sorted(set(map(_kind, done))):
        print(kind, dict(Counter(row["reason"] for name, row in done.items() if _kind(name) == kind)))
    for name, row in done.items():
        if "/right" in name and row["level"] != 5:
            print(f"right but {row['reason']}: {name}: {row['log'][:160]!r}")
        if "/wrong" in name and row["level"] == 5:
            print(f"labelled wrong but ok: {name}")


def _kind(name: str) -> str:
    return "mutant" if name.startswith("mutant/") else "/".join(name.split("/")[:3:2])


def compare(first: Path, second: Path) -> None:
    """Agreement on validated or not, by kind, and every disagreement."""
    a, b = verdicts(first), verdicts(second)
    shared = [name for name in a if name in b and not {a[name]["reason"], b[name]["reason"]} & set(UNKNOWN)]
    if not shared:
        raise UserError(f"{first} and {second} have no judged program in common")
    same, reason = Counter(), Counter()
    for name in shared:
        for kind in (_kind(name), "all"):
            same[kind] += (a[name]["level"] == 5) == (b[name]["level"] == 5)
            reason[kind] += a[name]["reason"] == b[name]["reason"]
    for kind in sorted({_kind(n) for n in shared}) + ["all"]:
        n = len(shared) if kind == "all" else sum(_kind(x) == kind for x in shared)
        low, high = metrics.wilson(same[kind], n)
        print(f"{kind:20} n {n:5}  same verdict {same[kind] / n:7.2%} [{low:.2%}, {high:.2%}]  same reason {reason[kind] / n:7.2%}")
    print(f"left out (not judged on both): {len(set(a) | set(b)) - len(shared)}")
    for name in shared:
        if (a[name]["level"] == 5) != (b[name]["level"] == 5):
            print(f"{name}: {_said(a[name])} | {_said(b[name])}")


def verdicts(path: Path) -> dict[str, dict]:
    """id -> verdict, of a file that was judged here or of a run's table."""
    if path.suffix == ".parquet" or path.is_dir():
        return {row["id"]: row for row in named(path).to_dict("records")}
    if not path.is_file():
        raise UserError(f"{path} is no file: judge first, or name a table")
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return {row["id"]: row for row in map(json.loads, text.splitlines())}


def relabel(folder: Path, judged: Path, out: Path) -> None:
    """A copy of a folder of rollouts in which a CUDA program that the file knows has the file's verdict and its reward."""
    rows, vectors = read_rollouts(str(folder))
    metadata = rejudge.read_metadata(str(folder))
    known = {name: row for name, row in verdicts(judged).items() if row["reason"] not in UNKNOWN}
    if not known.keys() & set(ids(rows)):
        raise UserError(f"{judged} judges no program of {folder}")
    found = pd.DataFrame([known.get(name, {}) for name in ids(rows)], index=rows.index)
    after = rows.drop(columns="origin").assign(**{name: found[name].fillna(rows[name]) for name in found if name in rows})
    after = after.assign(level=after["level"].astype(int), validated=after["level"] == 5)
    after = after.assign(reward=reward_labels.rewards(after, metadata["params"]["reward"]["spec"]))
    write_rollouts(out, after, vectors, metadata | {"relabelled": str(judged)})
    gained, lost = (after["validated"] & ~rows["validated"]).sum(), (rows["validated"] & ~after["validated"]).sum()
    print(f"{out}: {found['reason'].count()} of {len(rows)} verdicts are of {judged}; {gained} more programs validate, {lost} no longer")


def _said(row: dict) -> str:
    return f"{row['reason']} {(row['log'] or row['parallel_evidence'])[:160]!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", choices=("gpu", "emulated"))
    parser.add_argument("--out", type=Path, help="the file of verdicts (verdicts.jsonl unless named); with --relabel the new folder")
    parser.add_argument("--parts", default="minibench,forge,mutants")
    parser.add_argument("--forge", type=int, default=84)
    parser.add_argument(
        "--table", type=Path, help="a run's results.parquet or rollouts.parquet, or a folder of rollouts: judge its CUDA programs instead"
    )
    parser.add_argument("--params", default="study", help="parameters whose suites hold its tasks, with commas; the first has the limits")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--back", action="store_true", help="in the opposite order, to share the work between machines")
    parser.add_argument("--without", nargs="+", type=Path, default=[], help="files of programs that are judged already")
    parser.add_argument("--journal", type=Path, default=None, help="default: beside --out")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("FIRST", "SECOND"))
    parser.add_argument("--relabel", nargs=2, type=Path, metavar=("FOLDER", "VERDICTS"))
    args = parser.parse_args()
    if sum(map(bool, (args.judge, args.compare, args.relabel))) != 1:
        parser.error("give --judge, --compare or --relabel")
    if args.relabel and not args.out:
        parser.error("--relabel: name the new folder with --out")
    try:
        if args.judge:
            out = args.out or Path("verdicts.jsonl")
            journal = args.journal or out.with_suffix(".journal.db")
            finished = {name for path in args.without for name in verdicts(path)}
            limits = run_limits(load(args.params.split(",")[0])) if args.table else LIMITS
            every = written(args.table, args.params) if args.table else programs(set(args.parts.split(",")), args.forge)
            todo = [row for row in every if row[0] not in finished]
            judge(args.judge, out, todo, args.workers, args.minutes, journal, args.back, limits)
        elif args.relabel:
            relabel(*args.relabel, writable_folder(args.out))
        else:
            compare(*args.compare)
    except UserError as e:
        raise SystemExit(str(e)) from None


if __name__ == "__main__":
    main()
