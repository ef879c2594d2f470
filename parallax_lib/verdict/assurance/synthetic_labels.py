"""Checks forge's labels: compiles and runs programs with every strategy and compares them with the serial run.

    python -m parallax_lib.verdict.assurance.synthetic_labels --sweep 200 [--seed 0] [--families map,argmax] [--workers 16]
        [--apis omp,cuda]

Uses g++ for OpenMP and, where nvcc and a GPU are present, nvcc for CUDA.  No sandbox: forge's own text is run as it is.
The strategies of one program are compiled together, each in a namespace, because that costs a fifth of the time.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from parallax_lib.tasks.synthetic import generator
from parallax_lib.tasks.synthetic.codegen import Spec

HOST = ("g++", "-O2", "-w", "-fopenmp", "-std=c++17")
COMPILERS = {"serial": HOST, "omp": HOST, "cuda": ("nvcc", "-O2", "-w", "-std=c++17", "-arch=sm_90")}
SUFFIX = {"serial": ".cpp", "omp": ".cpp", "cuda": ".cu"}
RUN_LIMIT = 60  # seconds


@dataclass(frozen=True)
class Case:
    """One strategy of one function, with right strategies for the program's other functions."""

    pattern: str
    word: str
    api: str
    plan: tuple[str, ...]
    right: bool


@dataclass(frozen=True)
class Finding:
    """What happened to a case: `outcome` is right, wrong or compile_error; a wrong one showed in run `tries`."""

    spec: str
    case: Case
    outcome: str
    tries: int


def cases(spec: Spec, api: str) -> list[Case]:
    """Every strategy of every function of the program."""
    rng, found = random.Random(f"cases {spec.name} {api}"), []
    for k, stage in enumerate(spec.stages):
        for word, right in generator.strategies(stage, api).items():
            plan = list(generator.source_plan(spec, api, rng))
            plan[k] = word
            found.append(Case(stage.pattern, word, api, tuple(plan), right))
    return found


def joined(programs: list[str]) -> str:
    """One program that holds all: `./a.out K ARGS` runs the K-th with ARGS."""
    headers = sorted({line for p in programs for line in p.splitlines() if line.startswith("#include")})
    parts = []
    for k, text in enumerate(programs):
        text = re.sub(r"#include.*\n", "", text).replace("int main(", "int run(")
        parts.append(f"namespace v{k} {{\n{text}\n}}\n")
    pick = " ".join(f"if (k == {k}) return v{k}::run(argc - 1, argv + 1);" for k in range(len(programs)))
    main = f"int main(int argc, char **argv) {{ int k = atoi(argv[1]); {pick} }}\n"
    return "\n".join(headers) + "\n" + "".join(parts) + main


def build(text: str, api: str, folder: Path, name: str) -> Path | None:
    """The executable, or None where it does not compile."""
    source, binary = folder / f"{name}{SUFFIX[api]}", folder / name
    source.write_text(text, encoding="utf-8")
    done = subprocess.run([*COMPILERS[api], str(source), "-o", str(binary)], capture_output=True)
    return binary if done.returncode == 0 else None


def run(command: list[str]) -> str | None:
    """Standard output, or None after a crash or the time limit."""
    env = {**os.environ, "OMP_NUM_THREADS": "4"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=RUN_LIMIT, env=env, text=True)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def same(a: str | None, b: str | None) -> bool:
    """Equal words, numbers within 1e-6 relative."""
    if a is None or b is None or len(a.split()) != len(b.split()):
        return False
    return all(x == y or _close(x, y) for x, y in zip(a.split(), b.split(), strict=True))


def _close(x: str, y: str) -> bool:
    try:
        p, q = float(x), float(y)
    except ValueError:
        return False
    return abs(p - q) <= 1e-6 * max(abs(p), abs(q))


def check(spec: Spec, api: str, retries: int = 3) -> list[Finding]:
    """Findings for every case of a program; a wrong case that agreed is run again, up to `retries` times."""
    todo = cases(spec, api)
    with tempfile.TemporaryDirectory() as folder:
        oracle = build(generator.render(spec, "serial"), "serial", Path(folder), "oracle")
        assert oracle is not None, f"{spec.name}: serial does not compile"
        expected = [run([str(oracle), *args]) for args in spec.hidden_args]
        assert None not in expected, f"{spec.name}: serial does not run"
        commands = _commands(spec, api, todo, Path(folder))
        return [_judge(spec, case, command, expected, retries) for case, command in zip(todo, commands, strict=True)]


def _commands(spec: Spec, api: str, todo: list[Case], folder: Path) -> list[list[str] | None]:
    """How to run each case: all in one binary, or singly when that does not compile."""
    texts = [generator.render(spec, api, case.plan) for case in todo]
    binary = build(joined(texts), api, folder, "all")
    if binary is not None:
        return [[str(binary), str(k)] for k in range(len(todo))]
    single = [build(text, api, folder, f"one{k}") for k, text in enumerate(texts)]
    return [[str(path)] if path else None for path in single]


def _judge(spec: Spec, case: Case, command: list[str] | None, expected: list, retries: int) -> Finding:
    if command is None:
        return Finding(spec.name, case, "compile_error", 1)
    for attempt in range(1, 1 if case.right else retries + 1):
        if not _agrees(command, spec, expected):
            return Finding(spec.name, case, "wrong", attempt)
    agrees = _agrees(command, spec, expected)
    return Finding(spec.name, case, "right" if agrees else "wrong", 1 if case.right else retries + 1)


def _agrees(command: list[str], spec: Spec, expected: list) -> bool:
    return all(same(run([*command, *args]), text) for args, text in zip(spec.hidden_args, expected, strict=True))


def table(findings: list[Finding]) -> str:
    """One line per pattern, strategy and API; `late` counts wrong ones that looked right on the first run."""
    rows: dict[tuple, Counter] = {}
    for f in findings:
        row = rows.setdefault((f.case.pattern, f.case.api, f.case.word, f.case.right), Counter())
        row[f.outcome] += 1
        row["late"] += f.outcome == "wrong" and f.tries > 1
        row["bad"] += (f.outcome == "right") != f.case.right
    columns = "".join(f"{name:>9}" for name in ("n", "right", "wrong", "error", "late", "DISAGREE"))
    lines = [f"{'pattern':22}{'api':6}{'word':11}{'label':7}{columns}"]
    for (pattern, api, word, right), c in sorted(rows.items()):
        n = c["right"] + c["wrong"] + c["compile_error"]
        counts = (n, c["right"], c["wrong"], c["compile_error"], c["late"], c["bad"])
        label = "right" if right else "wrong"
        lines.append(f"{pattern:22}{api:6}{word:11}{label:7}" + "".join(f"{x:9}" for x in counts))
    return "\n".join(lines)


def _check_seed(job: tuple[int, tuple[str, ...], tuple[str, ...]]) -> list[Finding]:
    seed, families, apis = job
    spec = generator.sample(seed, families)
    return [finding for api in apis for finding in check(spec, api)]


def has_gpu() -> bool:
    """Whether CUDA programs can be built and run here."""
    if not (shutil.which("nvcc") and shutil.which("nvidia-smi")):
        return False
    return b"GPU" in subprocess.run(["nvidia-smi", "-L"], capture_output=True).stdout


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the number of disagreements."""
    parser = argparse.ArgumentParser(
        prog="python -m parallax_lib.verdict.assurance.synthetic_labels", description="check forge's labels by running"
    )
    parser.add_argument("--sweep", type=int, required=True, help="how many programs")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--families", default=",".join(generator.ALL_FAMILIES))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--apis", default="omp,cuda" if has_gpu() else "omp")
    chosen = parser.parse_args(arguments)
    families, apis = tuple(chosen.families.split(",")), tuple(chosen.apis.split(","))
    jobs = [(chosen.seed + k, families, apis) for k in range(chosen.sweep)]
    findings: list[Finding] = []
    try:
        with ProcessPoolExecutor(chosen.workers) as pool:
            for done, group in enumerate(pool.map(_check_seed, jobs), 1):
                findings += group
                for f in filter(disagrees, group):
                    plan = ",".join(f.case.plan)
                    print(f"disagree: {f.spec} {f.case.api} {f.case.pattern} {f.case.word} plan={plan} observed={f.outcome}", flush=True)
                if done % 10 == 0:
                    print(f"{done}/{len(jobs)}", flush=True)
    finally:  # also of a stopped sweep
        programs, bad = len({f.spec for f in findings}), sum(map(disagrees, findings))
        print(f"{table(findings)}\n{len(findings)} cases of {programs} programs, {bad} disagreements", flush=True)
    return bad


def disagrees(finding: Finding) -> bool:
    """Whether what happened is not what the label says."""
    return (finding.outcome == "right") != finding.case.right


if __name__ == "__main__":
    main()
