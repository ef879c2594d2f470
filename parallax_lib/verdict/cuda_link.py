"""How a CUDA program for a GPU is linked: calls that the harness counts, fills or looks at go through its own functions.

Knows names of CUDA's functions and the linker's flags.  Knows nothing of sandboxes, proofs or verdicts.
"""

from __future__ import annotations

import shlex

from parallax_lib.sandbox.sandbox import JOB

PROGRAM, SYMBOLS = "program", "symbols"
LAUNCHES = "cudaLaunchKernel __cudaLaunchKernel cudaLaunchKernelExC cudaLaunchCooperativeKernel cudaGraphLaunch"
ONCE = "cudaDeviceReset cudaMalloc cudaFree cudaMallocPitch cudaMalloc3D cudaMallocHost cudaHostAlloc"
IN_STREAM = f"{LAUNCHES} cudaMallocAsync cudaMallocFromPoolAsync cudaFreeAsync"
WRAPPED = (*(f"{name}{stream}" for name in IN_STREAM.split() for stream in ("", "_ptsz")), *ONCE.split())
COPIES = "cudaMemcpy cudaMemcpyAsync cudaMemcpy2D cudaMemcpy2DAsync cudaMemcpyFromSymbol cudaMemcpyFromSymbolAsync cudaMallocManaged"
COPIED = (*COPIES.split(), *(f"cuda{what}Synchronize" for what in ("Device", "Stream", "Event")))
SHOWN = ("-Xlinker", "--export-dynamic-symbol=parallax_device")  # to parallax_lib/verdict/probes/cupti.cpp


def script(flags: list[str], extra: tuple[str, ...], plain: list[str], copies: bool) -> str:
    """Link with a wrapper around every launch and allocation that the program makes (toolkits differ in which of them exist), and around
    every copy where `copies` are looked at.
    """
    compile_ = shlex.join([*plain, "-c", f"{JOB}/proof.cpp", "-o", "proof.o"])
    link = shlex.join([*flags, f"{JOB}/marker.o", "proof.o", "main.o", "-o", PROGRAM, *SHOWN, *extra])
    names = " ".join((*WRAPPED, *COPIED) if copies else WRAPPED)
    used = f'for n in {names}; do if grep -qw "$n" {SYMBOLS}; then D="$D -DUSES_$n"; W="$W -Xlinker --wrap=$n"; fi; done'
    return f"D= W=\n{used}\n{compile_} $D\n{link} $W"
