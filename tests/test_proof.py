"""Proof of parallelism, race stage, target regions and timing on programs that differ in one of them, really run."""

import math
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from programs import (
    HIDDEN,
    KERNEL,
    LOOP,
    MAIN,
    OMP,
    PRAGMA,
    SERIAL,
    TASK,
    UNISTD,
    first,
    needs_nvcc,
    sandboxed,
)

from parallax_lib.core.config import ROOT
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import build, harness, llvm, parallel_evidence, races, reference, static_checks, timing, toolchain, validate, ways
from parallax_lib.verdict.assurance import redteam
from parallax_lib.verdict.reasons import REASONS

pytestmark = [sandboxed, pytest.mark.usefixtures("references_once", "unadmitted")]
LLVM = llvm.detect()
needs_libomp = pytest.mark.skipif(not LLVM.libomp, reason="LLVM's OpenMP runtime (libomp) is not installed")
needs_archer = pytest.mark.skipif(not (LLVM.tsan and LLVM.archer), reason="clang++ with ThreadSanitizer and Archer are not installed")
NAMES_LINES = LLVM.folder and (Path(LLVM.folder).parent / "bin" / "llvm-symbolizer").exists()  # without it a race has no line
needs_offload = pytest.mark.skipif(not LLVM.offload, reason="clang's x86_64 offload device is not installed")
LIMITS = Limits(cpu_s=4, memory_mb=512)
BODY = "  for (int i = 0; i < n; i++) s += x[i];\n"


@pytest.fixture(scope="module")
def tools():
    return toolchain.detect()


@pytest.fixture
def judge(tools):
    return lambda code, task=TASK, **more: validate.judge(code, task, more.pop("tools", tools), sandbox.probe(), LIMITS, **more)


EXAMPLES = {  # program, verdict's reason, parallel, in its evidence
    "real loop": (OMP, "ok", "yes", "max team 4"),
    "pragma in a comment": (SERIAL.replace(LOOP, "  //" + PRAGMA + LOOP), "not_parallel", "no", "static"),
    "dummy region": (first(SERIAL, "volatile int t = 0;\n#pragma omp parallel\n  t = 1;\n"), "not_parallel", "no", "coverage 0.00"),
    "num_threads(1)": (OMP.replace("parallel for", "parallel for num_threads(1)"), "not_parallel", "no", "no region ran with more"),
    "parallel + single": (SERIAL.replace(BODY, "#pragma omp parallel\n#pragma omp single\n" + BODY), "not_parallel", "no", "one thread"),
    "single by turns": (
        SERIAL.replace(BODY, "#pragma omp parallel\n  for (int k = 0; k < 8; k++)\n#pragma omp single\n"
                             "    for (int i = (long)n * k / 8; i < (long)n * (k + 1) / 8; i++) s += x[i];\n"),
        "not_parallel", "no", "one thread",
    ),
    "critical around everything": (
        SERIAL.replace(BODY, "#pragma omp parallel for\n  for (int k = 0; k < 64; k++)\n#pragma omp critical\n"
                             "    for (int i = (long)n * k / 64; i < (long)n * (k + 1) / 64; i++) s += x[i];\n"),
        "ok", "yes", "max team 4",
    ),
    "_exit after the region": (UNISTD + OMP.replace("  return 0;", "  fflush(0); _exit(0);"), "incomplete", "unknown", ""),
    "std::thread": (
        "#include <thread>\n" + SERIAL.replace(BODY, "  std::thread t([&] {" + BODY + "});\n  t.join();\n"),
        "not_parallel", "no", "static",
    ),
    "sections, one holds all": (SERIAL.replace(BODY, "#pragma omp parallel sections\n  {\n#pragma omp section\n" + BODY
        + "#pragma omp section\n    state_of(0);\n  }\n").replace("double total", "static void state_of(int) {}\ndouble total"),
        "not_parallel", "no", "one thread"),
    "dynamic, one chunk": (OMP.replace("reduction", "schedule(dynamic, 1 << 30) reduction"), "not_parallel", "no", "one thread"),
    "one task": (SERIAL.replace(BODY, "#pragma omp parallel\n#pragma omp single\n#pragma omp task shared(s)\n" + BODY),
        "not_parallel", "no", "one thread"),
    "std::thread beside a dummy region": (
        "#include <thread>\n" + first(SERIAL, "volatile int t = 0;\n#pragma omp parallel\n  t = 1;\n").replace(
            BODY, "  std::thread w([&] {" + BODY + "});\n  w.join();\n"),
        "not_parallel", "no", "coverage 0.00",
    ),
}  # fmt: skip


@needs_libomp
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_told_apart(judge, name):
    code, reason, parallel, said = EXAMPLES[name]
    if said == "one thread":  # long enough for what a thread's start costs, up to a millisecond, not to look like work
        code = code.replace("s += x[i]", "for (int k = 0; k < 10; k++) s = s + 0.1 * x[i]")
    verdict = judge(code)
    assert (verdict.reason, verdict.parallel) == (reason, parallel), verdict
    assert said in verdict.parallel_evidence


CORRECT = {
    "tasks": "#pragma omp parallel\n#pragma omp single\n  for (int k = 0; k < 64; k++)\n#pragma omp task shared(s)\n  {\n"
    "    double p = 0;\n    for (int i = (long)n * k / 64; i < (long)n * (k + 1) / 64; i++) p += x[i];\n"
    "#pragma omp atomic\n    s += p;\n  }\n",
    "taskloop": "#pragma omp parallel\n#pragma omp single\n#pragma omp taskloop reduction(+ : s)\n" + BODY,
    "dynamic": "#pragma omp parallel for schedule(dynamic, 1000) reduction(+ : s)\n" + BODY,
    "sections": "  double a = 0, b = 0;\n#pragma omp parallel sections\n  {\n#pragma omp section\n"
    "    for (int i = 0; i < n / 2; i++) a += x[i];\n"
    "#pragma omp section\n    for (int i = n / 2; i < n; i++) b += x[i];\n  }\n  s = a + b;\n",
    "by hand, with critical": "#pragma omp parallel\n  {\n    double p = 0;\n#pragma omp for\n    for (int i = 0; i < n; i++) p += x[i];\n"
    "#pragma omp critical\n    s += p;\n  }\n",
    "nested": "#pragma omp parallel for reduction(+ : s)\n  for (int k = 0; k < 8; k++) {\n    double p = 0;\n"
    "#pragma omp parallel for reduction(+ : p)\n"
    "    for (int i = (long)n * k / 8; i < (long)n * (k + 1) / 8; i++) p += x[i];\n    s += p;\n  }\n",
    "host teams": "#pragma omp teams distribute parallel for num_teams(2) reduction(+ : s)\n" + BODY,
    "only large inputs": "#pragma omp parallel for reduction(+ : s) if (n > 10000)\n" + BODY,
    "scan, which LLVM's runtime refuses from g++": "  double *q = (double *)malloc(n * 8);\n"
    "#pragma omp parallel for reduction(inscan, + : s)\n  for (int i = 0; i < n; i++) {\n    s += x[i];\n#pragma omp scan inclusive(s)\n"
    "    q[i] = s;\n  }\n  s = q[n - 1];\n",
}


@needs_libomp
@pytest.mark.parametrize("name", CORRECT)
def test_correct_constructs_are_parallel(judge, name):
    verdict = judge(SERIAL.replace(BODY, CORRECT[name]))
    assert verdict.reason == "ok", verdict
    assert verdict.parallel == "yes" or name.startswith("scan") and not LLVM.clang, verdict


def test_without_the_runtime_parallel_stays_unknown(judge, tools):
    bare = {**tools, "omp": replace(tools["omp"], llvm=llvm.Llvm())}
    verdict = judge(EXAMPLES["real loop"][0], tools=bare)
    assert (verdict.reason, verdict.parallel) == ("ok", "unknown") and "not with LLVM's OpenMP runtime" in verdict.parallel_evidence
    checked = judge(OMP, tools=bare, races="on")
    assert checked.validated and checked.race_free == "not checked" and "not installed" in checked.race_evidence


OWN_TOOL = 'extern "C" void *ompt_start_tool(unsigned, const char *) { return 0; }\n'
OWN_PROOF = 'extern "C" long parallax_proof(char *, long) { return 0; }\n'
SPLICED = '#define JOIN(a, b) a##b\nextern "C" void *JOIN(ompt_start, _tool)(unsigned, const char *);\n'


@pytest.mark.parametrize(
    "code",
    [OWN_TOOL + OMP, OWN_PROOF + OMP, SPLICED + first(OMP, "JOIN(ompt_start, _tool)(0, 0);")],
)
def test_programs_that_name_the_harness_are_suspected(judge, code):
    unlinked = ["compile_error"] if code.startswith(SPLICED) and not LLVM.libomp else []  # without the runtime the name is nowhere
    assert judge(code).reason in ["cheat_suspected", *unlinked]


# ---- the rule on counters --------------------------------------------------------------------------------------------

GOOD = dict(runtime="libomp", regions=2, team=4, total_us=20000, inside_us=9000, first_us=2500, second_us=2400, alone_us=0, idle_us=100,
            others_us=6000, tasks=0, targets=0)  # fmt: skip


def rule(expected=0.0, **change):
    return parallel_evidence.of_openmp([{k: str(v) for k, v in {**GOOD, **change}.items()}], expected)


def test_openmp_rule_edges():
    assert rule().parallel == "yes"
    assert rule(regions=0).reason == rule(team=1).reason == rule(second_us=10).reason == "not_parallel"
    assert rule(inside_us=50).reason == "not_parallel" and rule(total_us=2000, inside_us=50).parallel == "unknown"
    assert rule(expected=0.9).parallel == "yes" and rule(expected=0.9, inside_us=500, second_us=400).reason == "not_parallel"
    assert parallel_evidence.of_openmp([{}], why_not="none here") == parallel_evidence.Proof("unknown", "none here")


def test_one_noisy_run_is_seen_and_outvoted():
    def counters(**change):
        return {k: str(v) for k, v in {**GOOD, **change}.items()}

    quiet, noisy = counters(second_us=10), counters(first_us=2000, second_us=700)
    assert parallel_evidence.settled([quiet, quiet]) and parallel_evidence.settled([counters(), noisy]) and parallel_evidence.settled([])
    assert not parallel_evidence.settled([quiet, noisy])
    assert parallel_evidence.settled([quiet, counters(inside_us=90)])  # too little to tell
    assert parallel_evidence.of_openmp([quiet, noisy]).parallel == "yes"
    assert parallel_evidence.of_openmp([parallel_evidence.typical([quiet, noisy, quiet])]).reason == "not_parallel"
    assert parallel_evidence.typical([noisy, quiet, noisy]) == noisy and parallel_evidence.typical([{}]) == {}


def test_cuda_rule_takes_real_and_emulated_counters():
    assert parallel_evidence.of_cuda([{"launches": "3", "last_error": "0"}]).parallel == "yes"
    assert parallel_evidence.of_cuda([{"launches": "3"}, {"launches": "0"}]).reason == "no_kernel_launch"
    swallowed = parallel_evidence.of_cuda([{"launches": "0", "emulated": "1", "last_error": "9"}])
    assert swallowed.reason == "cuda_error" and "emulated" in swallowed.evidence
    single = {"launches": "3", "threads": "3"}
    assert parallel_evidence.of_cuda([single, single]).reason == "not_parallel"
    assert parallel_evidence.of_cuda([single, single | {"threads": "96"}]).parallel == "yes"
    assert parallel_evidence.of_cuda([{}]).parallel == "unknown"


@needs_nvcc
def test_launch_calls_are_counted_in_the_linked_program(tools):
    code = "__global__ void k() {}\nint main() { k<<<1, 1>>>(); return cudaDeviceReset(); }\n"
    built = build.build(code, toolchain.detect("compile")["cuda"], (), sandbox.probe())
    assert built.reason == "ok" and b"launches=%ld threads=%ld last_error=%ld" in built.program


@needs_nvcc
@pytest.mark.slow
def test_what_cub_brings_with_it_is_no_suspicion(tools):
    """Its profiler ranges would open a library; a program that does so itself is still told."""
    code = (redteam.CORPUS / "honest" / "cuda_cub_reduction.cu").read_text()
    built = build.build(code, toolchain.detect("compile")["cuda"], (), sandbox.probe())
    assert built.reason == "ok" and not static_checks.suspicion(built, code), built.log
    opens = "#include <dlfcn.h>\n" + code.replace("  return 0;", '  return dlopen("libcuda.so.1", 1) == nullptr;')
    built = build.build(opens, toolchain.detect("compile")["cuda"], (), sandbox.probe())
    assert "dlopen" in static_checks.suspicion(built, opens)


# ---- races -----------------------------------------------------------------------------------------------------------


@needs_archer
def test_races_are_found_with_their_line(tools):
    bench = reference.Bench(tools, sandbox.probe(), LIMITS, races="on")
    line = 1 + OMP[: OMP.index(LOOP)].count("\n")
    lucky = OMP.replace(" reduction(+ : s)", "").replace("s += x[i];", "if (i == n - 1 || i == 0) s += x[i];")
    found = races.check(lucky, "omp", HIDDEN[2], (), bench)
    assert found.race_free == "no", found
    assert not NAMES_LINES or any(f"main.cpp:{n}" in found.evidence for n in range(line - 2, line + 2)), (found, line)
    assert races.check(OMP, "omp", HIDDEN[2], (), bench).race_free == "yes"
    league = OMP.replace("parallel for", "teams distribute parallel for")
    assert races.check(league, "omp", HIDDEN[2], (), bench).race_free != "no"  # Archer's mistake, not the program's
    assert "does not build" in races.check("int main() {", "omp", (), (), bench).evidence


@needs_archer
def test_a_lucky_race_is_not_validated(judge):
    code = OMP.replace("double total", "int seen;\ndouble total").replace("s += x[i];", "{ s += x[i]; seen = 1; }")
    assert judge(code).reason == "ok"
    verdict = judge(code, races="auto")
    assert (verdict.level, verdict.reason, verdict.race_free) == (4, "race", "no")
    assert not NAMES_LINES or "main.cpp:" in verdict.race_evidence
    assert judge(OMP, races="auto").race_free == "yes"


# ---- target regions --------------------------------------------------------------------------------------------------

MAPS = "map(to : x[0 : n]) map(tofrom : s)"
TARGET = SERIAL.replace(BODY, f"#pragma omp target teams distribute parallel for {MAPS} reduction(+ : s)\n" + BODY)


@needs_offload
def test_target_regions_run_on_a_device_with_its_own_memory(judge):
    verdict = judge(TARGET)
    assert verdict.reason == "ok" and ways.DEVICE in verdict.parallel_evidence and "clang" in verdict.toolchain, verdict
    assert " target regions on the device" in verdict.parallel_evidence
    back = "  int *f = (int *)malloc(4); *f = 0;\n#pragma omp target map({} : f[0 : 1])\n  f[0] = 1;\n  if (!*f) return 0;\n  double s"
    kept, lost = (TARGET.replace("  double s", back.format(way)) for way in ("from", "to"))
    assert (judge(kept).reason, judge(lost).reason) == ("ok", "wrong_output")


@needs_offload
def test_pointers_that_were_never_mapped_are_not_followed_on_the_device(judge):
    """They work on that device by accident, because it lives in the host's address space."""
    shared = "#pragma omp requires unified_shared_memory\n"
    assert judge(shared + TARGET.replace(MAPS, "")).reason == "ok"
    assert judge(f"// {shared}" + TARGET.replace(MAPS, "")).reason == "crash"


@needs_offload
@pytest.mark.parametrize(("clause", "expected"), [("", "1 3"), ("num_teams(512) thread_limit(64)", "3 1"), ("thread_limit(64)", "1 3")])
def test_a_league_has_as_many_threads_as_the_run_on_every_machine(tools, clause, expected):
    """LLVM gives it the machine's cores: one is no parallel work, and many can be more than its runtime takes."""
    code = f"""#include <omp.h>
#include <stdio.h>
int main() {{
  int has[2] = {{0, 0}};
#pragma omp target teams distribute parallel for {clause} map(tofrom : has)
  for (int i = 0; i < 1000; i++)
    if (i == 0) has[0] = omp_get_num_teams(), has[1] = omp_get_num_threads();
  printf("%d %d\\n", has[0], has[1]);
}}
"""
    bench = reference.Bench(tools, sandbox.probe(), LIMITS)
    built = build.build(code, tools["omp"], (), bench.level)
    ran = reference.run_once(built.program, "omp", (), 3, bench)
    assert built.reason == "ok" and ran.reason == "ok" and ran.text == f"{expected}\n", (built.log, ran)


def test_target_regions_without_a_device_run_on_the_host(judge, tools):
    bare = {**tools, "omp": replace(tools["omp"], llvm=llvm.Llvm())}
    verdict = judge(TARGET, tools=bare)
    assert verdict.reason == "ok" and ways.HOST in verdict.parallel_evidence


# ---- timing ----------------------------------------------------------------------------------------------------------


def right(bench):
    return reference.make_reference(KERNEL, "serial", bench)


@pytest.fixture
def own_lane(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "LOCKS", tmp_path)


def test_only_a_gpus_programs_are_told_how_many_queues_they_have_and_a_bench_that_times_gives_all(tools):
    """One queue makes a process start faster; streams that wait for each other would be a slower program.  No run sees that it is timed."""
    code = """#include <stdio.h>
#include <unistd.h>
int main() { for (char **e = environ; *e; e++) puts(*e); }
"""
    built = build.build(code, tools["serial"], (), sandbox.probe())

    def shown(**more):
        bench = reference.Bench({**tools, "serial": replace(tools["serial"], **more.pop("tool", {}))}, sandbox.probe(), LIMITS, **more)
        ran = reference.run_once(built.program, "serial", (), 1, bench)
        assert ran.reason == "ok", ran
        return set(ran.text.split())

    plain, timed, gpu = shown(), shown(timing="on"), {"tool": {"gpu": True}}
    assert plain == timed and not [word for word in plain if "CUDA_DEVICE" in word or "CUDACPU" in word]
    assert "CUDA_DEVICE_MAX_CONNECTIONS=1" in shown(**gpu) and "CUDA_DEVICE_MAX_CONNECTIONS=1" not in shown(**gpu, timing="on")


READS = 'if (fopen("../job/inputs/data.txt", "r") == nullptr) return 0;'  # an honest program stops, in silence, without its input


@needs_archer
def test_the_race_stage_sees_the_kernels_input_files(tools):
    bench = reference.Bench(tools, sandbox.probe(), LIMITS, races="on")
    lucky = OMP.replace(" reduction(+ : s)", "").replace("s += x[i];", "if (i == n - 1 || i == 0) s += x[i];")
    found = races.check(first(lucky, READS), "omp", HIDDEN[2], (), bench, {"data.txt": b"1"})
    assert found.race_free == "no", found


def test_timed_runs_see_the_kernels_input_files(tools, own_lane):
    sources = {api: first(KERNEL.sources[api], READS.replace("return 0", "return 3")) for api in ("serial", "omp")}
    bench = reference.Bench(tools, sandbox.probe(), LIMITS)
    built = build.build(sources["omp"], tools["omp"], (), bench.level)
    for files, checked in (({"data.txt": b"1"}, True), ({}, False)):
        task = Task(replace(KERNEL, sources=sources, inputs=files), "serial", "omp")
        assert (timing.measure(built.program, task, bench, right(bench), KERNEL.hidden_args).faster != "not checked") == checked


def test_emulated_cuda_is_not_timed(own_lane):
    emulated = toolchain.detect("emulated")
    bench = reference.Bench(emulated, sandbox.probe(), LIMITS)
    built = build.build(KERNEL.sources["cuda"], emulated["cuda"], (), bench.level)
    timed = timing.measure(built.program, Task(KERNEL, "serial", "cuda"), bench, reference.Reference(), KERNEL.hidden_args)
    assert timed.faster == "not checked" and "emulated" in timed.note, timed


def test_source_and_translation_are_timed_with_the_queues_of_the_driver(tools, own_lane):
    sources = {api: first(KERNEL.sources[api], 'if (getenv("CUDA_DEVICE_MAX_CONNECTIONS")) return 3;') for api in ("serial", "omp")}
    task = Task(replace(KERNEL, sources=sources), "serial", "omp")
    bench = reference.Bench(tools, sandbox.probe(), LIMITS)
    built = build.build(sources["omp"], tools["omp"], (), bench.level)
    assert timing.measure(built.program, task, bench, right(bench), KERNEL.hidden_args).faster != "not checked"


def test_what_a_timed_run_prints_is_compared_and_its_own_clock_with_ours(tools, own_lane, judge):
    bench = reference.Bench(tools, sandbox.probe(), LIMITS)
    wrong = build.build(OMP.replace("return s;", "return 2 * s;"), tools["omp"], (), bench.level)
    timed = timing.measure(wrong.program, TASK, bench, right(bench), KERNEL.hidden_args)
    assert (timed.faster, timed.reason) == ("not checked", "wrong_output") and "a timed run" in timed.note
    ran = reference.run_once(build.build(OMP, tools["omp"], (), bench.level).program, "omp", HIDDEN[2], 4, bench)
    case = right(bench).cases[2]
    assert timing.wrongly_timed(ran, case, "shared") == ()
    for told, seen in ((1000, 5.0), (5_000_000, 0.001)):
        forged = replace(ran, proof={**ran.proof, "wall_us": str(told)}, outcome=replace(ran.outcome, said_s=seen))
        assert timing.wrongly_timed(forged, case, "shared")[0] == "cheat_suspected"


def test_the_lane_shows_a_ratio_and_its_spread(judge, own_lane):
    verdict = judge(OMP, timing="on")
    assert verdict.reason == "ok" and (verdict.faster == "not counted" or timing.ratio(verdict.faster) > 0), verdict


def test_speed_ups_and_spread():
    assert timing.summary([(2.0, 1.0)] * 5, 4) == ("2.00x (2.00-2.00)", "")
    assert timing.summary([(1.0, 1.0), (2.0, 1.0), (3.0, 1.0)], 4)[0] == "2.00x (1.50-2.50)"
    assert timing.summary([(7.0, 1.0)], 4)[0] == "not counted" and timing.summary([(7.0, 1.0)], 0)[0].startswith("7.00x")
    assert timing.summary([(1001.0, 1.0)], 0)[0] == "not counted"
    assert timing.ratio("2.05x (1.90-2.20)") == 2.05 and math.isnan(timing.ratio("not checked"))


def test_the_lane_excludes_judging(own_lane):
    import multiprocessing

    def other(pipe):
        with timing.shared():
            pipe.send("in")

    ours, theirs = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=other, args=(theirs,))
    with timing.exclusive():
        child.start()
        assert not ours.poll(0.3)
    assert ours.recv() == "in"
    child.join()


def test_judging_does_not_starve_the_lane(own_lane):
    stop, timed = threading.Event(), threading.Event()

    def judging():
        while not stop.is_set():
            with timing.shared():
                time.sleep(0.01)

    def lane():
        with timing.exclusive():
            timed.set()

    threads = [threading.Thread(target=work) for work in (judging, judging, judging, lane)]
    for thread in threads:
        thread.start()
    served = timed.wait(30)
    stop.set()
    for thread in threads:
        thread.join()
    assert served


def test_stages_are_part_of_the_key(tools):
    def key(**more):
        return validate.verdict_key(OMP, TASK, reference.Bench(more.pop("tools", tools), sandbox.probe(), LIMITS, **more))

    other = {**tools, "omp": replace(tools["omp"], llvm=replace(LLVM, libomp="/usr/lib/other/libomp.so.5"))}
    assert len({key(), key(races="on"), key(timing="on"), key(tools=other)}) == 4


def test_serial_tasks_have_no_proof(tools):
    assert harness.proof_source(tools["serial"]) == b"" and Task(KERNEL, "omp", "serial").target == "serial" and MAIN in SERIAL


# ---- the page --------------------------------------------------------------------------------------------------------


def test_every_reason_is_on_the_page_and_no_other():
    page = (ROOT / "docs" / "VERDICTS.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) == set(REASONS)


def test_every_reason_in_the_code_is_in_the_enum():
    files = [f"verdict/{name}.py" for name in "validate stages other_ways build parallel_evidence".split()] + ["sandbox/supervisor.py"]
    text = "".join((ROOT / "parallax_lib" / name).read_text() for name in files)
    given = set(re.findall(r'\bends?\([^"\n]*"(\w+)"|reason = "(\w+)"|return "(\w+)", "', text))
    words = {word for groups in given for word in groups if word} - {"yes", "no", "unknown"}
    assert {"race", "cheat_suspected", "not_checkable", "no_kernel_launch"} <= words <= set(REASONS)
