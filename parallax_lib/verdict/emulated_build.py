"""The compile job of an emulated CUDA program: nvcc's consent where it is installed, then the host compiler.

Knows which commands run in which order.  Knows nothing of verdicts.
"""

from __future__ import annotations

import functools
import io
import shlex
import tarfile

from parallax_lib.cuda_emulation import rewrite
from parallax_lib.sandbox.sandbox import JOB, Level
from parallax_lib.verdict import harness
from parallax_lib.verdict.toolchain import Toolchain

OURS = 87  # exit status of a job that fails on our side
UNABLE = 86  # exit status of a job whose program nvcc accepts and the emulator cannot compile
HOST = ("-w", "-fno-builtin-printf", "-fno-strict-aliasing", "-ffp-contract=off", "-I", "include")
NVCC_ONLY = ("--", "-lcu")  # what a kernel's own flags may hold that means nothing here
UNPACK = f"mkdir include && tar -xf {JOB}/include.tar -C include"


def job(
    code: str, toolchain: Toolchain, extra: tuple[str, ...], level: Level, counted: tuple[str, ...] = ()
) -> tuple[str, dict[str, bytes]]:
    """(shell script, files beside marker.o) that turn `code` into ./program and list main.o's symbols.

    `counted`: flags for the program's own code alone, in a build that is linked with work.o, which lies beside these files.
    """
    lacking = rewrite.unsupported(code)
    objects, why = _library(toolchain, level)
    files = {
        "main.cu": code.encode("utf-8", errors="replace"),
        "emulated.cpp": rewrite.rewrite(code).encode("utf-8", errors="replace"),
        "include.tar": _headers(),
        **objects,
    }
    if why:
        return failing(why), files
    ours = [flag for flag in extra if not flag.startswith(NVCC_ONLY)]
    host = [toolchain.compiler, *toolchain.flags, *ours]
    compile_it = shlex.join([*host, *HOST, "-include", "cuda_runtime.h", *counted, "-c", f"{JOB}/emulated.cpp", "-o", "main.o"])
    linked = [f"{JOB}/marker.o", *([f"{JOB}/work.o"] if counted else []), "main.o", f"{JOB}/runtime.o"]
    link = shlex.join([*host, "-Wl,-z,now", *linked, "-o", "program", *ours])
    refused = f"echo {shlex.quote(lacking or 'the emulator cannot compile this program')} >&2; exit {UNABLE}"
    steps = []
    if toolchain.gate:
        gate = [*toolchain.gate, *extra, f"{JOB}/main.cu", "-o", "gate.out"]
        steps += [] if lacking else [shlex.join([*gate, "-cubin"])]
        refused = f"{shlex.join([*gate, '-c'])}; {refused}"  # -cubin is quick but leaves the host's half to g++
    elif not lacking and not rewrite.IN_PART.search(code):
        refused = "exit 1"
    steps += [
        UNPACK,
        refused if lacking else f"{compile_it} || {{ {refused}; }}",
        link,
        "nm -u main.o > symbols",
        ": > runtime",  # no OpenMP runtime is linked
    ]
    return "\n".join(steps), files


@functools.cache
def _headers() -> bytes:
    """parallax_lib/cuda_emulation/include/ as a tar: the sandbox may be unable to see the checkout."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(p for p in rewrite.HEADERS.rglob("*") if p.is_file()):
            member = tarfile.TarInfo(path.relative_to(rewrite.HEADERS).as_posix())
            member.size = path.stat().st_size
            with path.open("rb") as f:
                tar.addfile(member, f)
    return out.getvalue()


def _library(toolchain: Toolchain, level: Level) -> tuple[dict[str, bytes], str]:
    """(the emulator's library as runtime.o, ""), or ({}, what the compiler said)."""
    compile_it = shlex.join([toolchain.compiler, *toolchain.flags, *HOST, "-c", "include/runtime.cpp", "-o", "runtime.o"])
    files = {"include.tar": _headers()}
    return harness.made(f"{UNPACK}\n{compile_it}", files, ("runtime.o",), level, toolchain.compiler, toolchain.roots)


def failing(why: str) -> str:
    """A line of a job whose part of ours does not compile."""
    return f"echo {shlex.quote(f'the harness does not compile: {why}')} >&2; exit {OURS}"
