"""Checks styled training pairs: both texts are built, run and compared, and nvcc compiles CUDA ones where it is here.

    python -m parallax_lib.verdict.assurance.styled_pairs --pairs 200 [--seed 0] [--workers 2] [--no-nvcc] [--show]

OpenMP runs with g++ and four threads, CUDA emulated on the CPU in both of the emulator's schedules.  No sandbox: forge's own text
is run as it is.  A pair is right where both texts print the same for three inputs.
"""

from __future__ import annotations

import argparse
import atexit
import os
import random
import shutil
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from parallax_lib.core.settings import DIRECTIONS
from parallax_lib.cuda_emulation import emulate, rewrite
from parallax_lib.tasks.synthetic import composed_patterns, finetuning_pairs, generator
from parallax_lib.tasks.synthetic.codegen import Spec
from parallax_lib.tasks.synthetic.finetuning_pairs import Pair
from parallax_lib.verdict.assurance.synthetic_labels import HOST, same

EMULATED = ("g++", *emulate.FLAGS, "-O1", *emulate.HOST, "-I", str(rewrite.HEADERS), "-include", "cuda_runtime.h")
GATE = ("nvcc", "-c", "-w", "-std=c++17", "-arch=sm_90", "-Xcicc", "-O1", "-Xptxas", "-O0")
RUN_LIMIT = 100  # seconds
FAMILIES = generator.TRAIN_FAMILIES + composed_patterns.FAMILIES


@dataclass(frozen=True)
class Outcome:
    """What happened to the pair of a seed: right, wrong, crash, compile_error or nvcc_error, with the compiler's words."""

    seed: int
    direction: str
    plan: tuple[str, ...]
    outcome: str
    says: str = ""


def pair_of(seed: int, direction: str) -> tuple[Spec, Pair]:
    """The styled pair of a seed, in other names for seven of ten."""
    rng = random.Random(f"styled {seed}")
    spec = generator.sample(seed, FAMILIES if rng.random() < 0.5 else generator.TRAIN_FAMILIES)
    source, target = direction.split("-")
    return spec, finetuning_pairs.training_pair(spec, source, target, rng, 0.0, rng.random() < 0.7, styled=True)


def inputs(spec: Spec) -> list[tuple[str, str]]:
    """Three inputs small enough for emulation, of sizes that fill no block."""
    return [("37", "3"), (str(spec.default_n + 3), "5"), spec.public_args]


def check(seed: int, nvcc: bool = True) -> Outcome:
    """Build, run and compare the pair of a seed; its direction goes round with the seed."""
    direction = DIRECTIONS[seed % len(DIRECTIONS)]
    spec, pair = pair_of(seed, direction)
    outcome = partial(Outcome, seed, direction, pair.plan)
    with tempfile.TemporaryDirectory() as folder:
        said = []
        for api, text in zip(direction.split("-"), (pair.source, pair.target), strict=True):
            file = Path(folder) / f"{api}{'.cu' if api == 'cuda' else '.cpp'}"
            file.write_text(text, encoding="utf-8")
            if problem := built(file, api, nvcc):
                return outcome("compile_error", problem)
            said.append([prints(file.with_suffix(""), api, args) for args in inputs(spec)])
    if any(text is None for texts in said for text in texts):
        return outcome("crash")
    return outcome("right" if all(map(same, *said)) else "wrong", "" if all(map(same, *said)) else f"{said[0]}\n{said[1]}"[:3000])


def built(file: Path, api: str, nvcc: bool) -> str:
    """What a compiler objects to; "" where the program is beside `file` without its suffix."""
    if api != "cuda":
        done = subprocess.run([*HOST, str(file), "-o", str(file.with_suffix(""))], capture_output=True, text=True)
        return done.stderr[:2000] if done.returncode else ""
    if nvcc:
        done = subprocess.run([*GATE, str(file), "-o", str(file.with_suffix(".o"))], capture_output=True, text=True)
        if done.returncode:
            return "nvcc: " + (done.stderr + done.stdout)[:2000]
    text = file.with_suffix(".cpp")
    text.write_text(rewrite.rewrite(file.read_text(encoding="utf-8")), encoding="utf-8")
    done = subprocess.run([*EMULATED, str(text), str(runtime()), "-o", str(file.with_suffix(""))], capture_output=True, text=True)
    return "emulated: " + done.stderr[:2000] if done.returncode else ""


@lru_cache(maxsize=1)
def runtime() -> Path:
    """The emulator's library, compiled once for each process of a sweep: it costs more than a program."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    subprocess.run([*EMULATED, "-c", str(rewrite.HEADERS / "runtime.cpp"), "-o", f"{folder.name}/runtime.o"], check=True)
    return Path(folder.name) / "runtime.o"


def prints(program: Path, api: str, args: tuple[str, str]) -> str | None:
    """What the program prints; None after a crash, the time limit, or two runs that differ."""
    texts = []
    for schedule in "12":
        env = {**os.environ, "OMP_NUM_THREADS": "4", "CUDACPU_SCHEDULE": schedule}
        try:
            done = subprocess.run([str(program), *args], capture_output=True, text=True, timeout=RUN_LIMIT, env=env)
        except subprocess.TimeoutExpired:
            return None
        said = "".join(line for line in done.stdout.splitlines(True) if " time" not in line)  # times differ
        texts.append(said if done.returncode == 0 and said and "FAIL" not in said else None)
        if api == "serial":
            break
    return texts[0] if len(texts) == 1 or same(*texts) else None


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the number of pairs that are not right."""
    parser = argparse.ArgumentParser(
        prog="python -m parallax_lib.verdict.assurance.styled_pairs", description="check styled training pairs by building and running them"
    )
    parser.add_argument("--pairs", type=int, required=True, help="how many pairs")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--no-nvcc", action="store_true", help="do not ask nvcc")
    parser.add_argument("--show", action="store_true", help="print what a compiler or the programs said")
    chosen = parser.parse_args(arguments)
    nvcc, counts = bool(shutil.which("nvcc")) and not chosen.no_nvcc, Counter()
    seeds = range(chosen.seed, chosen.seed + chosen.pairs)
    with ProcessPoolExecutor(chosen.workers) as pool:
        for done, found in enumerate(pool.map(partial(check, nvcc=nvcc), seeds), 1):
            counts[found.direction, found.outcome] += 1
            if found.outcome != "right":
                print(f"{found.outcome}: seed {found.seed} {found.direction} plan={','.join(found.plan)}", flush=True)
                print(found.says if chosen.show else "", end="\n" if chosen.show else "", flush=True)
            if done % 20 == 0:
                print(f"{done}/{chosen.pairs}", flush=True)
    for (direction, outcome), number in sorted(counts.items()):
        print(f"{direction:12} {outcome:14} {number}")
    bad = chosen.pairs - sum(n for (_, outcome), n in counts.items() if outcome == "right")
    print(f"{chosen.pairs} pairs, {bad} not right; CUDA emulated, nvcc {'asked' if nvcc else 'not asked'}")
    return bad


if __name__ == "__main__":
    raise SystemExit(bool(main()))
