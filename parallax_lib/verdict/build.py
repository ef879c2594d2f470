"""Compile one program inside the sandbox, see whether it really uses its API, run it and prove that it ended.

Knows compilers' diagnostics, symbols and the end marker.  Knows nothing of references, tolerances or verdict levels.

The end marker: an object of the harness reads a nonce from stdin before any constructor of the program runs and prints
it after the last destructor.  `_exit`, `abort` or a kill leave no marker, and nothing that the program prints can stand
for one unless it searches its own memory.

The proof line stands just before the end marker and carries the same nonce.  It tells the wall time of the program itself,
without the sandbox's start; and whatever part of the harness is linked into
the program and defines `parallax_proof(buffer, size)` fills it with `name=value` words and returns their length.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from parallax_lib.core.cpp_text import BOM, without_comments
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import JOB, Level, Limits, Outcome
from parallax_lib.verdict import build_ends, cuda_link, emulated_build, harness
from parallax_lib.verdict.cuda_link import PROGRAM, SYMBOLS
from parallax_lib.verdict.harness import BUILD_LIMITS, proof_source
from parallax_lib.verdict.llvm import Llvm
from parallax_lib.verdict.toolchain import Toolchain, describe
from parallax_lib.verdict.ways import UNIFIED, Way, in_language, may_be_c, ways

KEPT = 24  # programs
TURN = itertools.count()  # of the GPUs that programs are held to
PREPROCESSED, RUNTIME = "main.ii", "runtime"
BEGIN = "@begin\n"  # the marker's first line
RECENT: dict[tuple, Built] = {}  # the last ones that were built, by all that they were built from
OMP_PRAGMA = re.compile(
    r"^[ \t]*#[ \t]*pragma[ \t]+omp\b.*\b(parallel|task|taskloop|teams|target)\b|omp::(directive|sequence)", re.M
)
OMP_SYMBOL = re.compile(r"\bU (GOMP_(?:parallel|task|teams|target)\w*|__kmpc_(?:fork|omp_task)\w*|__tgt_target\w*)")
CUDA_KERNEL, CUDA_LAUNCH = (
    re.compile(r"\bU __cudaRegisterFunction\b"),
    re.compile(r"\bU (__cudaPushCallConfiguration|cudaLaunch\w+Kernel\w*)\b"),
)
BY_CALL = re.compile(r"\bcudaLaunch(\w*+)\s*[<(]")
PARTS = rf"""objdump -h main.o > sections.txt
objdump -d --no-show-raw-insn main.o > code.txt
{{ sed -n 's/^ *[0-9]* \(\.[^ ]*\) .*/@section \1/p' sections.txt
sed -n 's/^ *[0-9a-f]*:[ \t]*\(syscall\|sysenter\|int  *$0x80\|svc\)/@instruction \1/p
s/^ *[0-9a-f]*:[ \t]*\(lock\|xchg .*(\|ld[a-z]*xr\|ldadd\|ldset\|ldclr\|cas\|swp\).*/@atomic/p' code.txt | uniq
}} >> {SYMBOLS}"""  # for checks and control runs: the object file's sections, raw system calls and atomic updates of memory, after
LOOK = f"nm main.o > {SYMBOLS}\n{PARTS}"  # what it defines and needs
SEGMENTS = f"readelf -lW {PROGRAM} | sed -n 's/.* RWE .*/@section writable-and-executable/p' >> {SYMBOLS}"
LOCALISE = ["objcopy", "--keep-global-symbol=main", "main.o"]  # names in C are as written: so they replace nothing of the system's


@dataclass(frozen=True)
class Built:
    """A compiled program, or the reason there is none.

    reason: ok, compile_error, compile_limit, infra_error, or not_checkable for what only the emulator cannot compile.
    """

    reason: str
    program: bytes
    log: str
    symbols: str
    source: str  # preprocessed; "" where the compiler does not give it
    outcome: Outcome
    tool: str = ""  # compiler and flags that made it
    runtime: str = ""  # OpenMP runtime it is linked with: libomp, libgomp, "" for other programs
    regions: str = ""  # of a program with target regions: HOST, DEVICE or GPU
    language: str = "c++"  # what its compiler took it for: c++, c or cuda
    view: tuple[str, ...] = ()  # command that preprocesses its text as it was
    team: int = 0  # threads that its teams need, where thread numbers stand for CUDA's indices


@dataclass(frozen=True)
class Ran:
    """One run.  reason: ok, incomplete (no end marker), or the status of its Outcome.  proof: what the harness counted.

    results: what probes/results.cpp says of the buffers that the device gave back, where it is linked.
    """

    reason: str
    text: str
    log: str
    outcome: Outcome
    proof: dict[str, str] = field(default_factory=dict)
    results: str = ""


def build(code: str, toolchain: Toolchain, extra: tuple[str, ...], level: Level, results: bool = False) -> Built:
    """Compile a single-file program with the harness's end marker and proof.  `extra`: the kernel's own flags.

    `results`: its runs tell what the device gave back.  What was built last is not built again: a suite's programs are references,
    translations and originals of mutants.
    """
    code = code.removeprefix(BOM)
    key = (code, toolchain, extra, level, results)
    built = RECENT.get(key) or _first_that_builds(code, toolchain, extra, level, results)
    if built.reason == "ok":
        RECENT[key] = built
        for old in list(RECENT)[: max(0, len(RECENT) - KEPT)]:
            RECENT.pop(old, None)
    return built


def _first_that_builds(code: str, toolchain: Toolchain, extra: tuple[str, ...], level: Level, results: bool) -> Built:
    """OpenMP target regions are built by clang for the offload device where there is one; what only g++ accepts is built by
    g++, whose target regions run on the host.  What is no C++ may be C: then every way is tried again as C.
    """
    first, *others = every = ways(code, toolchain)
    built = _build(code, first, toolchain, extra, level, results)
    for way in others if built.reason == "compile_error" else []:
        built = _again(built, _build(code, way, toolchain, extra, level, results))
    as_c = [way._replace(language="c") for way in every] if built.reason == "compile_error" and may_be_c(code, toolchain) else []
    for way in as_c:
        in_c = _again(built, _build(code, way, toolchain, extra, level, results))
        if in_c.reason != "compile_error":
            return in_c
        built = replace(built, outcome=in_c.outcome, log=min(built.log, in_c.log, key=lambda log: log.count("error:")))
    return built


def _again(before: Built, now: Built) -> Built:
    """`now` with the time of both."""
    spent = {name: getattr(before.outcome, name) + getattr(now.outcome, name) for name in ("cpu_s", "wall_s")}
    return replace(now, outcome=replace(now.outcome, **spent))


def same_code(one: str, other: str, toolchain: Toolchain, extra: tuple[str, ...], level: Level) -> bool:
    """Whether two programs compile to the same bytes; target regions for the host: clang puts random names into device images."""
    plain = replace(toolchain, llvm=Llvm(), offloaded=None)
    return build(one, plain, extra, level).program == build(other, plain, extra, level).program


def _build(code: str, way: Way, toolchain: Toolchain, extra: tuple[str, ...], level: Level, results: bool = False) -> Built:
    regions, compiler, flags, language = way
    name = "main.cu" if language == "cuda" else "main.cpp"
    used = replace(toolchain, compiler=compiler, flags=flags)
    objects, failure = harness.objects(used, level, _paths(toolchain), results, _offloads(flags))
    files = {name: code.encode("utf-8", errors="replace"), **objects}
    if toolchain.emulated:
        script, more = emulated_build.job(code, toolchain, extra, level)
        script = emulated_build.failing(failure) if failure else f"{script}\n{PARTS}\n{SEGMENTS}"
        files |= more
    else:
        proof = proof_source(toolchain)
        copied = results and bool(proof) and language == "cuda"
        files |= {"proof.cpp": proof + harness.text("copies.cpp") * copied} if language == "cuda" else {}
        script = _script(used, extra, language, bool(proof), copied, failure)
    outputs = (PROGRAM, SYMBOLS, RUNTIME) + (() if name == "main.cu" else (PREPROCESSED,))
    out = sandbox.run(["/bin/sh", "-ec", script], files, BUILD_LIMITS, level, env=_env(toolchain), outputs=outputs, roots=toolchain.roots)
    log = out.stderr.replace(f"{JOB}/", "")
    texts = {n: out.files.get(n, b"").decode("utf-8", errors="replace") for n in (SYMBOLS, PREPROCESSED, RUNTIME)}
    for root in toolchain.roots:  # a compiler's own headers, wherever it lies, are the system's
        texts[PREPROCESSED] = re.sub(rf'^(# \d+ "){re.escape(root)}/', r"\1/usr/", texts[PREPROCESSED], flags=re.M)
    tool = replace(used, flags=tuple(in_language(language, flags)))
    tool = replace(tool, version=toolchain.llvm.version) if compiler == toolchain.llvm.clang else tool
    program, bare = out.files.get(PROGRAM, b""), replace(out, files={})
    runtime, reason = texts[RUNTIME].strip(), build_ends.reason(out, PROGRAM)
    return Built(reason, program, log, texts[SYMBOLS], texts[PREPROCESSED], bare, describe(tool), runtime, regions,
                 language, (compiler, *in_language(language, (*flags, *extra))))  # fmt: skip


def _script(toolchain: Toolchain, extra: tuple[str, ...], language: str, proof: bool, copies: bool, failure: str) -> str:
    """Fixed file names and this machine's own flags; nothing of the program reaches the shell.  `failure`: the harness does not compile."""
    flags = [toolchain.compiler, *toolchain.flags, *extra]
    source, spoken, read = f"{JOB}/main.{'cu' if language == 'cuda' else 'cpp'}", in_language(language, flags), ("-x", "c")
    steps = []
    if language != "cuda":
        steps.append([*spoken, "-E", source, "-o", PREPROCESSED])
        if not _offloads(flags):  # clang makes no device code of preprocessed text
            source, read = PREPROCESSED, ("-x", "cpp-output")
    steps.append([*flags, "-c", source, "-o", "main.o"])
    if language == "c":
        steps[-2:] = [[*spoken, "-x", "c", *steps[0][len(spoken) :]], [*spoken, *read, "-c", source, "-o", "main.o"], LOCALISE]
    if failure:
        return "\n".join([*map(shlex.join, steps), emulated_build.failing(failure)])
    guard = ""
    if proof and _offloads(flags):
        guard = f"G=device; if grep -Eq '{UNIFIED}' {PREPROCESSED}; then G=unified; fi; cp {JOB}/$G.o device.o"
    link = shlex.join([*flags, f"{JOB}/marker.o", "main.o", "-o", PROGRAM, *extra])
    if toolchain.api == "omp":
        link = _omp_link(toolchain, extra, proof, link)
    elif proof:
        link = cuda_link.script(flags, extra, harness.plain(toolchain.compiler, toolchain.flags), copies)
    link += "" if toolchain.api == "omp" else f"\n: > {RUNTIME}"
    return "\n".join([*map(shlex.join, steps), guard, LOOK, link, SEGMENTS])


def _omp_link(toolchain: Toolchain, extra: tuple[str, ...], proof: bool, native: str) -> str:
    """Link with LLVM's runtime and the proof; what its runtime lacks is linked with g++'s own, without a proof."""
    if not proof:
        return f"{native}\necho libgomp > {RUNTIME}"
    lib = toolchain.llvm
    clang = toolchain.compiler == lib.clang
    flags = toolchain.flags if clang else tuple(f for f in toolchain.flags if f != "-fopenmp" and not f.startswith("-foffload"))
    theirs = [f"-Wl,-rpath,{lib.folder}", *([] if clang else [lib.libomp]), "-lpthread", "-ldl"]
    proofs = [f"{JOB}/proof.o", "device.o"] if _offloads(flags) else [f"{JOB}/proof.o"]
    theirs += cuda_link.SHOWN if toolchain.gpu else ()
    ours = shlex.join([toolchain.compiler, *flags, *extra, f"{JOB}/marker.o", *proofs, "main.o", "-o", PROGRAM, *extra, *theirs])
    if clang:
        return f"{ours}\necho libomp > {RUNTIME}"
    absent = f"! grep -Eq 'pragma +omp.*(inscan|ordered *\\()' {PREPROCESSED}"
    return f"if {absent} && {ours} 2> /dev/null; then echo libomp > {RUNTIME}; else\n{native}\necho libgomp > {RUNTIME}; fi"


def _offloads(flags: Iterable[str]) -> bool:
    return any(flag.startswith("-fopenmp-targets=") for flag in flags)


def unused_api(built: Built, api: str, code: str = "") -> str:
    """Why the program does not use its API, "" when it does: comments, strings and #if 0 cannot fool object code.

    Every kernel's stub calls cudaLaunchKernel, so `code` tells whether the program itself does.
    """
    if api == "omp":
        if not OMP_PRAGMA.search(built.source):
            return "no '#pragma omp parallel', 'task', 'teams' or 'target' is left after preprocessing"
        if not OMP_SYMBOL.search(built.symbols):
            return "the object code calls no OpenMP region (no GOMP_parallel, task, teams or target symbol)"
    if api == "cuda":
        if not CUDA_KERNEL.search(built.symbols):
            return "the object code holds no __global__ function"
        if not CUDA_LAUNCH.search(built.symbols) and not any("Kernel" in name for name in BY_CALL.findall(without_comments(code))):
            return "the object code launches no kernel"
    return ""


def execute(
    program: bytes, toolchain: Toolchain, args: tuple[str, ...], limits: Limits, level: Level, env: dict[str, str],
    files: dict[str, bytes] | None = None,
) -> Ran:  # fmt: skip
    """Run a built program once on one input.  `files` lie beside it."""
    nonce = secrets.token_hex(16)
    end = f"\n@end {nonce}\n"
    out = sandbox.run([f"{JOB}/{PROGRAM}", *args], {PROGRAM: program, **(files or {})}, limits, level, env={**_env(toolchain), **env},
                      stdin=nonce.encode(), roots=toolchain.run_roots, gpu=toolchain.gpu, farewell=end.encode())  # fmt: skip
    if out.status != "ok":
        return Ran(out.status, "", _ending(out), out)
    said, ended, told = out.printed.partition(end)
    head = f"\n@results {nonce} "  # what the device gave back is told after the stop, and ends like the rest
    whole = not told or (told.startswith(head) and told.endswith(end) and told.count(end) == 1)
    if not (ended and whole and said.startswith(BEGIN) and out.threads):
        return Ran("incomplete", "", "the program did not return from main or call exit", out)
    results = told.removeprefix(head).removesuffix(end)
    text, _, proof = said.removeprefix(BEGIN).partition(f"\n@proof {nonce} ")
    return Ran("ok", text, out.stderr, out, dict(word.split("=", 1) for word in proof.split() if "=" in word), results)


def _ending(out: Outcome) -> str:
    said = out.stderr.strip()[-1000:]
    return f"ended with code {out.returncode}" + (f": {said}" if said else "")


def _env(toolchain: Toolchain) -> dict[str, str]:
    env = _paths(toolchain)
    if toolchain.gpu and toolchain.devices:
        env["CUDA_VISIBLE_DEVICES"] = str(toolchain.devices[(os.getpid() + next(TURN)) % len(toolchain.devices)])
    return env


def _paths(toolchain: Toolchain) -> dict[str, str]:
    env = {"LD_LIBRARY_PATH": ":".join(toolchain.libraries)} if toolchain.libraries else {}
    folder = toolchain.compiler.rpartition("/")[0]
    return {**env, "PATH": ":".join((folder, *toolchain.path, sandbox.BASE_ENV["PATH"]))}
