"""Right programs whose text looks odd are judged right, and the cheats beside them are not: real compiler, real sandbox, `judge`."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from programs import CUDA, KERNEL, OMP, PRAGMA, RACY, SERIAL, TASK, UNISTD, first, sandboxed

from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import races, static_checks, toolchain, validate
from parallax_lib.verdict.reference import Bench

pytestmark = pytest.mark.usefixtures("references_once")

LIMITS = Limits(cpu_s=5, wall_s=40, memory_mb=1024)
IN_C = OMP.replace("(double *)malloc", "malloc")
HEAD = "double total"
CLONES = '__attribute__((target_clones("default", "avx2"))) '
RESOLVED = "static void nothing() {}\nextern \"C\" void (*pick())() { return nothing; }\n"


@pytest.fixture(scope="module")
def judge():
    tools, level = toolchain.detect(), sandbox.probe()
    return lambda code, task=TASK, **stages: validate.judge(code, task, tools, level, LIMITS, **stages)


@sandboxed
def test_right_programs_with_odd_texts(judge):
    saxpy = 'extern "C" double %s(int n, const double *x) { return n * x[0]; }\n'
    names = ("omp_saxpy", "kmp_search", "cudaSaxpy", "cuMatMul", "pthread_x")
    for name, code in {
        "BOM": "\ufeff" + OMP,
        "mail": first(OMP, 'if (argc > 9) puts("me@end.example, you@proof.example, @end of x");'),
        "extern C, names that begin like a runtime's": "".join(saxpy % name for name in names) + OMP,
        "ifunc is a name": first("static int ifunc(int x) { return x; }\n" + OMP, "int ifunc2 = ifunc(argc); if (ifunc2 > 9) return 1;"),
        "target_clones": OMP.replace(HEAD, CLONES + HEAD),
        "target_clones, extern C": OMP.replace(HEAD, 'extern "C" ' + CLONES + HEAD),
        "its own state": first(OMP, 'FILE *f = fopen("/proc/self/status", "r"); if (f) fclose(f);'),
        "its thread's number": first("#include <sys/syscall.h>\n" + UNISTD + OMP, 'fprintf(stderr, "%ld\\n", (long)syscall(SYS_gettid));'),
        "no_sanitize": OMP.replace(HEAD, '__attribute__((no_sanitize("undefined"))) ' + HEAD),
        "sanitizers in a comment": "// clean under thread_sanitizer and __SANITIZE_ADDRESS__\n" + OMP,
        "an include in a comment": '/*\n#include "../common.h"\n*/\n' + OMP,
        "a printed directive": first(OMP, 'if (argc > 9) puts("use .include or .incbin");'),
    }.items():
        verdict = judge(code)
        assert (verdict.level, verdict.reason) == (5, "ok"), (name, verdict)


@sandboxed
@pytest.mark.slow
def test_their_neighbours_are_still_cheats(judge):
    labelled = 'extern "C" long ask(long, ...) asm("syscall");\n#include <sys/syscall.h>\n' + UNISTD + OMP
    for name, code in {
        "marker": first(OMP, 'if (argc > 9) printf("\\n@end %s\\n", argv[1]);'),
        "marker in a raw string": first(OMP, 'if (argc > 9) puts(R"(\n@end\n)");'),
        "own omp_get_wtime": 'extern "C" double omp_get_wtime() { return 0; }\n' + OMP,
        "own cudaMalloc": 'extern "C" int cudaMalloc_ptsz(void **, unsigned long) { return 0; }\n' + OMP,
        "ifunc": first(RESOLVED + 'extern "C" void kept() __attribute__((ifunc("pick")));\n' + OMP, "kept();"),
        "ifunc by another spelling": first(RESOLVED + 'extern "C" [[gnu::__ifunc__("pick")]] void kept();\n' + OMP, "kept();"),
        "another system call": first("#include <sys/syscall.h>\n" + UNISTD + OMP, "if (argc > 9) syscall(SYS_exit, 1);"),
        "a computed system call": first(UNISTD + OMP, "if (argc > 9) syscall(186 + argc);"),
        "syscall under another name": first(labelled, "syscall(SYS_gettid); if (argc > 9) ask(60, 1);"),
        "syscall by its version": first('asm(".symver ask, syscall@GLIBC_2.2.5");\nextern "C" long ask(long, ...);\n' + OMP, "ask(186);"),
        "its own memory": first(OMP, 'FILE *f = fopen("/proc/self/maps", "r"); if (f) fclose(f);'),
        "status is a folder on the way": first(OMP, 'FILE *f = fopen("/proc/self/status/../maps", "r"); if (f) fclose(f);'),
        "no_sanitize kept from the race stage": "#undef no_sanitize\n" + OMP,
        "code for a sanitizer": first(OMP, "\n#ifdef __SANITIZE_THREAD__\nputs(argv[0]);\n#endif\n"),
    }.items():
        assert judge(code).reason == "cheat_suspected", (name, judge(code))


@sandboxed
def test_a_c_source_is_compiled_as_c(judge):
    words = IN_C.replace("int n = atoi(argv[1]);", "int new = 1, class = 0, n = atoi(argv[1]) * new + class;")
    own = "int read(int a) { return a; }\nlong times(long a) { return a; }\nvoid omp_saxpy(void) {}\n" + IN_C
    serial = SERIAL.replace("(double *)malloc", "malloc")
    target = IN_C.replace(PRAGMA, "#pragma omp target teams distribute parallel for reduction(+ : s) map(to : x[0:n]) map(tofrom : s)\n")
    sources = {**KERNEL.sources, "serial": serial, "omp": IN_C}
    for name, code, task in (
        ("malloc", IN_C, TASK), ("with a BOM", "\ufeff" + IN_C, TASK),
        ("words of C++ as names", words, TASK), ("names of the system", own, TASK),
        ("serial", serial, Task(KERNEL, "omp", "serial")), ("target regions", target, TASK),
        ("reference in C", IN_C, replace(TASK, kernel=replace(KERNEL, name="in_c", sources=sources))),
    ):  # fmt: skip
        verdict = judge(code, task)
        assert (verdict.level, verdict.reason) == (5, "ok") and "-std=gnu17" in verdict.toolchain, (name, verdict)
        assert task.target == "serial" or verdict.parallel in ("yes", "unknown"), (name, verdict)
    assert "OMPT" in judge(IN_C).parallel_evidence or not toolchain.detect()["omp"].llvm.libomp  # the proof is linked with C too
    broken = judge(IN_C.replace("return s;", "return undeclared;"))
    assert broken.reason == "compile_error" and "undeclared" in broken.log and "invalid conversion" not in broken.log
    assert judge(IN_C.replace(PRAGMA, "")).reason == "not_parallel"
    assert judge(IN_C.replace("s += x[i]", "s += x[i] * 2")).reason == "wrong_output"
    in_cpp = judge(OMP.replace("return s;", "return std::undeclared;"))
    assert in_cpp.reason == "compile_error" and "-std=c++17" in in_cpp.toolchain


@sandboxed
@pytest.mark.slow
def test_cuda_with_a_bom(judge):
    task = Task(KERNEL, "serial", "cuda")
    assert judge("\ufeff" + CUDA, task).reason == judge(CUDA, task).reason


@sandboxed
@pytest.mark.slow
def test_the_race_stage_sees_c_and_what_asks_not_to_be_seen():
    bench = Bench(toolchain.detect(), sandbox.probe(), LIMITS)
    if why := races.why_not(bench.toolchains["omp"], bench.level.name):
        pytest.skip(why)
    racy = RACY.replace("volatile double s", "double s")
    assert races.check(OMP, "omp", ("20000", "7"), (), bench).race_free == "yes"
    assert races.check(IN_C, "omp", ("20000", "7"), (), bench, language="c").race_free == "yes"
    in_c = racy.replace("(double *)malloc", "malloc")
    assert races.check(in_c, "omp", ("20000", "7"), (), bench, language="c").race_free == "no"
    for hidden in ('__attribute__((no_sanitize("thread"))) ', '[[clang::no_sanitize("thread")]] ', "__attribute__((no_sanitize_thread)) ",
                   '__attribute__((__no_sanitize__("thread"))) ', "__attribute__((disable_sanitizer_instrumentation)) "):  # fmt: skip
        assert races.check(racy.replace(HEAD, hidden + HEAD), "omp", ("20000", "7"), (), bench).race_free == "no", hidden


def test_the_names_of_runtimes_hold_what_headers_declare():
    """Independent: the headers that are installed here."""
    names = static_checks._runtime_names()
    ask = ["g++", "-print-file-name=include"]
    folder = subprocess.run(ask, capture_output=True, text=True).stdout.strip() if shutil.which("g++") else ""
    headers = [(Path(folder) / "omp.h", r"\bomp_\w+(?= ?\()"), (Path("/usr/include/pthread.h"), r"\bpthread_\w+(?= ?\()")]
    headers += [(path, r"\bomp_\w+(?= ?\()") for path in Path("/usr/lib").glob("llvm-*/lib/clang/*/include/omp.h")]
    if home := toolchain.cuda_home():
        headers.append((home / "include" / "cuda_runtime_api.h", r"CUDARTAPI (cuda\w+)(?= ?\()"))
    for path, pattern in headers:
        declared = {static_checks.VARIANT.sub("", name) for name in re.findall(pattern, path.read_text())} if path.is_file() else set()
        assert declared <= names, (path, sorted(declared - names))
    assert not {"omp_saxpy", "kmp_search", "cudaSaxpy", "pthread_x"} & names
