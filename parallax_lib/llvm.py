"""What this machine has of LLVM for OpenMP: clang++, its runtime libomp, Archer and the x86_64 offload device.

Knows file names of LLVM installations.  Knows nothing of g++, CUDA, sandboxes or verdicts.  All of it is optional: an
absent part is "" and what needs it is not checked.
"""

from __future__ import annotations

import functools
import glob
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

OFFLOAD = "-fopenmp-targets=x86_64-pc-linux-gnu"
NAMES = ("clang++", *(f"clang++-{n}" for n in range(25, 14, -1)))
RUNTIMES = ("/usr/lib/llvm-*/lib/libomp.so.5", "/usr/lib/*/libomp.so.5", "/usr/lib64/libomp.so", "/usr/lib/libomp.so")
FEATURES = {  # what is built to see whether it is there
    "tsan": ("int main() { return 0; }", ("-fsanitize=thread", "-fopenmp")),
    "offload": ("int main() {\n#pragma omp target\n  {}\n}", ("-fopenmp", OFFLOAD)),
}


@dataclass(frozen=True)
class Llvm:
    """Absolute paths, "" for what is absent.  `offload`: programs for the x86_64 offload device can be built."""

    clang: str = ""
    version: str = ""
    libomp: str = ""
    archer: str = ""
    tsan: bool = False
    offload: bool = False

    @property
    def folder(self) -> str:
        """Where the runtime libraries lie."""
        return str(Path(self.libomp).parent) if self.libomp else ""


def describe(found: Llvm) -> str:
    """What verdicts here can and cannot be told of OpenMP programs, in one line."""
    parts = {
        "proof of parallelism": found.libomp or "no libomp: parallel stays unknown",
        "race stage": "clang with Archer" if found.tsan and found.archer else "not checked: no clang++ with ThreadSanitizer and Archer",
        "target regions": "x86_64 offload device" if found.offload else "on the host",
    }
    return "; ".join(f"{name}: {told}" for name, told in parts.items())


@functools.cache
def detect() -> Llvm:
    """LLVM's OpenMP parts under /usr, which every sandbox shows; the newest clang's own runtime where there is one."""
    clang = next((path for path in map(shutil.which, NAMES) if path and _home(path).startswith("/usr")), "")
    beside = f"{_home(clang)}/lib/libomp.so.5" if clang else ""
    others = sorted((path for pattern in RUNTIMES for path in glob.glob(pattern)), key=_numbers, reverse=True)
    libomp = next((path for path in (beside, *others) if path and Path(path).exists()), "")
    if not libomp:
        return Llvm()
    version = (_output([clang, "--version"]).splitlines() or [""])[0].strip() if clang else ""
    archer = str(Path(libomp).parent / "libarcher.so")
    able = {name: bool(clang) and _builds(clang, *what) for name, what in FEATURES.items()}
    return Llvm(clang, version, libomp, archer if Path(archer).exists() else "", **able)


def _home(clang: str) -> str:
    return str(Path(clang).resolve().parents[1])


def _numbers(path: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", path)]


def _builds(clang: str, source: str, flags: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory(prefix="parallax-") as folder:
        path = Path(folder, "main.cpp")
        path.write_text(source)
        try:
            command = [clang, str(path), *flags, "-o", str(path.with_suffix(""))]
            return subprocess.run(command, capture_output=True, timeout=60, cwd=folder).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
