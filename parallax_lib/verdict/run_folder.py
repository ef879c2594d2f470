"""A judged program as a folder that `make clean run` builds and runs: its source, its Makefile, its task's reference beside it.

Knows tasks, compilers' usual names and Makefiles.  Knows no verdict.  A program's text reaches no Makefile, only a source file.

    main.cpp or main.cu, Makefile        the program
    reference/                           the source program that it translates, likewise
    inputs/, emulated/                   files that its arguments name; CUDA for a CPU: the rewritten text and the emulator's headers
    task.json                            which task, which inputs
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import digest, write_atomic
from parallax_lib.cuda_emulation import rewrite
from parallax_lib.cuda_emulation.emulate import FLAGS, HOST
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import JOB, Level, Limits, Outcome
from parallax_lib.tasks.given import NOTHING, whole
from parallax_lib.tasks.task import FILE, Task
from parallax_lib.verdict.reference import inputs
from parallax_lib.verdict.toolchain import BASE

LIMITS = Limits(cpu_s=120, wall_s=600, memory_mb=4096, output_bytes=1 << 20, processes=320, tmp_mb=256)
SHOWN = f"{JOB}/inputs/"  # where the judge's sandbox has input files
NEAR = 1e-6
MOST = 64 << 20  # bytes of one folder
BUILT = ("program", "emulated.o")
RULES = """
run: program
{runs}
clean:
\trm -f program

.PHONY: run clean
"""
GPU_OR_CPU = """# CUDA=gpu builds with nvcc, CUDA=cpu emulates on the CPU; without a GPU: cpu
CUDA ?= $(if $(wildcard /dev/nvidiactl),gpu,cpu)
program: {file}
ifeq ($(CUDA),gpu)
\tnvcc {flags} -arch=native {file} -o program {extra}
else
\t$(CXX) {host} -I emulated -include cuda_runtime.h emulated/main.cpp emulated/runtime.cpp -o program {extra}
endif
"""


def write(folder: Path, code: str, task: Task, more: Mapping[str, Any] | None = None) -> Path:
    """The folder of one program for one task; `more` goes into task.json beside what the task is."""
    kernel = task.kernel
    _program(folder, code, task.target, task)
    _program(folder / "reference", kernel.sources[task.source], task.source, task)
    runs = [list(args) for args in inputs(kernel)]
    about = {"task": task.id, "kernel": kernel.name, "source": task.source, "target": task.target, "inputs": runs}
    write_atomic(folder / "task.json", (json.dumps(about | dict(more or {}), indent=1, default=str) + "\n").encode())
    return folder


def _program(folder: Path, code: str, api: str, task: Task) -> None:
    """Source, Makefile, input files; of a CUDA program what a CPU needs as well."""
    kernel, text = task.kernel, whole(code, task.kernel.given.get(api, NOTHING))
    files = {FILE[api]: text.encode("utf-8", errors="replace"), "Makefile": makefile(api, task).encode()}
    files |= {f"inputs/{name}": data for name, data in kernel.inputs.items()}
    if api == "cuda":
        files["emulated/main.cpp"] = rewrite.rewrite(text).encode("utf-8", errors="replace")
        headers = (path for path in rewrite.HEADERS.rglob("*") if path.is_file())
        files |= {f"emulated/{path.relative_to(rewrite.HEADERS).as_posix()}": path.read_bytes() for path in headers}
    for name, data in files.items():
        write_atomic(folder / name, data)


def makefile(api: str, task: Task) -> str:
    """The text of a program's Makefile: `make clean run` builds it and runs it on every input."""
    flags, extra = [*BASE, *(["-fopenmp"] if api == "omp" else [])], _quoted(task.kernel.flags.get(api, ()))
    runs = "\n".join(f"\t./program {_quoted(arg.replace(SHOWN, 'inputs/') for arg in args)}".rstrip() for args in inputs(task.kernel))
    if api == "cuda":
        build = GPU_OR_CPU.format(file=FILE[api], flags=_quoted(BASE), host=_quoted((*FLAGS, *HOST)), extra=extra)
    else:
        build = f"program: {FILE[api]}\n\t$(CXX) {_quoted(flags)} {FILE[api]} -o program {extra}".rstrip() + "\n"
    return f"# {task.kernel.name.splitlines()[0]}, {api}: make clean run\nCXX ?= g++\n{build}{RULES.format(runs=runs)}"


def _quoted(words: Sequence[str]) -> str:
    """Words for a recipe's shell; UserError for one that no recipe can hold."""
    words = list(words)
    if bad := next((word for word in words if "\n" in word or "\0" in word), None):
        raise UserError(f"argument {bad!r}: a Makefile cannot hold a line break in an argument; leave this task's folder out")
    return shlex.join(words).replace("$", "$$")


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every file of a run folder by its path there.  UserError for a folder without a Makefile, or too large."""
    if not (folder / "Makefile").is_file():
        raise UserError(f"{folder}: no Makefile here; name a folder that `validate --folders` wrote")
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink() and p.name not in BUILT]
    if sum(path.stat().st_size for path in paths) > MOST:
        raise UserError(f"{folder}: over {MOST >> 20} MiB; a run folder holds sources and small inputs")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def identity(files: Mapping[str, bytes], level: Level) -> str:
    """What a run of a folder is remembered by."""
    return digest([level.name, {name: digest(data.hex()) for name, data in files.items()}])


def make_run(files: Mapping[str, bytes], level: Level, part: str = "", limits: Limits = LIMITS) -> Outcome:
    """`make clean run` in a copy of the folder, or of its part `reference`, inside the sandbox; nothing is written outside."""
    script = f"cp -r {JOB}/. . && chmod -R u+w . && cd ./{part or '.'} && make clean run"
    return sandbox.run(["/bin/sh", "-ec", script], dict(files), limits, level, env={"OMP_NUM_THREADS": "4"})


def difference(ours: str, theirs: str) -> str:
    """Where two outputs differ first, "" where they do not; white space and the commands that make shows do not count."""
    first, second = (_lines(text) for text in (ours, theirs))
    for number, (a, b) in enumerate(zip(first, second, strict=False), 1):
        if len(a) != len(b) or not all(map(_alike, a, b)):
            return f"line {number}: {' '.join(a)[:160]!r}, the reference prints {' '.join(b)[:160]!r}"
    return "" if len(first) == len(second) else f"{len(first)} lines, the reference prints {len(second)}"


def _alike(ours: str, theirs: str) -> bool:
    """Equal words, or numbers that differ by no more than a sum in another order does."""
    try:
        return ours == theirs or math.isclose(float(ours), float(theirs), rel_tol=NEAR, abs_tol=NEAR)
    except ValueError:
        return False


def _lines(text: str) -> list[list[str]]:
    shown = ("./program", "rm -f", "g++", "nvcc", "c++", "make")
    return [words for line in text.splitlines() if (words := line.split()) and not line.startswith(shown)]
