"""Everything of the CUDA verdict that only a real GPU can show, in one command on a machine that has one.

    python scripts/gpu_checks.py --out results [--minutes 15] [--workers 16] [--emulated emulated.jsonl]

In this order, each with its own time and its own file, written while it goes on, so that a stop loses nothing:
facts (facts.txt: machine, sandbox, the tools without the sandbox), proof (proof.txt: scripts/gpu_proof_check.py), agree
(gpu.jsonl, agree.txt: the GPU's half of scripts/agree_cuda.py, compared with --emulated), redteam (redteam.txt: CUDA
programs of the corpus, with the race stage), targets (targets.txt: its OpenMP programs, offloaded where clang can);
selfcheck (selfcheck.txt) beside them, since it mostly waits.  What time is left goes to the emulated half on this machine
(emulated.jsonl), from the other end of the list.  summary.txt holds one line a part; the last lines of each file are
printed.  Exit status 1 if a part failed or ran out of its time.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
NEEDED_LATER = 420  # seconds that agree leaves to the parts after it
ASIDE = "selfcheck"
RACY = """#include <stdio.h>
__global__ void k(int *x, int n) { __shared__ int s[256]; s[threadIdx.x] = threadIdx.x; x[threadIdx.x + n] = s[255 - threadIdx.x]; }
int main(int argc, char **argv) {
  int *d;
  cudaMalloc(&d, 1024);
  k<<<1, 256>>>(d, argc > 1 ? 1 << 20 : 0);
  puts(cudaGetErrorName(cudaDeviceSynchronize()));
}
"""


@dataclass(frozen=True)
class Part:
    """A command, the file that takes what it prints, and the most seconds it gets."""

    name: str
    command: list[str]
    file: str
    cap: float


def run(part: Part, out: Path) -> tuple[bool, str]:
    """(whether it ended well, one line); what it prints goes to its file as it comes."""
    start = time.monotonic()
    with (out / part.file).open("ab") as f:
        try:
            process = subprocess.Popen(part.command, stdout=f, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       cwd=HERE.parent, start_new_session=True)  # fmt: skip
            code = process.wait(max(1.0, part.cap))
            how = f"exit status {code}"
        except OSError as e:
            code, how = -1, f"cannot start: {e}"
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            code, how = process.wait() or -1, f"stopped after {part.cap:.0f} s"
    last = (tail(out / part.file, 1) or ["nothing was printed"])[-1]
    return code == 0, f"{part.name:10} {time.monotonic() - start:5.0f} s  {how}: {last[:200]}"


def tail(path: Path, lines: int) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []


def facts() -> None:
    """The machine, and whether its tools work outside the sandbox: to tell their failures from the sandbox's."""
    from parallax_lib.core.config import UserError
    from parallax_lib.sandbox import landlock, sandbox
    from parallax_lib.verdict import cupti, llvm, toolchain
    from parallax_lib.verdict.assurance import sandbox_check

    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}, uid {os.getuid()}")
    where = {name: shutil.which(name) for name in ("bwrap", "nvcc", "compute-sanitizer", "setpriv", "prlimit", "g++", "clang++")}
    print(f"{where}, Landlock: {landlock.landlock_abi()}, load {os.getloadavg()[0]:.1f}", flush=True)
    show(["nvidia-smi", "--query-gpu=name,driver_version,memory.used,memory.total,compute_mode", "--format=csv,noheader"])
    home, tools = toolchain.cuda_home(), toolchain.detect()
    print(f"toolkit {home}, CUPTI {toolchain.find_cupti(home) if home else 'unknown'}")
    print(*(f"{api}: {toolchain.describe(t)}, runs: {t.can_run}" for api, t in tools.items()), sep="\n", flush=True)
    print(llvm.describe((tools["omp"].offloaded or tools["omp"]).llvm))
    if home:
        bare(str(home / "bin" / "nvcc"), tools["cuda"].libraries)
    try:
        level = sandbox.probe()
        print(f"sandbox: {level.name}, CUPTI in it: {cupti.why_not(tools['cuda'], level) or 'watches'}", flush=True)
        for each in sandbox_check.levels():
            admitted(each, tools)
    except UserError as e:
        print(f"sandbox: {e}")


def admitted(level, tools) -> None:
    """The admission's table at one level, and each call that the sandbox refused a known CUDA program there."""
    from parallax_lib.sandbox.sandbox import Limits
    from parallax_lib.verdict import admission, denials, known_programs, reference, validate

    for row in admission.table(reference.Bench(tools, level, Limits(memory_mb=4096), None, "auto", "on"), validate.judged):
        print(f"{row.level:9} {row.part:28} {row.state:8} {row.why}", flush=True)
    if tools["cuda"].gpu:
        found = denials.refused(known_programs.CUDA, tools["cuda"], level)
        print(f"{level.name}: denied to a known CUDA program:", *found, sep="\n    ", flush=True)


def bare(nvcc: str, libraries: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/racy"
        Path(f"{program}.cu").write_text(RACY)
        show([nvcc, "-O2", "-lineinfo", "-arch=native", f"{program}.cu", "-o", program])
        env = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries), "PATH": f"{Path(nvcc).parent}:{os.environ['PATH']}"}
        show([program], env)
        show(["compute-sanitizer", "--tool", "racecheck", program], env)
        show(["compute-sanitizer", "--tool", "memcheck", program, "far"], env)


def show(command: list[str], env: dict[str, str] | None = None) -> None:
    """Run a command; print it, its status and its last lines."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, env=env)
        said, code = (done.stdout + done.stderr).strip().splitlines(), done.returncode
    except (OSError, subprocess.TimeoutExpired) as e:
        said, code = [str(e)], -1
    print(f"$ {' '.join(command)}: {code}", *(f"    {line}" for line in said[-4:]), sep="\n", flush=True)


def parts(args, journals: Path, left) -> dict:
    """name -> each part as a function of the time that is left when its turn comes."""
    py, lib, agree = sys.executable, [sys.executable, "-m", "parallax_lib"], [sys.executable, str(HERE / "agree_cuda.py")]
    gpu, emulated = args.out / "gpu.jsonl", args.out / "emulated.jsonl"
    size, workers = ["--forge", str(args.forge)], ["--workers", str(args.workers)]
    joined = journals / "emulated.jsonl"

    def half(how: str, file: Path, cap: float, *more: str) -> Part:
        command = [*agree, "--judge", how, "--out", str(file), "--journal", str(journals / how), *size, *workers, *more]
        return Part(f"agree {how}", [*command, "--minutes", f"{max(0.1, cap - 30) / 60:.2f}"], "agree.txt", cap)

    def compare() -> Part:
        files = [path for path in (args.emulated, emulated) if path and path.exists()]
        joined.write_text("".join(path.read_text() for path in files))
        return Part("compare", [*agree, "--compare", str(joined), str(gpu)], "agree.txt", 30)

    every = {
        "facts": lambda: Part("facts", [py, str(Path(__file__)), "--facts"], "facts.txt", min(240, left())),
        "proof": lambda: Part("proof", [py, str(HERE / "gpu_proof_check.py")], "proof.txt", min(90, left())),
        "agree": lambda: half("gpu", gpu, max(30, left() - NEEDED_LATER)),
        "redteam": lambda: Part("redteam", [*lib, "redteam", "--api", "cuda", *workers], "redteam.txt", left()),
        "targets": lambda: Part("targets", [*lib, "redteam", "--api", "omp", *workers], "targets.txt", left()),
        "selfcheck": lambda: Part("selfcheck", [*lib, "selfcheck"], "selfcheck.txt", min(240, left())),
        "emulated": lambda: half("emulated", emulated, left() - 5, "--back"),
        "compare": compare,
    }
    return {name: every[name] for name in args.parts.split(",")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_checks"))
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--forge", type=int, default=84)
    parser.add_argument("--emulated", type=Path, default=None, help="verdicts of the emulated half made elsewhere")
    parser.add_argument("--parts", default="facts,proof,agree,redteam,targets,selfcheck,emulated,compare")
    parser.add_argument("--facts", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.facts:
        facts()
        return 0
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
    os.environ["PYTHONUNBUFFERED"] = "1"
    args.out.mkdir(parents=True, exist_ok=True)
    args.out = args.out.resolve()
    with tempfile.TemporaryDirectory(prefix="parallax-") as journals:
        until = time.monotonic() + 60 * args.minutes
        return int(not run_all(parts(args, Path(journals), lambda: until - time.monotonic()), args.out))


def run_all(makers: dict, out: Path) -> bool:
    """Run the parts, tell of each in summary.txt and on stdout; whether all ended well."""
    results = []
    with (out / "summary.txt").open("w") as summary, ThreadPoolExecutor(1) as pool:

        def tell(part: Part, result: tuple[bool, str]) -> None:
            results.append(result[0])
            print(result[1], file=summary, flush=True)
            lines = tail(out / part.file, 40 if part.name == "compare" else 8)
            print(result[1], *(f"    {said[:200]}" for said in lines), sep="\n", flush=True)

        aside = makers[ASIDE]() if ASIDE in makers else None
        waiting = pool.submit(run, aside, out) if aside else None
        for name, make in makers.items():
            if name != ASIDE:
                part = make()
                tell(part, run(part, out) if part.cap > 10 else (False, f"{part.name:10} no time left"))
        if aside:
            tell(aside, waiting.result())
    return all(results)


if __name__ == "__main__":
    raise SystemExit(main())
