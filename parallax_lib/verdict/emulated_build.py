"""The compile job of an emulated CUDA program: nvcc's consent where it is installed, then the host compiler.

Knows which commands run in which order.  Knows nothing of verdicts.  The emulator's library is compiled once per process and
toolchain.
"""

from __future__ import annotations

import functools
import io
import shlex
import tarfile

from parallax_lib.cuda_emulation import rewrite
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import JOB, Level, Limits
from parallax_lib.verdict.toolchain import Toolchain

OURS = 87  # exit status of a job that fails on our side
UNABLE = 86  # exit status of a job whose program nvcc accepts and the emulator cannot compile
HOST = ("-w", "-fno-builtin-printf", "-fno-strict-aliasing", "-ffp-contract=off", "-I", "include")
NVCC_ONLY = ("--", "-lcu")  # what a kernel's own flags may hold that means nothing here
UNPACK = f"mkdir include && tar -xf {JOB}/include.tar -C include"


def job(
    code: str, toolchain: Toolchain, extra: tuple[str, ...], limits: Limits, level: Level, counted: tuple[str, ...] = ()
) -> tuple[str, dict[str, bytes]]:
    """(shell script, files beside marker.cpp) that turn `code` into ./program and list main.o's symbols.

    `counted`: flags for the program's own code alone, in a build that is linked with work.o.
    """
    lacking = rewrite.unsupported(code)
    files = {
        "main.cu": code.encode("utf-8", errors="replace"),
        "emulated.cpp": rewrite.rewrite(code).encode("utf-8", errors="replace"),
        "include.tar": _headers(),
        "runtime.o": _library(toolchain, limits, level),
    }
    if not files["runtime.o"]:
        return f"echo the library of the emulator does not compile >&2; exit {OURS}", files
    ours = [flag for flag in extra if not flag.startswith(NVCC_ONLY)]
    host = [toolchain.compiler, *toolchain.flags, *ours]
    compile_it = shlex.join([*host, *HOST, "-include", "cuda_runtime.h", *counted, "-c", f"{JOB}/emulated.cpp", "-o", "main.o"])
    objects = ["marker.o", *(["work.o"] if counted else []), "main.o", f"{JOB}/runtime.o"]
    link = shlex.join([*host, "-Wl,-z,now", *objects, "-o", "program", *ours])
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
        shlex.join([toolchain.compiler, *toolchain.flags, "-c", f"{JOB}/marker.cpp", "-o", "marker.o"]),
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


LIBRARIES: dict[tuple, bytes] = {}


def _library(toolchain: Toolchain, limits: Limits, level: Level) -> bytes:
    """The emulator's library as an object file, b"" when it does not compile; only successes are kept."""
    key = (toolchain, level)
    if key in LIBRARIES:
        return LIBRARIES[key]
    compile_it = shlex.join([toolchain.compiler, *toolchain.flags, *HOST, "-c", "include/runtime.cpp", "-o", "runtime.o"])
    out = sandbox.run(["/bin/sh", "-ec", f"{UNPACK}\n{compile_it}"], {"include.tar": _headers()}, limits, level,
                      outputs=("runtime.o",), roots=toolchain.roots)  # fmt: skip
    if compiled := out.files.get("runtime.o", b""):
        LIBRARIES[key] = compiled
    return compiled
