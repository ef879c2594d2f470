"""Builds and runs one's own CUDA program on the CPU with the host compiler, outside any sandbox.

Knows g++ and the emulator's headers.  Knows nothing of verdicts; untrusted programs are for `verdict`, which runs them in a sandbox.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from parallax_lib.core.errors import UserError
from parallax_lib.cuda_emulation import rewrite

FLAGS = ("-O2", "-std=c++17", "-pthread", "-Wl,-z,now")
HOST = ("-w", "-fno-builtin-printf", "-fno-strict-aliasing", "-ffp-contract=off")  # what the rewritten text needs of a host compiler


def compile_program(source: Path | str, program: Path, compiler: str = "g++", flags: Sequence[str] = ()) -> None:
    """Writes the executable `program` from a .cu file.  Raises UserError with the compiler's first lines where it does not build."""
    source = Path(source)
    if not source.is_file():
        raise UserError(f"{source}: no such file; name a CUDA source")
    if shutil.which(compiler) is None:
        raise UserError(f"{compiler} not found; install it (Debian, Ubuntu: sudo apt-get install g++)")
    code = source.read_text(encoding="utf-8-sig", errors="replace")
    if lacking := rewrite.unsupported(code):
        raise UserError(f"{source}: {lacking}")
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "emulated.cpp"
        text.write_text(rewrite.rewrite(code), encoding="utf-8")
        include = ("-I", str(rewrite.HEADERS), "-I", str(source.resolve().parent), "-include", "cuda_runtime.h")
        files = (str(text), str(rewrite.HEADERS / "runtime.cpp"))
        done = subprocess.run([compiler, *FLAGS, *HOST, *include, *files, "-o", str(program), *flags], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{source}: does not build for the CPU\n{done.stderr[:4000]}")


def emulate(source: Path | str, args: Sequence[str] = (), schedule: int = 1, flags: Sequence[str] = ()) -> int:
    """Builds and runs a .cu file; returns the program's exit status, 128 + n where signal n ended it.

    schedule: 1 runs threads and blocks in order, 2 backwards and interleaved, which shows missing atomics and waits.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program"
        compile_program(source, program, flags=flags)
        status = subprocess.run([str(program), *args], env={**os.environ, "CUDACPU_SCHEDULE": str(schedule)}).returncode
    return status if status >= 0 else 128 - status
