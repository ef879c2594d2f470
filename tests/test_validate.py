"""Verdicts on right, wrong and hostile programs, by the real compiler in the real sandbox."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from programs import (
    CUDA,
    HIDDEN,
    KERNEL,
    LOOP,
    OMP,
    PRAGMA,
    RACY,
    SERIAL,
    TASK,
    UNISTD,
    first,
    needs_nvcc,
    sandboxed,
)

from parallax_lib.analysis import validation_stats
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import Journal
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import batch as judge_batch
from parallax_lib.verdict import build, build_ends, reference, toolchain, validate

pytestmark = [sandboxed, pytest.mark.usefixtures("unadmitted")]
LIMITS = Limits(cpu_s=2, wall_s=20, memory_mb=512, output_bytes=1 << 18)

@pytest.fixture(scope="session")
def tools():
    return toolchain.detect()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    return Journal(tmp_path_factory.mktemp("journal") / "journal.db")


@pytest.fixture
def judge(tools, shared):
    return lambda code, task=TASK, **more: validate.judge(
        code, task, more.get("tools", tools), sandbox.probe(), more.get("limits", LIMITS), more.get("journal", shared)
    )


@pytest.fixture
def launches(monkeypatch):
    """The real sandbox, counted: "build" for a program, "count" for one whose work is counted, "run" for every other launch; "known" for
    a build of a known program of admission.  No program is kept from before.
    """
    monkeypatch.setattr(build, "KEPT", 0)
    build.RECENT.clear()
    counted = []
    real = sandbox.run

    def run(argv, files, *args, **more):
        outputs, text = more.get("outputs", ()), files.get("main.cpp", b"last %")
        known = b"last %" not in text and text != b"int main() {"
        counted.append("known" if known else "count" if outputs == (build.PROGRAM,) else "build" if build.PROGRAM in outputs else "run")
        return real(argv, files, *args, **more)

    monkeypatch.setattr(sandbox, "run", run)
    return counted


# ---- the ladder ------------------------------------------------------------------------------------------------------


def test_a_right_translation_validates(judge):
    verdict = judge(OMP)
    assert (verdict.level, verdict.reason, verdict.validated) == (5, "ok", True)
    assert verdict.parallel in ("yes", "unknown") and verdict.race_free == "not checked" and verdict.faster == "not checked"
    assert "3 hidden inputs" in verdict.checked and verdict.sandbox == "bwrap" and "-fopenmp" in verdict.toolchain
    assert verdict.cpu_s > 0.05 and verdict.seconds > 0.05


HOG = "for (;;) { volatile char *p = (char *)malloc(1 << 26); for (int i = 0; i < 1 << 26; i += 512) p[i] = 1; }"
CONSTRUCTOR = "__attribute__((constructor)) static void early() { _exit(0); }\n"
BY_HAND = 'extern "C" void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned);\nvoid nothing(void *) {}\n'
CASES = {
    "nothing": (None, 0, "no_code"),
    "blank": (" \n", 0, "no_code"),
    "does not compile": (OMP.replace("double s", "duoble s"), 1, "compile_error"),
    "does not link": ("int absent(int);\n" + first(OMP, "absent(argc);"), 1, "compile_error"),
    "absolute include": ('#include "/etc/passwd"\n' + OMP, 1, "cheat_suspected"),
    "include through ..": ("#  include <../../etc/passwd>\n" + OMP, 1, "cheat_suspected"),
    "over 1 MiB": (OMP + "/" * (1 << 20), 1, "compile_limit"),
    "racy reduction": (RACY, 4, "nondeterministic"),
    "off by one": (OMP.replace("i = 0; i < n; i++) s", "i = 1; i < n; i++) s"), 4, "wrong_output"),
    "NaN": (OMP.replace("return s;", "return s - s + 0.0 / (s - s);"), 4, "wrong_output"),
    "wrong on one input only": (OMP.replace("return s;", "return n == 777 ? 1.001 * s : s;"), 4, "wrong_output"),
    "missing line": (OMP.replace('printf("last', 'snprintf(0, 0, "last'), 3, "wrong_output"),
    "another label": (OMP.replace('"last %', '"first %'), 3, "wrong_output"),
    "one number more": (OMP.replace('"last %.9e\\n", x', '"last %.9e 1\\n", x'), 3, "wrong_output"),
    "prints PASS only": (OMP.replace("printf(", 'puts("PASS"); snprintf(0, 0, '), 3, "wrong_output"),
    "claims PASS beside wrong data": (OMP.replace("return s;", 'puts("PASSED"); return 1;'), 4, "wrong_output"),
    "empty main": (first(OMP, "return 0;"), 3, "wrong_output"),
    "early _exit": (UNISTD + OMP.replace("  return 0;", "  fflush(0); _exit(0);"), 2, "incomplete"),
    "constructor _exit": (UNISTD + CONSTRUCTOR + OMP, 2, "incomplete"),
    "segfault after the data": (OMP.replace("  return 0;", "  fflush(0); *(volatile int *)0 = 1;"), 2, "crash"),
    "exit code": (OMP.replace("  return 0;", "  return 3;"), 2, "crash"),
    "throws": (first(OMP, "throw 1;"), 2, "crash"),
    "infinite loop": (first(OMP, "for (volatile int i = 0;; i = i + 1) {}"), 2, "timeout"),
    "memory hog": (first(OMP, HOG), 2, "memory_limit"),
    "output flood": (first(OMP, 'for (;;) puts("n 1 total 2");'), 2, "output_limit"),
    "pragma in a comment": (SERIAL.replace(LOOP, "  //" + PRAGMA + LOOP), 2, "not_parallel"),
    "pragma in a string": (first(SERIAL, f'if (argc > 9) puts(R"(\n{PRAGMA})");'), 2, "not_parallel"),
    "pragma in #if 0": (SERIAL.replace(LOOP, f"#if 0\n{PRAGMA}#endif\n{LOOP}"), 2, "not_parallel"),
    "serial copy": (SERIAL, 2, "not_parallel"),
    "pragma without threads": (SERIAL.replace(LOOP, "#pragma omp simd\n" + LOOP), 2, "not_parallel"),
    "orphaned for": (OMP.replace("parallel for", "for").replace(" reduction(+ : s)", ""), 2, "not_parallel"),
    "calls the runtime by hand": (BY_HAND + first(SERIAL, "GOMP_parallel(nothing, 0, 4, 0);"), 2, "not_parallel"),
    "asks for threads only": ("#include <omp.h>\n" + first(SERIAL, "omp_set_num_threads(4);"), 2, "not_parallel"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "crashes", "reason", "said"),
    [
        ("1500001", "777", "wrong_output", "the first 2 of 3 hidden inputs, with 4 and 4; 3 and 1 threads"),
        ("777", "1500001", "crash", "compiled"),
    ],
)
def test_the_first_input_that_is_wrong_or_does_not_end_well_decides(judge, wrong, crashes, reason, said):
    """No run is spent on later ones."""
    verdict = judge(OMP.replace("return s;", f"if (n == {crashes}) exit(3); return n == {wrong} ? 1.001 * s : s;"))
    assert verdict.reason == reason and "input 2" in verdict.log and said in verdict.checked


@pytest.mark.parametrize("name", CASES)
def test_ladder(judge, name):
    code, level, reason = CASES[name]
    verdict = judge(code)
    assert (verdict.level, verdict.reason) == (level, reason), verdict
    assert verdict.reason == "ok" or verdict.log
    if reason == "not_parallel":
        assert verdict.parallel == "no" and verdict.parallel_evidence.startswith("static")


def test_pragma_forms_that_do_count(judge):
    spelled = SERIAL.replace(LOOP, '_Pragma("omp parallel for reduction(+ : s)")\n' + LOOP)
    split = OMP.replace("#pragma omp", "#pragma \\\n   omp \\\n  ")
    macro = OMP.replace(PRAGMA, "").replace(
        "double total", '#define PAR _Pragma("omp parallel for reduction(+ : s)")\ndouble total'
    )
    macro = macro.replace(LOOP, "  PAR\n" + LOOP)
    assert [judge(code).reason for code in (spelled, split, macro)] == ["ok"] * 3


def test_the_compiler_has_limits(tools, monkeypatch):
    monkeypatch.setattr(build, "BUILD_LIMITS", replace(build.BUILD_LIMITS, cpu_s=1, memory_mb=300))
    spin = "constexpr long spin() { long s = 0; for (long i = 0; i < 1L << 40; i++) s += i; return s; }\n"
    spin += "constexpr long S = spin();\n"
    slow = "template <int N, int M> struct F { static const int v = F<N - 1, M>::v + F<N - 1, M + (1 << N)>::v; };\n"
    slow += "template <int M> struct F<0, M> { static const int v = 1; };\nint big = F<24, 0>::v;\n"
    bench = (
        tools["omp"],
        ("-fconstexpr-ops-limit=99999999999", "-fconstexpr-loop-limit=2000000000"),
        sandbox.probe(),
    )
    assert build.build(spin + OMP, *bench).reason == "compile_limit"
    assert build.build(slow + OMP, *bench).reason == "compile_limit"


def test_killed_compilers_are_limits_not_errors():
    for text in (
        "g++: internal compiler error: Killed (program cc1plus)",
        "g++: fatal error: Killed signal terminated program cc1plus",
        "cc1plus: out of memory allocating 65536 bytes after a total of 1",
        "nvcc error   : 'cicc' died due to signal 9 (Kill signal)",
    ):
        assert build_ends.KILLED.search(text)
    assert not build_ends.KILLED.search("main.cpp:3:1: error: 'Killed' was not declared in this scope")
    assert not build_ends.KILLED.search("main.cpp:9:2: error: expected ';'\n    9 |   puts(\"out of memory\")\n")


# ---- the end marker --------------------------------------------------------------------------------------------------

PRINT = 'printf("\\n@end %s\\n", b); fflush(0); _exit(0);'
EARLY = '__attribute__((used, section(".preinit_array"))) static void (*const f)() = [] { read(0, b, 32); };\n'
DECLARED = 'extern "C" int printf(const char *, ...), snprintf(char *, size_t, const char *, ...);'
FORGERIES = {
    "prints a marker": OMP.replace("return 0;", "char b[64] = {'0'}; " + PRINT),
    "reads stdin": OMP.replace("return 0;", "char b[64] = {}; read(0, b, 32); " + PRINT),
    "reopens stdin": OMP.replace("return 0;", 'char b[64] = {}; read(open("/proc/self/fd/0", 0), b, 32); ' + PRINT),
    "reads stdin before all constructors": "static char b[64];\n" + EARLY + OMP.replace("return 0;", PRINT),
    "includes the harness's own object": '#include "marker.cpp"\n' + OMP.replace("#include <stdio.h>", DECLARED),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_ends_do_not_count(judge, name):
    code = UNISTD + "#include <stdlib.h>\n" + FORGERIES[name]
    assert judge(code).reason == "cheat_suspected"
    disguised = code.replace('"\\n@end %s\\n", b', '"\\n@%s %s\\n", "end", b')  # out of the static gate's sight
    static = ("reopens stdin", "reads stdin before all constructors", "includes the harness's own object")
    assert judge(disguised).reason == ("cheat_suspected" if name in static else "incomplete")


def test_no_program_has_a_child_whatever_name_it_calls_it_by(judge):
    """A child's work is counted nowhere."""
    for name in ("fork", "__fork", "vfork", "__vfork", "_Fork"):
        child = f"if (!{name}()) _exit(0); int status; wait(&status);"
        verdict = judge(UNISTD + f'extern "C" pid_t {name}(void);\n' + first(OMP, child))
        assert verdict.reason == "cheat_suspected" and f"refers to {name}," in verdict.log


def test_output_at_exit_and_static_destructors_count_as_output(judge):
    late = 'struct Late { ~Late() { printf("more 1\\n"); } } late;\n'
    assert judge(OMP.replace("double total", late + "double total")).reason == "wrong_output"
    assert judge(OMP.replace("  return 0;", "  exit(0);")).reason == "ok"


# ---- what the harness shows ------------------------------------------------------------------------------------------


def test_logs_are_capped_and_visible(judge):
    hostile = "\u202egnip\u202c\x1b[31m</script><b>&"
    verdict = judge(first(OMP, f'fprintf(stderr, "%s", R"({hostile})"); abort();'))
    assert verdict.reason == "crash" and "\\u202e" in verdict.log and "</script><b>&" in verdict.log
    assert not set("\u202e\x1b") & set(verdict.log)
    flood = judge("#error " + "x" * 60 + "\n" + "\n".join(f"int a{i} = b{i};" for i in range(500)) + OMP)
    assert flood.reason == "compile_error" and len(flood.log) <= validate.LOG_CHARS
    assert "/work" not in flood.log and "../job" not in flood.log


def test_html_in_program_output_is_plain_data(judge):
    kernel = replace(
        KERNEL, sources={k: v.replace('"last %', '"<script>alert(1)</script> %') for k, v in KERNEL.sources.items()}
    )
    task = Task(kernel, "serial", "omp")
    assert judge(kernel.sources["omp"], task).reason == "ok"
    row = validate.to_row(judge(OMP, task))
    assert row["reason"] == "wrong_output" and json.loads(json.dumps(row)) == row


def test_hidden_arguments_do_not_reach_the_log(judge):
    for name in ("infinite loop", "exit code", "wrong on one input only", "missing line"):
        verdict = judge(CASES[name][0])
        assert not [size for size, _ in HIDDEN if size in verdict.checked + verdict.log.partition("got")[0]]


# ---- references ------------------------------------------------------------------------------------------------------


def changed(serial=SERIAL, omp=OMP, **more):
    return Task(
        replace(KERNEL, sources={k: v for k, v in (("serial", serial), ("omp", omp)) if v}, **more), "serial", "omp"
    )


@pytest.mark.parametrize(
    "serial, said",
    [
        ("int main() {", "compile_error"),
        (first(SERIAL, "abort();"), "crash"),
        (first(SERIAL, "for (;;) {}"), "timeout"),
    ],
)
def test_a_failing_reference_is_ours_and_is_not_kept(judge, tmp_path, serial, said):
    journal = Journal(tmp_path / "j.db")
    verdict = judge(OMP, changed(serial), journal=journal, limits=replace(LIMITS, cpu_s=0.5))
    assert verdict.reason == "infra_error" and verdict.log.startswith(f"reference failed: {said}")
    assert not journal.rows("verdict") and not journal.rows("reference")


DRAW = 'unsigned r = 1; fread(&r, 4, 1, fopen("/dev/urandom", "r"));\n  '
RANDOM = SERIAL.replace('printf("n', DRAW + 'printf("n').replace("n %d", "n").replace("n, total(n, x)", "1.0 * r")
EDITS = {
    "prints no numbers": SERIAL.replace("printf(", "snprintf(0, 0, "),
    "prints NaN": SERIAL.replace("return s;", "return s - s + 0.0 / (s - s);").replace("x[n - 1])", "0.0 / (n - n))"),
    "changes from run to run": RANDOM.replace("x[n - 1])", "1.0 * r)"),
}


@pytest.mark.parametrize("said", EDITS)
def test_a_reference_with_nothing_to_compare_is_not_checkable(judge, said):
    verdict = judge(OMP, changed(EDITS[said], None))
    assert (verdict.level, verdict.reason) == (2, "not_checkable") and said in verdict.log


def test_nan_is_right_where_the_source_prints_it(judge):
    serial, omp = (code.replace("return s;", "return s - s + 0.0 / (s - s);") for code in (SERIAL, OMP))
    assert judge(omp.replace(PRAGMA, ""), changed(serial, None)).reason == "not_parallel"
    assert judge(OMP, changed(serial, None)).reason == "wrong_output"
    filled = "#pragma omp parallel for\n  for (int i = 0; i < n; i++) x[i] *= 2;\n  printf("
    serial, omp = serial.replace("printf(", "for (int i = 0; i < n; i++) x[i] *= 2;\n  printf(", 1), omp.replace("printf(", filled, 1)
    assert judge(omp, changed(serial, None)).validated


ODD_LINES = {  # what a right program may print besides or otherwise, and what shows that it is wrong
    'printf("Using %d threads\\n", 8); printf("elapsed: 0.123 s\\n");': "ok",
    'printf("\\033[32mok\\033[0m so far\\n"); printf("10%%\\r100%%\\r\\n");': "ok",
    'printf("more 1.5\\n");': "wrong_output",
    'printf("FAILED\\n");': "wrong_output",
}


def test_other_lines_of_times_and_information_are_no_difference(judge):
    timed = SERIAL.replace('  printf("n', '  printf("Time taken by the kernel %f s\\n", 0.25);\n  printf("n')
    for lines, reason in ODD_LINES.items():
        verdict = judge(OMP.replace('  printf("n', f'  {lines}\n  printf("n'), changed(timed, None))
        assert verdict.reason == reason, (lines, verdict.log)


def test_implementations_that_disagree_check_nothing(judge):
    verdict = judge(OMP, changed(SERIAL, OMP.replace("return s;", "return 2 * s;")))
    assert verdict.reason == "not_checkable" and "disagree" in verdict.log


def test_without_a_serial_program_the_source_is_the_reference(judge):
    assert judge(OMP, Task(replace(KERNEL, sources={"omp": OMP, "cuda": CUDA}), "cuda", "omp")).reason == "ok"


def test_a_serial_target_has_no_parallel_work_to_switch_off(judge):
    verdict = judge(SERIAL, Task(KERNEL, "omp", "serial"))
    assert verdict.validated and verdict.parallel == "unknown", verdict
    assert judge(SERIAL.replace("s += x[i]", "s += x[i] + 1"), Task(KERNEL, "omp", "serial")).reason == "wrong_output"


# ---- cuda without a GPU ----------------------------------------------------------------------------------------------



@needs_nvcc
def test_cuda_without_a_gpu_says_what_was_not_checked(judge, tools):
    blind = {**tools, "cuda": replace(toolchain.detect("compile")["cuda"], can_run=False, why_not="no GPU")}
    task = Task(KERNEL, "serial", "cuda")
    verdict = judge(CUDA, task, tools=blind)
    assert (verdict.level, verdict.reason, verdict.checked) == (2, "not_checkable", "compiled")
    assert verdict.log.startswith("compiled with nvcc") and "not run: no GPU" in verdict.log
    hidden = SERIAL.replace("double total", "__global__ void k() {} // k<<<1, 1>>>();\ndouble total")
    assert judge(hidden, task, tools=blind).reason == "no_kernel_launch"


def test_cuda_without_nvcc_says_so(judge, tools):
    without = {**tools, "cuda": toolchain.Toolchain("cuda", "", "", (), False, False, "no nvcc")}
    verdict = judge(CUDA, Task(KERNEL, "serial", "cuda"), tools=without)
    assert (verdict.level, verdict.reason, verdict.log) == (1, "not_checkable", "not compiled: no nvcc")


def test_no_compiler_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="g\\+\\+ not found.*apt-get install") as error:
        toolchain.detect()
    assert "\n" not in str(error.value)


# ---- journal ---------------------------------------------------------------------------------------------------------


def test_a_verdict_is_cached_until_something_that_matters_changes(judge, tools, launches, tmp_path):
    journal = Journal(tmp_path / "j.db")
    once = judge(OMP, journal=journal)
    assert launches.count("build") == 3  # serial and omp reference, the translation
    assert launches.count("count") == 4  # the serial program twice
    launches.clear()
    assert judge(OMP, journal=journal) == once and launches == []
    judge(OMP + "\n", journal=journal)
    assert launches.count("build") == launches.count("count") == 1
    launches.clear()
    flags = {**tools, "omp": replace(tools["omp"], flags=(*tools["omp"].flags, "-O1"))}
    assert judge(OMP, journal=journal, tools=flags).reason == "ok"
    assert launches.count("build") == 3


def test_everything_that_can_change_a_verdict_changes_its_key(tools, monkeypatch):
    def key(code=OMP, task=TASK, tools=tools, level=None, limits=LIMITS):
        return validate.verdict_key(code, task, reference.Bench(tools, level or sandbox.probe(), limits))

    omp = tools["omp"]
    keys = [
        key(),
        key(code=OMP + " "),
        key(task=changed(hidden_args=HIDDEN[:2])),
        key(task=changed(serial=SERIAL + " ")),
        key(task=changed(flags={"omp": ("-lm",)})),
        key(tools={**tools, "omp": replace(omp, version="other")}),
        key(tools={**tools, "omp": replace(omp, compiler="/usr/bin/other")}),
        key(tools={**tools, "omp": replace(omp, can_run=False)}),
        key(level=sandbox.Level("unsafe")),
        key(limits=replace(LIMITS, memory_mb=513)),
    ]
    cuda = [{"cuda": (f"-D{name}",)} for name in "AB"]  # no part of the serial reference
    keys += [key(task=replace(changed(flags=flags), target="cuda")) for flags in cuda]
    monkeypatch.setattr(reference, "HARNESS_VERSION", -1)
    assert len({*keys, key()}) == len(keys) + 1


def test_our_failures_are_retried_and_never_cached(judge, tools, launches, tmp_path):
    journal = Journal(tmp_path / "j.db")
    judge(OMP, journal=journal)
    launches.clear()
    broken = {**tools, "omp": replace(tools["omp"], roots=())}
    absent = replace(sandbox.probe(), bwrap="/nonexistent/bwrap")
    bench = reference.Bench(broken, absent, LIMITS, journal)
    good = reference.make_reference(KERNEL, "serial", reference.Bench(tools, sandbox.probe(), LIMITS, journal))
    verdict = validate.judged(OMP + "//", TASK, bench, good)
    assert verdict.reason == "infra_error" and launches.count("build") == 1 + reference.RETRIES
    assert len(journal.rows("verdict")) == 1


def test_many_are_judged_once_each_and_in_order(tools, launches, tmp_path):
    codes = [OMP, None, SERIAL, OMP, RACY, "int main() {", OMP]
    seen = []
    verdicts = judge_batch.judge_many(
        [(c, TASK) for c in codes],
        tools,
        sandbox.probe(),
        LIMITS,
        Journal(tmp_path / "j.db"),
        2,
        lambda *at: seen.append(at),
    )
    assert [v.reason for v in verdicts] == [
        "ok",
        "no_code",
        "not_parallel",
        "ok",
        "nondeterministic",
        "compile_error",
        "ok",
    ]
    assert launches.count("build") == 2 + 4 + 1 and seen == [(i, 6) for i in range(1, 7)]  # the reference; what does not compile, as C


@pytest.mark.slow
def test_many_workers_are_processes_and_judge_alike(tools, launches, tmp_path):
    codes, seen = [OMP, None, SERIAL, OMP, RACY, "int main() {", *(OMP + "\n" * i for i in range(1, 7))], []
    alone = judge_batch.judge_many([(c, TASK) for c in codes], tools, sandbox.probe(), LIMITS, None, 2)
    launches.clear()
    journal, workers = Journal(tmp_path / "j.db"), judge_batch.THREADED + 1
    verdicts = judge_batch.judge_many(
        [(c, TASK) for c in codes], tools, sandbox.probe(), LIMITS, journal, workers, lambda *at: seen.append(at)
    )
    told = [(v.level, v.reason, v.checked, v.toolchain) for v in verdicts]
    assert told == [(v.level, v.reason, v.checked, v.toolchain) for v in alone]
    assert not launches and len(journal.rows("verdict")) == 10 and len(journal.rows("reference")) == 1  # all of it elsewhere
    assert seen == [(i, 12) for i in range(1, 13)]


def test_kill_minus_nine_loses_and_doubles_nothing(tools, launches, tmp_path):
    codes = [OMP.replace("return s;", f"return s + {i};") if i else OMP for i in range(6)]
    (tmp_path / "codes.json").write_text(json.dumps(codes))
    script = f"""
import json, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
from test_validate import *
items = [(c, TASK) for c in json.load(open({str(tmp_path / "codes.json")!r}))]
journal = Journal({str(tmp_path / "j.db")!r})
judge_batch.judge_many(items, toolchain.detect(), sandbox.probe(), LIMITS, journal, 1, lambda *at: print(*at, flush=True))
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    assert all(child.stdout.readline() for _ in range(3))  # the reference and two programs
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    journal = Journal(tmp_path / "j.db")
    kept = journal.rows("verdict")
    assert 2 <= len(kept) < 6
    launches.clear()
    verdicts = judge_batch.judge_many([(c, TASK) for c in codes], tools, sandbox.probe(), LIMITS, journal, 1)
    assert launches.count("build") == 6 - len(kept)
    assert [v.reason for v in verdicts] == ["ok"] + ["wrong_output"] * 5
    after = journal.rows("verdict")
    assert len(after) == 6 and all(after[k] == v for k, v in kept.items())


# ---- counts ----------------------------------------------------------------------------------------------------------


def test_stats_count_only_what_was_judged(tmp_path):
    rows = pd.DataFrame(
        [
            ("serial-omp", 5, "ok"),
            ("serial-omp", 4, "nondeterministic"),
            ("serial-omp", 2, "timeout"),
            ("serial-omp", 1, "infra_error"),
        ]
        + [("cuda-omp", 2, "not_checkable")],
        columns=["direction", "level", "reason"],
    ).assign(task=list("abcde"))
    counts = validation_stats.stats(rows, lambda good, tasks: (good.mean() - 0.25, good.mean() + 0.25 * (list(tasks[:3]) == list("abc"))))
    one, none, total = counts["serial-omp"], counts["cuda-omp"], counts["total"]
    assert (one["n"], one["judged"], one["validated"], one["timeouts"], one["nondeterministic"]) == (4, 3, 1, 1, 1)
    assert one["rate"] == 1 / 3 and one["interval"] == [1 / 3 - 0.25, 1 / 3 + 0.25]
    assert (none["judged"], none["rate"], none["interval"]) == (0, None, None)
    assert total["levels"]["validated"] == 1 and sum(total["levels"].values()) == 3
    assert total["first_failure"] == {"nondeterministic": 1, "timeout": 1}
    assert total["unjudged"] == {"infra_error": 1, "not_checkable": 1}
    data, text = validation_stats.write_stats(counts, tmp_path, "r1")
    assert data.name == "validators_stats_r1.json" and json.loads(data.read_text())["stats"]["total"]["n"] == 5
    assert "serial-omp" in text.read_text() and "33.3 %" in text.read_text()
