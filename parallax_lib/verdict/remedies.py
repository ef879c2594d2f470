"""What is wrong with a machine on which a known program gets a wrong verdict, and what mends it, in one line.

Knows messages of compilers, drivers and shells, and limits of the surroundings.  Knows nothing of rules or programs.
"""

from __future__ import annotations

import re
import subprocess

from parallax_lib.core.errors import UserError
from parallax_lib.sandbox import machine_limits, scratch
from parallax_lib.sandbox.supervisor import Limits

SAID = {  # what is found in the program's log or the compiler's message -> the remedy
    r"unsupported (GNU|clang|Microsoft)[^;]*version|host_config\.h":
        "nvcc refuses this host compiler; put a g++ that it supports first on PATH, or install a newer toolkit",
    r"error 304\b":
        "the sandbox denies the driver something; install bubblewrap, or report what `scripts/gpu_checks.py --parts facts` calls denied",
    r"error (803|804)\b|version mismatch":
        "the driver's library and its kernel module differ; restart the machine or load the module again",
    r"error (35|100)\b|insufficient for CUDA|no CUDA-capable":
        "the driver is missing or older than the toolkit; compare nvidia-smi with nvcc --version, or set validation.cuda: emulated",
    r"error 46\b|busy or unavailable":
        "another process holds the GPU for itself; end it, or: nvidia-smi -c 0",
    r"no memory left|error 2\b":
        "the GPU's memory is full; end the other job that nvidia-smi shows, or choose another GPU by CUDA_VISIBLE_DEVICES",
    r"No space left on device":
        "a disk is full; free space, or name a folder on another: export TMPDIR=/var/tmp",
    r"fatal error: '?[\w./]+'?(: No such file| file not found)":
        "a header of the compiler's is missing; install its development files",
    r"cannot find -l?\S+|libomp\S*: (file|invalid|error)|undefined reference to .__kmpc|(file too short|invalid ELF header)":
        "a library of the compiler's is missing or damaged; install it again",
    r"error while loading shared libraries":
        "a library of the tool's is not shown to the sandbox; install the tool where its libraries are the system's",
    r"\S+: Permission denied":
        "a tool lies in a folder that other users may not enter; install it elsewhere, or let them in: chmod o+x",
    r"\S+: (not found|No such file)":
        "a tool was removed or cannot be started in the sandbox; install it again, under /usr if it lies elsewhere",
    r"Archer did not announce itself":
        "libarcher is missing, damaged or of another LLVM; install libomp-dev of clang's own version",
    r"process limit|Resource temporarily unavailable": "raise the limit of processes: ulimit -u",
    r"memory_limit": "raise validation.memory_mb",
    r"timeout": "raise validation.cpu_s, or leave the machine to this run",
}  # fmt: skip


def remedy(log: str, *limits: Limits) -> str:
    """One line: what the log shows, then the remedy.  Limits of the surroundings come first, since they fail in many ways."""
    shown = _telling(log)
    if short := machine_limits.shortages(*limits):
        return f"{short[0]} (seen: {shown})" if shown else short[0]
    try:
        scratch.place()
    except UserError as e:
        return str(e)
    advice = next((advice for pattern, advice in SAID.items() if re.search(pattern, log)), "install this tool again, or report this line")
    return f"{shown}; {advice}"


def _telling(log: str) -> str:
    """The line of a log that says most, at most 160 characters."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for pattern in SAID:
        for line in lines:
            if re.search(pattern, line):
                return line[:160]
    return next((line for line in lines if re.search(r"error|fail|cannot", line, re.I)), lines[0] if lines else "nothing was said")[:160]


def neighbours() -> str:
    """Who else uses this machine's GPU, "" when nobody seems to, or where that cannot be asked."""
    query = ["nvidia-smi", "--query-gpu=memory.used,memory.total,utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    rows = [tuple(map(int, row)) for row in re.findall(r"^(\d+), (\d+), (\d+)$", said, re.M)]
    busy = next(((used, total, use) for used, total, use in rows if used > max(2048, total // 20) or use > 20), None)
    if not busy:
        return ""
    return f"another job uses a GPU here ({busy[0]} of {busy[1]} MiB, {busy[2]} % busy); end it, or choose another by CUDA_VISIBLE_DEVICES"
