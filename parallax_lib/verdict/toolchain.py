"""Which compilers this machine has, with which flags, and whether it can run what they build.

Knows compilers, flags and devices.  Knows nothing of sandboxes, programs or verdicts.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path

from parallax_lib.core.errors import UserError
from parallax_lib.cuda_emulation import rewrite
from parallax_lib.verdict import compiler_files, llvm
from parallax_lib.verdict.llvm import Llvm

INSTALL = "sudo apt-get install -y g++ bubblewrap make python3-venv"
FALLBACK_ARCH = "sm_90"
BASE = ("-O2", "-std=c++17")
NO_RANGES = "-DNVTX_DISABLE"  # cub's profiler ranges load a library when they are first used
LANGUAGE = {"serial": "c++", "omp": "c++", "cuda": "cu"}


@dataclass(frozen=True)
class Toolchain:
    """One API's compiler on this machine.

    `compiler` is an absolute path ("" when there is none), `roots` what building needs to see outside /usr, `run_roots` what
    running does, `libraries` folders for LD_LIBRARY_PATH.  `off`: what was switched off because a known program failed (admission).
    """

    api: str
    compiler: str
    version: str
    flags: tuple[str, ...]
    can_build: bool
    can_run: bool
    why_not: str = ""
    roots: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    run_roots: tuple[str, ...] = ()
    llvm: Llvm = Llvm()  # for omp: runtime of the proof, clang for races and target regions
    emulated: bool = False  # CUDA run on the CPU by parallax_lib/cuda_emulation/include/
    gate: tuple[str, ...] = ()  # nvcc and its flags: what it refuses is a compile error, emulated or not
    cupti: tuple[str, str] = ("", "")  # for programs on a GPU: folders of CUPTI's headers and library
    gpu: bool = False  # what it builds runs on a GPU
    path: tuple[str, ...] = ()  # folders that its programs find tools in
    offloaded: Toolchain | None = None  # for omp: the same for programs with target regions on this machine's GPU
    off: tuple[str, ...] = ()
    devices: tuple[int, ...] = ()  # numbers of the GPUs that its programs run on, in turn; (): every one


def on_gpus(toolchains: dict[str, Toolchain], devices: tuple[int, ...]) -> dict[str, Toolchain]:
    """The toolchains with those of a GPU held to some of the machine's; verdicts are the same on each."""
    held = {api: replace(t, devices=devices) if t.gpu else t for api, t in toolchains.items()}
    return {api: replace(t, offloaded=replace(t.offloaded, devices=devices)) if t.offloaded else t for api, t in held.items()}


def detect(cuda: str = "auto") -> dict[str, Toolchain]:
    """api -> Toolchain for serial, omp and cuda.  Raises UserError when there is no g++: nothing can be judged then.

    `cuda`: "gpu" runs CUDA programs on the GPU, "emulated" on the CPU, "compile" only compiles them; "auto" is the GPU
    where there is one and nvcc, else emulation.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise UserError(f"g++ not found, no program can be judged; install it with: {INSTALL}")
    version, chosen = _first_line([compiler, "--version"]), _chosen_cuda(cuda, compiler)
    shown = _shown(compiler)
    omp = Toolchain("omp", compiler, version, (*BASE, "-fopenmp"), True, True, llvm=llvm.detect(), **shown)
    serial = Toolchain("serial", compiler, version, BASE, True, True, **shown)
    return {"serial": serial, "omp": replace(omp, offloaded=_offloaded(omp, chosen)), "cuda": chosen}


def _shown(compiler: str) -> dict[str, tuple[str, ...]]:
    """What g++ and its programs need of the host beyond /usr, as fields of a Toolchain."""
    libraries = compiler_files.libraries(compiler)
    return {"roots": compiler_files.needed(compiler), "libraries": libraries, "run_roots": libraries}


def _offloaded(omp: Toolchain, cuda: Toolchain) -> Toolchain | None:
    """The OpenMP toolchain whose target regions run on the GPU that CUDA programs run on; None where they do not."""
    if not cuda.gpu:
        return None
    flags = llvm.gpu_flags(omp.llvm, cuda.compiler.removesuffix("/bin/nvcc"), _arch(), cuda.libraries)
    shown = {"roots": _joined(omp.roots, cuda.roots), "libraries": _joined(cuda.libraries, omp.libraries), "cupti": cuda.cupti}
    shown["run_roots"] = _joined(omp.run_roots, cuda.roots)
    shown["path"] = (cuda.compiler.removesuffix("/nvcc"),)  # LLVM's runtime may need ptxas
    version = f"{omp.version}, {cuda.version}"
    return replace(omp, llvm=replace(omp.llvm, gpu=flags), gpu=True, version=version, **shown) if flags else None


@functools.cache
def emulator() -> Toolchain:
    """The CUDA emulator beside a GPU, whose own compiler has accepted the program already."""
    return replace(detect("emulated")["cuda"], gate=())


def describe(toolchain: Toolchain) -> str:
    """What a result row says of the compiler."""
    if not toolchain.can_build:
        return toolchain.why_not
    return f"{toolchain.version} {' '.join(toolchain.flags)}"


def _joined(*paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for each in paths for path in each))


def _chosen_cuda(how: str, compiler: str) -> Toolchain:
    version = _first_line([compiler, "--version"])
    real = _cuda(compiler, version)
    if how == "gpu" and not real.can_run:
        raise UserError(f"validation.cuda: gpu needs a GPU and nvcc, this machine has {real.why_not}; set it to auto or emulated")
    if how in ("gpu", "compile") or (how == "auto" and real.can_run):
        return real
    gate = (real.compiler, *real.flags) if real.can_build else ()
    named = f"cuda-cpu emulation {rewrite.digest()} by {version}"
    named += f", what {real.version} -arch={_arch()} accepts" if gate else ", without nvcc"
    shown = _shown(compiler)
    shown["roots"] = _joined(shown["roots"], real.roots)
    return Toolchain("cuda", compiler, named, BASE, True, True, emulated=True, gate=gate, **shown)


def _cuda(host: str, host_version: str) -> Toolchain:
    """The toolkit with the host's compiler `host`, which nvcc looks for on PATH."""
    gpu = gpu_name()
    home = cuda_home()
    if home is None:
        return Toolchain("cuda", "", "", (), False, False, "no nvcc")
    compiler = str(home / "bin" / "nvcc")
    version = f"nvcc {_nvcc_release(compiler)} with {host_version}"
    flags = (*BASE, f"-arch={_arch()}", NO_RANGES)
    own = tuple(str(p) for p in (home / "lib64", Path("/usr/local/nvidia/lib64")) if p.is_dir())
    cupti = find_cupti(home) if gpu else ("", "")
    beside = tuple(folder for folder in cupti if folder and not folder.startswith(("/usr/", f"{home}/")))
    libraries, installed = _joined(own, compiler_files.libraries(host)), compiler_files.installation(home)
    roots = _joined(installed, beside, compiler_files.needed(host))
    run_roots = _joined(tuple(p for p in libraries if not p.startswith("/usr/")), beside, installed and cupti[1:])
    path = () if host.startswith("/usr/") else (host.rpartition("/")[0],)
    return Toolchain("cuda", compiler, version, flags, True, bool(gpu), "" if gpu else "no GPU", roots, libraries, run_roots,
                     cupti=cupti, gpu=bool(gpu), path=path)  # fmt: skip


def find_cupti(home: Path) -> tuple[str, str]:
    """Folders of CUPTI's headers and library: the toolkit's own, else those of NVIDIA's Python packages; ("", "") without."""
    packages = sorted(Path(sysconfig.get_path("purelib"), "nvidia").glob("c*"), reverse=True)  # cu13, cuda_cupti
    for folder in (home, home / "extras" / "CUPTI", home / "targets" / "x86_64-linux", *packages):
        for library in (*folder.glob("lib64/libcupti.so*"), *folder.glob("lib/libcupti.so*")):
            if (folder / "include" / "cupti.h").exists():
                return str((folder / "include").resolve()), str(library.parent.resolve())
    return "", ""


def cuda_home() -> Path | None:
    """Folder of the real toolkit: nvcc on PATH (often a wrapper script) is asked, else the usual places are tried."""
    found = shutil.which("nvcc")
    if found:
        text = _output([found, "--dryrun", "-E", "-x", "cu", "/dev/null"])
        top = re.search(r"^#\$ TOP=(.+)$", text, re.M)
        for home in ([Path(top.group(1).strip())] if top else []) + [Path(found).resolve().parents[1]]:
            if (home / "bin" / "nvcc").exists():
                return home.resolve()
    usual = [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True), Path("/opt/cuda")]
    return next((h.resolve() for h in usual if (h / "bin" / "nvcc").exists()), None)


def gpu_name() -> str:
    """Name of the first NVIDIA GPU, "" without one."""
    listed = _output(["nvidia-smi", "-L"])
    match = re.search(r"^GPU 0: (.+?)(?: \(UUID|$)", listed, re.M)
    if match:
        return match.group(1)
    return "NVIDIA GPU" if Path("/dev/nvidiactl").exists() else ""


def _arch() -> str:
    """sm_NN of the first GPU, FALLBACK_ARCH without one."""
    match = re.search(
        r"^(\d+)\.(\d+)$", _output(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]), re.M
    )
    return f"sm_{match.group(1)}{match.group(2)}" if match else FALLBACK_ARCH


def _nvcc_release(compiler: str) -> str:
    match = re.search(r"release [\d.]+, V([\d.]+)", _output([compiler, "--version"]))
    return match.group(1) if match else "of unknown release"


def _first_line(command: list[str]) -> str:
    return (_output(command).splitlines() or ["unknown version"])[0].strip()


def _output(command: list[str]) -> str:
    """stdout and stderr of a command, "" when it cannot run."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
