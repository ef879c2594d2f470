"""Are verdicts the same on an idle and on an overloaded machine, and is no correct OpenMP program rejected?

Judges the bundled suite's own OpenMP programs and faulty ones made from them, with nothing remembered, first as the
machine is and then beside busy processes.  Prints every verdict that differs, every correct program not validated with
its evidence, and one JSON line.  Exit status 1 for either.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys

from parallax_lib.core.settings import Suite
from parallax_lib.sandbox import sandbox
from parallax_lib.tasks.suites import load_suite
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import batch as judge_batch
from parallax_lib.verdict import build, toolchain, validate

FAULTS = {
    "one thread": lambda code: re.sub(r"(#pragma omp parallel(?: for)?)", r"\1 num_threads(1)", code),
    "no pragma": lambda code: re.sub(r"#pragma omp.*", "", code),
    "no main": lambda code: code.replace("int main(", "int main_("),
}
SHARE, COVER = re.compile(r"second thread ([\d.]+)"), re.compile(r"coverage ([\d.]+)")


def programs(count: int, forge: int) -> list[tuple[str, str, Task]]:
    """(name, code, task): `count` references, every one right, and a faulty twin of every third; all with 0."""
    kernels = [k for k in load_suite(Suite(kinds=("minibench", "forge") if forge else ("minibench",), forge_count=forge or 1))]
    kernels = [k for k in kernels if {"serial", "omp"} <= k.sources.keys()][: count or None]
    cases = []
    for i, kernel in enumerate(kernels):
        task = Task(kernel, "serial", "omp")
        cases.append((kernel.name, kernel.sources["omp"], task))
        if i % 3 == 0:
            fault = list(FAULTS)[i // 3 % len(FAULTS)]
            cases.append((f"{kernel.name}, {fault}", FAULTS[fault](kernel.sources["omp"]), task))
    return cases


def judge(cases: list, races: str) -> list[validate.Verdict]:
    build.RECENT.clear()
    items = [(code, task) for _, code, task in cases]
    limits = sandbox.Limits(cpu_s=10, wall_s=300)
    return judge_batch.judge_many(items, toolchain.detect(), sandbox.probe(), limits, None, 2, races=races, draw=0)


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--count", type=int, default=20, help="references; 0: all")
    ask.add_argument("--forge", type=int, default=0, help="forge programs beside them")
    ask.add_argument("--busy", type=int, default=8, help="busy processes of the second round")
    ask.add_argument("--races", default="off", choices=("off", "auto", "on"))
    args = ask.parse_args()
    cases = programs(args.count, args.forge)
    idle = judge(cases, args.races)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    try:
        loaded = judge(cases, args.races)
    finally:
        for process in busy:
            process.kill()
    return report(cases, idle, loaded)


def report(cases: list, idle: list[validate.Verdict], loaded: list[validate.Verdict]) -> int:
    def facts(v: validate.Verdict) -> tuple:
        return v.level, v.reason, v.parallel, v.race_free

    differ = [(name, facts(a), facts(b)) for (name, _, _), a, b in zip(cases, idle, loaded, strict=True) if facts(a) != facts(b)]
    right = [(name, v) for part in (idle, loaded) for (name, _, _), v in zip(cases, part, strict=True) if "," not in name]
    rejected = [(name, v.reason, v.parallel_evidence, v.race_evidence, v.log) for name, v in right if not v.validated]
    for row in (*differ, *rejected):
        print(row)
    lowest = {key: min(((float(m[1]), name) for name, v in right if (m := form.search(v.parallel_evidence))), default=None)
              for key, form in (("coverage", COVER), ("second", SHARE))}  # fmt: skip
    summary = {"programs": len(cases), "differ": len(differ), "right": len(right), "rejected": len(rejected), "lowest": lowest}
    for part, values in (("parallel", ("yes", "no", "unknown")), ("race_free", ("yes", "no", "not checked"))):
        summary[part] = {value: sum(getattr(v, part) == value for _, v in right) for value in values}
    print(json.dumps(summary))
    return int(bool(differ or rejected))


if __name__ == "__main__":
    raise SystemExit(main())
