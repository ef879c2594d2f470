"""Kernels as the GPU ran them: a CUPTI library that the driver loads into every run of a judged program there.

Knows how the library is built, given to a run and proven on a program that launches.  Knows nothing of rules or verdicts.

Counting calls inside the program shows what it asked for; CUPTI shows what the device did.  Where it is not installed, does
not build or sees nothing of the known program, runs go without it and their evidence says so.
"""

from __future__ import annotations

import functools
import shlex
import threading
from dataclasses import replace

from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import JOB, Level, Limits
from parallax_lib.verdict import llvm
from parallax_lib.verdict.build import build, execute
from parallax_lib.verdict.harness import BUILD_LIMITS, PROBES
from parallax_lib.verdict.toolchain import Toolchain, cuda_home

LIBRARY = "cupti.so"
FIRST = threading.Lock()  # the known program runs once, however many workers ask
INJECTED = {"CUDA_INJECTION64_PATH": f"{JOB}/{LIBRARY}"}
LIMITS = Limits(cpu_s=20, memory_mb=4096)
KNOWN = {"omp": llvm.KNOWN, "cuda": """__global__ void seen(int *x) { x[threadIdx.x] = 1; }
int main() { int *x; cudaMalloc(&x, 128); seen<<<1, 32>>>(x); return cudaDeviceSynchronize(); }
"""}


def given(toolchain: Toolchain, level: Level) -> tuple[dict[str, str], dict[str, bytes]]:
    """(environment, files) that let CUPTI watch a run of this toolchain's programs; nothing where it cannot."""
    return ({}, {}) if why_not(toolchain, level) else (INJECTED, {LIBRARY: library(toolchain, level)[0]})


def why_not(toolchain: Toolchain, level: Level) -> str:
    """Why CUPTI watches no run here, "" when it saw the known program's kernel; found out once a process."""
    with FIRST:
        return _why_not(toolchain, level)


@functools.cache
def _why_not(toolchain: Toolchain, level: Level) -> str:
    if not toolchain.can_run or not all(toolchain.cupti):
        return "not installed" if toolchain.can_run else "no GPU"
    binary, why = library(toolchain, level)
    if not binary:
        return f"probes/cupti.cpp does not build: {why}"
    built = build(KNOWN[toolchain.api], toolchain, (), level)
    env = INJECTED | (llvm.MANDATORY if toolchain.api == "omp" else {})
    ran = execute(built.program, toolchain, (), LIMITS, level, env, {LIBRARY: binary}) if built.reason == "ok" else None
    if ran is None or ran.reason != "ok":
        return f"a program that it watches does not run: {(ran.log if ran else built.log)[:200]}"
    return "" if ran.proof.get("device_kernels", "0") != "0" else f"it does not see a known kernel: {ran.proof}"


@functools.cache
def library(toolchain: Toolchain, level: Level) -> tuple[bytes, str]:
    """(the library, "") or (b"", what the compiler said); built once a process in the sandbox."""
    headers, folder = toolchain.cupti
    home = cuda_home()
    command = ["g++", "-shared", "-fPIC", "-O2", "-w", "-Wl,-z,defs", "-I", headers, "-I", f"{home}/include"]
    command += [f"{JOB}/cupti.cpp", "-o", LIBRARY]
    find = f"$(ls {shlex.quote(folder)}/libcupti.so* | head -1)"  # the Python packages have no plain libcupti.so
    script = f"{shlex.join(command)} {find} {shlex.quote(f'-Wl,-rpath,{folder}')}"
    files = {"cupti.cpp": (PROBES / "cupti.cpp").read_bytes()}
    limits = replace(BUILD_LIMITS, tmp_mb=64)
    out = sandbox.run(["/bin/sh", "-ec", script], files, limits, level, outputs=(LIBRARY,), roots=toolchain.roots)
    binary = out.files.get(LIBRARY, b"")
    return binary, "" if binary else (out.stderr.strip() or out.status).splitlines()[0][:200]
