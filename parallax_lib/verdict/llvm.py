"""What this machine has of LLVM for OpenMP: clang++, its runtime libomp, Archer, the x86_64 offload device and a GPU's.

Knows file names of LLVM installations.  Knows nothing of g++, CUDA, sandboxes or verdicts.  All of it is optional: an
absent part is "" and what needs it is not checked.
"""

from __future__ import annotations

import functools
import glob
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from parallax_lib.core.storage import digest
from parallax_lib.sandbox import scratch
from parallax_lib.verdict import kept_files

ROOM = 16 << 20  # bytes free for what is built to see whether it is there
OFFLOAD = "-fopenmp-targets=x86_64-pc-linux-gnu"
NVPTX = "nvptx64-nvidia-cuda"
JIT = "-fopenmp-target-jit"  # code for the GPU is made at the program's start
MANDATORY = {"OMP_TARGET_OFFLOAD": "MANDATORY"}  # a region that cannot run on the device ends the program
NAMES = ("clang++", *(f"clang++-{n}" for n in range(25, 14, -1)))
RUNTIMES = ("/usr/lib/llvm-*/lib/libomp.so.5", "/usr/lib/*/libomp.so.5", "/usr/lib64/libomp.so", "/usr/lib/libomp.so")
FEATURES = {  # what is built to see whether it is there
    "tsan": ("int main() { return 0; }", ("-fsanitize=thread", "-fopenmp")),
    "offload": ("int main() {\n#pragma omp target\n  {}\n}", ("-fopenmp", OFFLOAD)),
}
KNOWN = "int main() {\n  int x = 1;\n#pragma omp target map(tofrom : x)\n  x = 0;\n  return x;\n}\n"  # ends well on a device

# Debian's runtime can make code for the GPU at a program's start, but leaves LLVM's back end for it unregistered.
REGISTER = """
extern "C" void *dlsym(void *, const char *);
__attribute__((constructor)) static void register_gpu() {
  const char *parts[] = {"TargetInfo", "Target", "TargetMC", "AsmPrinter"};
  for (const char *part : parts) {
    char name[64] = "LLVMInitializeNVPTX";
    for (int n = 19; (name[n] = *part); n++) part++;
    if (void *found = dlsym(nullptr, name)) ((void (*)())found)();
  }
}
"""


@dataclass(frozen=True)
class Llvm:
    """Absolute paths, "" for what is absent.  `offload`: programs for the x86_64 offload device can be built.

    `gpu`: flags that offload to this machine's GPU instead, () where a known program did not run there.
    """

    clang: str = ""
    version: str = ""
    libomp: str = ""
    archer: str = ""
    tsan: bool = False
    offload: bool = False
    gpu: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Where the runtime libraries lie."""
        return str(Path(self.libomp).parent) if self.libomp else ""


def describe(found: Llvm) -> str:
    """What verdicts here can and cannot be told of OpenMP programs, in one line."""
    parts = {
        "proof of parallelism": found.libomp or "no libomp: parallel stays unknown",
        "race stage": "clang with Archer" if found.tsan and found.archer else "not checked: no clang++ with ThreadSanitizer and Archer",
        "target regions": ("x86_64 offload device" if found.offload else "on the host") + (", then the GPU" if found.gpu else ""),
    }
    return "; ".join(f"{name}: {text}" for name, text in parts.items())


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
    able = {name: bool(clang) and _has(clang, version, *what) for name, what in FEATURES.items()}
    return Llvm(clang, version, libomp, archer if Path(archer).exists() else "", **able)


@functools.cache
def gpu_flags(found: Llvm, cuda: str, arch: str, libraries: tuple[str, ...]) -> tuple[str, ...]:
    """`gpu_offload`'s flags, proven by a program that ran on the GPU; () where that fails.

    Code for the GPU is made at compile time, or else at the program's start: LLVM before 21 does not know the images of CUDA 13's
    ptxas.  `libraries`: folders that hold the driver's library, if the loader does not know.
    """
    env = {**os.environ, **MANDATORY, "LD_LIBRARY_PATH": ":".join((*libraries, os.environ.get("LD_LIBRARY_PATH", "")))}
    env["PATH"] = f"{cuda}/bin:{env.get('PATH', '')}"  # ptxas
    for flags in (gpu_offload(found, cuda, arch), (*gpu_offload(found, cuda, arch), JIT)):
        if found.offload and _builds(found.clang, KNOWN + REGISTER, ("-fopenmp", *flags, f"-Wl,-rpath,{found.folder}"), env):
            return flags
    return ()


def gpu_offload(found: Llvm, cuda: str, arch: str) -> tuple[str, ...]:
    """Flags with which clang offloads to NVIDIA GPUs of one kind.  `cuda`: the toolkit's folder, `arch`: sm_NN."""
    code = next((str(path) for path in Path(found.folder or "/none").glob(f"libomptarget-nvptx-{arch}.bc")), "")
    flags = (f"-fopenmp-targets={NVPTX}", f"-Xopenmp-target={NVPTX}", f"-march={arch}", f"--cuda-path={cuda}")
    return (*flags, f"--libomptarget-nvptx-bc-path={code}") if code else flags  # else where clang itself looks


def _home(clang: str) -> str:
    return str(Path(clang).resolve().parents[1])


def _numbers(path: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", path)]


def _has(clang: str, version: str, source: str, flags: tuple[str, ...]) -> bool:
    """Whether it builds; what did is believed until clang is replaced, and what did not is tried by every process."""
    key = digest([kept_files.stamp(clang), version, source, flags])
    if kept_files.read(key, ("builds",)):
        return True
    builds = _builds(clang, source, flags)
    if builds:
        kept_files.keep(key, {"builds": b""})
    return builds


def _builds(clang: str, source: str, flags: tuple[str, ...], env: dict[str, str] | None = None) -> bool:
    """Whether it builds and, with `env`, also runs well."""
    with scratch.folder(others=False, needed=ROOM) as folder:
        path = folder / "main.cpp"
        path.write_text(source)
        around = {**(os.environ if env is None else env), "TMPDIR": str(folder)}  # the compiler's own files: a full folder is no lack of it
        try:
            command = [clang, str(path), *flags, "-o", str(path.with_suffix(""))]
            commands = [command, [command[-1]]] if env else [command]
            return all(subprocess.run(c, capture_output=True, timeout=60, cwd=folder, env=around).returncode == 0 for c in commands)
        except (OSError, subprocess.TimeoutExpired):
            return False


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
