"""Compile one program inside the sandbox, see whether it really uses its API, run it and prove that it ended.

Knows compilers' diagnostics, symbols and the end marker.  Knows nothing of references, tolerances or verdict levels.

The end marker: an object of the harness reads a nonce from stdin before any constructor of the program runs and prints
it after the last destructor.  `_exit`, `abort` or a kill leave no marker, and nothing that the program prints can stand
for one unless it searches its own memory.

The proof line stands just before the end marker and carries the same nonce: whatever part of the harness is linked into
the program and defines `parallax_proof(buffer, size)` fills it with `name=value` words and returns their length.
"""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass, field, replace

from parallax_lib import sandbox
from parallax_lib.sandbox import JOB, Level, Limits, Outcome
from parallax_lib.toolchain import LANGUAGE, Toolchain

BUILD_LIMITS = Limits(cpu_s=60, wall_s=600, memory_mb=4096, output_bytes=1 << 20, processes=64, tmp_mb=256)
PROGRAM, SYMBOLS, PREPROCESSED = "program", "symbols", "main.ii"
KILLED = re.compile(  # in a message of the compiler's, not in a line that it quotes (those are indented)
    r"^(?!\s).*(internal compiler error: (Killed|Segmentation|CPU time|File size)|Killed signal terminated|"
    r"died due to signal|CPU time limit|File size limit|virtual memory exhausted|cannot allocate memory|out of memory|"
    r"No space left on device|Resource temporarily unavailable)",
    re.I | re.M,
)
OMP_PRAGMA = re.compile(
    r"^\s*#\s*pragma\s+omp\b.*\b(parallel|task|taskloop|teams|target)\b|omp::(directive|sequence)", re.M
)
OMP_SYMBOL = re.compile(r"\b(GOMP_(?:parallel|task|teams|target)\w*|__kmpc_(?:fork|omp_task)\w*)")
CUDA_KERNEL, CUDA_LAUNCH = (
    re.compile(r"\b__cudaRegisterFunction\b"),
    re.compile(r"\b(__cudaPushCallConfiguration|cudaLaunch\w+Kernel\w*)\b"),
)
MARKER = r"""
typedef unsigned long word;
#if defined(__x86_64__)
static long call(long n, long a, long b, long c) {
  long r;
  __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return r;
}
enum { READ = 0, WRITE = 1, PID = 39 };
#elif defined(__aarch64__)
static long call(long n, long a, long b, long c) {
  register long r8 __asm__("x8") = n, r0 __asm__("x0") = a, r1 __asm__("x1") = b, r2 __asm__("x2") = c;
  __asm__ volatile("svc 0" : "+r"(r0) : "r"(r8), "r"(r1), "r"(r2) : "memory");
  return r0;
}
enum { READ = 63, WRITE = 64, PID = 172 };
#endif
extern "C" int fflush(void *);
extern "C" __attribute__((weak)) long parallax_proof(char *, long);
static char line[] = "\n@end 00000000000000000000000000000000\n";
static char proof[1024] = "\n@proof ";
static long owner;
static void begin() { owner = call(PID, 0, 0, 0); call(READ, 0, (long)(line + 6), 32); }
static void end() {
  fflush(0);
  if (call(PID, 0, 0, 0) != owner) return;
  if (parallax_proof) {
    for (int i = 0; i < 32; i++) proof[8 + i] = line[6 + i];
    proof[40] = ' ';
    call(WRITE, 1, (long)proof, 41 + parallax_proof(proof + 41, sizeof proof - 41));
  }
  call(WRITE, 1, (long)line, sizeof line - 1);
}
__attribute__((used, section(".preinit_array"))) static void (*const first)() = begin;
__attribute__((used, section(".fini_array.00000"))) static void (*const last)() = end;
"""


@dataclass(frozen=True)
class Built:
    """A compiled program, or the reason there is none.  reason: ok, compile_error, compile_limit or infra_error."""

    reason: str
    program: bytes
    log: str
    symbols: str
    source: str  # preprocessed; "" where the compiler does not give it
    outcome: Outcome


@dataclass(frozen=True)
class Ran:
    """One run.  reason: ok, incomplete (no end marker), or the status of its Outcome.  proof: what the harness counted."""

    reason: str
    text: str
    log: str
    outcome: Outcome
    proof: dict[str, str] = field(default_factory=dict)


def build(code: str, toolchain: Toolchain, extra: tuple[str, ...], level: Level) -> Built:
    """Compile a single-file program with the harness's end marker.  `extra`: the kernel's own flags."""
    name = f"main.{'cu' if LANGUAGE[toolchain.api] == 'cu' else 'cpp'}"
    files = {name: code.encode("utf-8", errors="replace"), "marker.cpp": MARKER.encode()}
    outputs = (PROGRAM, SYMBOLS) + (() if name == "main.cu" else (PREPROCESSED,))
    script = _script(toolchain, extra, name)
    out = sandbox.run(
        ["/bin/sh", "-ec", script],
        files,
        BUILD_LIMITS,
        level,
        env=_env(toolchain),
        outputs=outputs,
        roots=toolchain.roots,
    )
    log = out.stderr.replace(f"{JOB}/", "")
    reason = _build_reason(out)
    texts = {n: out.files.get(n, b"").decode("utf-8", errors="replace") for n in (SYMBOLS, PREPROCESSED)}
    return Built(reason, out.files.get(PROGRAM, b""), log, texts[SYMBOLS], texts[PREPROCESSED], replace(out, files={}))


def _script(toolchain: Toolchain, extra: tuple[str, ...], name: str) -> str:
    """Fixed file names and this machine's own flags; nothing of the program reaches the shell."""
    flags = [toolchain.compiler, *toolchain.flags, *extra]
    source = f"{JOB}/{name}"
    steps = []
    if name != "main.cu":
        steps.append([*flags, "-E", source, "-o", PREPROCESSED])
        source = PREPROCESSED
    steps += [
        [*flags, "-c", source, "-o", "main.o"],
        [*flags, "-c", f"{JOB}/marker.cpp", "-o", "marker.o"],
        [*flags, "marker.o", "main.o", "-o", PROGRAM, *extra],
    ]
    return "\n".join(map(shlex.join, steps)) + f"\nnm -u main.o > {SYMBOLS}"


def _build_reason(out: Outcome) -> str:
    if out.status == "ok":
        return "ok" if out.files.get(PROGRAM) else "infra_error"
    if out.status == "infra_error":
        return "infra_error"
    if out.status != "crash" or KILLED.search(out.stderr):
        return "compile_limit"
    return "compile_error"


def unused_api(built: Built, api: str) -> str:
    """Why the program does not use its API, "" when it does: comments, strings and #if 0 cannot fool object code."""
    if api == "omp":
        if not OMP_PRAGMA.search(built.source):
            return "no '#pragma omp parallel', 'task', 'teams' or 'target' is left after preprocessing"
        if not OMP_SYMBOL.search(built.symbols):
            return "the object code calls no OpenMP region (no GOMP_parallel, task, teams or target symbol)"
    if api == "cuda":
        if not CUDA_KERNEL.search(built.symbols):
            return "the object code holds no __global__ function"
        if not CUDA_LAUNCH.search(built.symbols):
            return "the object code launches no kernel"
    return ""


def execute(
    program: bytes,
    toolchain: Toolchain,
    args: tuple[str, ...],
    limits: Limits,
    level: Level,
    env: dict[str, str],
    inputs: dict[str, bytes] | None = None,
) -> Ran:
    """Run a built program once on one input; it sees the files `inputs` read-only in ../job/inputs/."""
    nonce = secrets.token_hex(16)
    gpu = toolchain.api == "cuda"
    files = {PROGRAM: program, **{f"inputs/{name}": data for name, data in (inputs or {}).items()}}
    out = sandbox.run([f"{JOB}/{PROGRAM}", *args], files, limits, level, env={**_env(toolchain), **env},
                      stdin=nonce.encode(), roots=toolchain.roots, gpu=gpu)  # fmt: skip
    end = f"\n@end {nonce}\n"
    if out.status != "ok":
        return Ran(out.status, "", _ending(out), out)
    if out.stdout.count(end) != 1 or not out.stdout.endswith(end):
        return Ran("incomplete", "", "the program did not return from main or call exit", out)
    text, _, proof = out.stdout.removesuffix(end).partition(f"\n@proof {nonce} ")
    return Ran("ok", text, out.stderr, out, dict(word.split("=", 1) for word in proof.split() if "=" in word))


def _ending(out: Outcome) -> str:
    said = out.stderr.strip()[-1000:]
    return f"ended with code {out.returncode}" + (f": {said}" if said else "")


def _env(toolchain: Toolchain) -> dict[str, str]:
    env = {"LD_LIBRARY_PATH": ":".join(toolchain.libraries)} if toolchain.libraries else {}
    folder = toolchain.compiler.rpartition("/")[0]
    return {**env, "PATH": f"{folder}:{sandbox.BASE_ENV['PATH']}"}
