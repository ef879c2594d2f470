"""Evidence that a judged program cannot write: threads seen from outside, work that is counted, inputs that are drawn, text that ran."""

import subprocess
from dataclasses import replace

import pytest
from programs import HIDDEN, KERNEL, OMP, SERIAL, TASK, UNISTD, first, sandboxed

from parallax_lib.core.storage import Journal
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.sandbox.thread_times import Threads
from parallax_lib.tasks.task import SEEDS, Kernel, Task, drawn
from parallax_lib.verdict import bench as bench_module
from parallax_lib.verdict import build, llvm, own_text, parallel_evidence, reference, stages, timing, toolchain, validate, work_share

pytestmark = pytest.mark.usefixtures("references_once", "unadmitted")

needs_libomp = pytest.mark.skipif(not llvm.detect().libomp, reason="LLVM's OpenMP runtime (libomp) is not installed")
LIMITS = Limits(cpu_s=4, memory_mb=512)
BODY = "  for (int i = 0; i < n; i++) s += x[i];\n"


@pytest.fixture(scope="module")
def bench():
    return reference.Bench(toolchain.detect(), sandbox.probe(), LIMITS)


def judge(code, **more):
    return validate.judge(code, TASK, toolchain.detect(), sandbox.probe(), LIMITS, **more)


# ---- threads, from outside ---------------------------------------------------------------------------------------------


@sandboxed
@needs_libomp
def test_a_runs_threads_are_read_from_outside_and_agree_with_its_own_counters(bench):
    for api, n, others in (("serial", 4, 0), ("omp", 1, 0), ("omp", 4, 3)):
        built = build.build(KERNEL.sources[api], bench.toolchains[api], (), bench.level)
        ran = reference.run_once(built.program, api, HIDDEN[0], n, bench)
        threads = ran.outcome.threads
        assert ran.reason == "ok" and len(threads.others) == others and threads.first > 0, ran
        assert ran.outcome.said_s > 0 and abs(threads.total - threads.first - sum(threads.others)) < 0.05
        assert api == "serial" or parallel_evidence.contradiction(ran.proof, threads) == ""


@sandboxed
@needs_libomp
@pytest.mark.parametrize("wrong, reason", [((0,), "ok"), ((0, 1), "cheat_suspected"), ((0, 2), "ok")])
def test_a_full_machine_that_charges_one_run_with_other_work_is_no_cheat(monkeypatch, wrong, reason):
    """Runs whose threads seem to have worked for a second more than their counters say, by their number."""
    looks = iter(range(100))
    plain = parallel_evidence.contradiction

    def outside(proof, threads):
        return plain(proof, Threads(threads.total + 1, threads.others) if next(looks) in wrong else threads)

    monkeypatch.setattr(parallel_evidence, "contradiction", outside)
    verdict = judge(OMP)
    assert verdict.reason == reason and next(looks) >= 2, verdict
    assert reason == "ok" or "twice: counters say" in verdict.log


@sandboxed
@needs_libomp
def test_a_run_that_is_made_again_has_to_print_what_is_right(monkeypatch):
    """Else a program that tells its second run from its first would work in parallel there alone, on whatever it likes."""
    plain, run_once, looked = parallel_evidence.contradiction, stages.run_once, []

    def outside(proof, threads):
        looked.append(proof)
        return "seen otherwise" if len(looked) == 1 else plain(proof, threads)

    def other(*given):
        ran = run_once(*given)
        return replace(ran, text=ran.text.translate(str.maketrans("0123456789", "1234567890"))) if looked else ran

    monkeypatch.setattr(parallel_evidence, "contradiction", outside)
    monkeypatch.setattr(stages, "run_once", other)
    verdict = judge(OMP)
    assert verdict.reason in ("nondeterministic", "wrong_output") and len(looked) >= 2, verdict


@sandboxed
@needs_libomp
def test_further_runs_of_unsettled_work_have_to_print_what_is_right(monkeypatch):
    unsettled, run_once = [], stages.run_once

    def other(*given):
        ran = run_once(*given)
        return replace(ran, text=ran.text.translate(str.maketrans("0123456789", "1234567890"))) if unsettled else ran

    monkeypatch.setattr(parallel_evidence, "settled", lambda runs: unsettled.append(runs))
    monkeypatch.setattr(stages, "run_once", other)
    assert judge(OMP).reason in ("nondeterministic", "wrong_output") and unsettled


@sandboxed
def test_a_program_that_ends_without_the_markers_stop_is_incomplete(bench):
    """Its text and its nonce are right; nothing was seen of its threads."""
    early = UNISTD + OMP.replace("return 0;", "fflush(0); _exit(0);")
    assert judge(early).reason == "incomplete"


@sandboxed
def test_a_program_may_close_its_output_at_the_end():
    for last in ("fclose(stdout);", "fflush(0); close(1);", "fclose(stdout); fclose(stderr); fclose(stdin);"):
        verdict = judge(UNISTD + OMP.replace("return 0;", f"{last} return 0;"))
        assert verdict.validated, verdict
    assert judge(UNISTD + first(OMP, "fclose(stdout);")).reason == "wrong_output"  # before it printed anything


COUNTED = dict.fromkeys(parallel_evidence.WORDS, "0") | {"runtime": "libomp", "total_us": "40000", "others_us": "20000"}


def test_counters_that_the_threads_do_not_bear_out_are_told():
    seen = Threads(0.020, (0.010, 0.008), 0.002)
    for threads in (seen, None, Threads()):
        assert parallel_evidence.contradiction(COUNTED, threads) == ""
    assert "not the harness's own" in parallel_evidence.contradiction({**COUNTED, "runtime": "mine"}, seen)
    assert "not the harness's own" in parallel_evidence.contradiction({k: v for k, v in COUNTED.items() if k != "others_us"}, seen)
    assert "all threads used 90000 us" in parallel_evidence.contradiction({**COUNTED, "total_us": "90000"}, seen)
    assert "other than the first" in parallel_evidence.contradiction(COUNTED, Threads(0.040, (0.001,)))
    assert "all threads used 40000 us" in parallel_evidence.contradiction(COUNTED, Threads(1.0, (0.02,)))


# ---- work ----------------------------------------------------------------------------------------------------------------


def work_of(bench, code, threads=work_share.THREADS):
    made = work_share.count(code, bench.toolchains["omp"], (), reference.counting(bench), HIDDEN[::2], {}, threads)
    assert not made.why_not, made
    return made.counts


FLAG = "#include <omp.h>\n#include <thread>\nstatic int seen[64]; static volatile double sink[64];\n"
PIECE = "for (int i = (long)n * k / 16; i < (long)n * (k + 1) / 16; i++) s += x[i];"
PIECES = f"for (int k = 0; k < 16; k++) std::thread([&] {{ {PIECE} }}).join();\n"
TICKET = "  int ticket = 0;\n#pragma omp parallel\n  {\n    int mine;\n#pragma omp atomic capture\n    mine = ticket++;\n"
TICKET += "    if (mine == 0) {\n"
ONE_DOES_ALL = {
    "computed, then copied": BODY + "  static double copies[64];\n#pragma omp parallel for\n  for (int i = 0; i < 64; i++) copies[i] = s;\n"
    "  s = copies[7];\n",
    "a ticket": TICKET + BODY + "    } else { double v = 1; for (int i = 0; i < n; i++) v = v * 0.5 + 1; sink[mine] = v; }\n  }\n",
    "by turns": "#pragma omp parallel\n  for (int k = 0; k < 16; k++)\n#pragma omp single\n"
    "    for (int i = (long)n * k / 16; i < (long)n * (k + 1) / 16; i++) s += x[i];\n",
    "each does all": "  double p = 0;\n#pragma omp parallel firstprivate(s)\n  {\n" + BODY
    + "#pragma omp single\n    p = s;\n  }\n  s = p;\n",
    "a ticket beside more blocks": TICKET + BODY
    + "    } else { double v = 1; for (int i = 0; i < 3 * n; i++) v = v * 0.5 + 1; sink[mine] = v; }\n  }\n",
    "threads of its own": PIECES,
    "threads of its own in a region": "#pragma omp parallel\n  if (omp_get_thread_num() == 0) " + PIECES,
    "barriers of a team of one": "#pragma omp parallel\n#pragma omp single\n#pragma omp parallel num_threads(1)\n"
    f"  for (int k = 0; k < 16; k++) {{\n    {PIECE}\n#pragma omp barrier\n  }}\n",
    "more barriers than places for phases": "#pragma omp parallel\n  for (int k = 0; k < 6000; k++) {\n"
    f"    if (omp_get_thread_num() == k % 2) {PIECE.replace('16', '6000')}\n#pragma omp barrier\n  }}\n",
}
SHARED = {
    "dynamic": "#pragma omp parallel for schedule(dynamic, 64) reduction(+ : s)\n" + BODY,
    "tasks": "#pragma omp parallel\n#pragma omp single\n#pragma omp taskloop reduction(+ : s)\n" + BODY,
    "half of it": "  for (int i = 0; i < n / 2; i++) s += x[i];\n#pragma omp parallel for reduction(+ : s)\n"
    "  for (int i = n / 2; i < n; i++) s += x[i];\n",
    "beside tables": "  static double t[9000000];\n  for (int i = 1; i < 9000000; i++) t[i] = t[i - 1] + i % 7;\n  s += t[0];\n"
    "#pragma omp parallel for reduction(+ : s)\n" + BODY,
}  # fmt: skip


@sandboxed
def test_one_thread_that_does_what_the_reference_shares_is_told_by_counts(bench):
    pair = work_share.of_kernel(KERNEL, bench.toolchains["omp"], reference.counting(bench), HIDDEN[::-1])
    assert not pair.why_not and pair.inputs == HIDDEN[::2]
    for name, body in (ONE_DOES_ALL | SHARED).items():
        told, said = work_share.one_does_it_all(work_of(bench, FLAG + SERIAL.replace(BODY, body)), pair)
        assert told == (name in ONE_DOES_ALL), (name, said)
    assert not work_share.one_does_it_all(work_of(bench, OMP), pair)[0]


@sandboxed
def test_counts_are_the_same_in_every_run_and_no_attribute_escapes_them(bench):
    hidden = SERIAL.replace("double total", '__attribute__((no_sanitize("kernel-address"), no_sanitize_coverage)) double total')
    assert work_of(bench, SERIAL, 1) == work_of(bench, SERIAL, 1) == work_of(bench, hidden, 1)
    named = SERIAL.replace("double total", "__attribute__((no_address_safety_analysis)) double total")
    c_alone = SERIAL.replace("(double *)malloc", "malloc")  # no C++
    assert work_of(bench, named, 1) == work_of(bench, SERIAL, 1) == work_of(bench, c_alone, 1)
    total = work_of(bench, SERIAL, 1)[0]
    assert 8 * int(HIDDEN[0][0]) <= total["reads"] <= 16 * int(HIDDEN[0][0]) and total["blocks"] >= 2 * int(HIDDEN[0][0])


def test_only_a_program_that_every_count_shows_on_one_thread_is_refused():
    """Work that is handed out in pieces can fall to one thread by chance."""
    few, most, all_of_it = ({"blocks": n, "reads": 9 * n, "writes": 0} for n in (1_000_000, 2_000_000, 8_000_000))
    pair = work_share.Pair((("9",),), (all_of_it,), (few,))
    for counts, refused in (((all_of_it, all_of_it, most), False), ((most,), False), ((all_of_it,) * 3, True)):
        left = [work_share.Work((count,), cpu_s=1.0) for count in counts]
        cost, alone, _ = work_share.compared(lambda left=left: left.pop(0), pair)
        assert (alone, left, cost.cpu_s) == (refused, [], len(counts))
    assert work_share.compared(lambda: work_share.Work(why_not="no build"), pair)[1:] == (False, "work not compared: no build")


def test_one_count_of_the_serial_program_that_is_too_large_lets_nothing_pass(bench, monkeypatch):
    """The release gate once gave three cheats of one reference 0.6 of their part, as if this count had been 1.6 times too large."""
    inputs, found = (("9",), ("1",)), []

    def count(code, toolchain, flags, where, which, files, threads, times):
        large = 1.6 if threads == 1 and not found else 1  # the first count alone
        found.append(threads)
        most = {1: 9_000_000, work_share.THREADS: 2_000_000}[threads]
        sizes = [int(large * most) if args == ("9",) else 9_000 for args in which]
        return work_share.Work(tuple(dict.fromkeys(work_share.MEASURES, size) for size in sizes))

    monkeypatch.setattr(work_share, "count", count)
    pair = work_share.of_kernel(KERNEL, bench.toolchains["omp"], reference.counting(bench), inputs[::-1])
    assert pair.inputs == inputs and pair.serial[0] == dict.fromkeys(work_share.MEASURES, 9_000_000) and found.count(1) == 2
    one_thread = dict.fromkeys(work_share.MEASURES, 9_000_000), dict.fromkeys(work_share.MEASURES, 9_000)
    assert work_share.one_does_it_all(one_thread, pair)[0]


def test_the_rule_on_counts():
    """Against the sentence in the docstring: a part of what is shared, growth only, bytes before blocks."""
    def of(blocks, reads, writes=0, **device):
        return {"blocks": blocks, "reads": reads, "writes": writes, **device}

    small = of(1000, 8000)
    pair = work_share.Pair((("9",), ("1",)), (of(9_000_000, 80_000_000), small), (of(2_000_000, 20_000_000), small))
    cases = {(2_000_000, 20_000_000): False, (9_000_000, 80_000_000): True, (2_000_000, 80_000_000): True, (9_000_000, 50_000_000): False}
    for (blocks, reads), told in cases.items():
        assert work_share.one_does_it_all((of(blocks, reads), small), pair)[0] == told, (blocks, reads)
    tables = (of(99_000_000, 120_000_000), of(97_001_000, 100_008_000))  # the same cost on every input
    assert not work_share.one_does_it_all(tables, pair)[0]
    on_device = (of(2_000_000, 20_000_000, device_blocks=7_000_000, device_reads=60_000_000), small)
    assert work_share.one_does_it_all(on_device, pair)[0]
    nothing = replace(pair, shared=pair.serial)
    assert not work_share.one_does_it_all((of(9_000_000, 80_000_000), small), nothing)[0]
    registers = replace(pair, serial=(of(9_000_000, 0), of(1000, 0)), shared=(of(2_000_000, 0), of(1000, 0)))
    assert work_share.one_does_it_all((of(9_000_000, 0), of(1000, 0)), registers)[0]
    few = replace(pair, serial=(of(9_000_000, 0, 900_000), of(1000, 0)), shared=(of(2_000_000, 0, 200_000), of(1000, 0)))
    assert work_share.one_does_it_all((of(9_000_000, 0, 200_000), of(1000, 0)), few)[0]  # its results kept in registers


# ---- inputs --------------------------------------------------------------------------------------------------------------


def test_inputs_are_drawn_by_a_seed_near_those_that_are_written():
    kernel = replace(KERNEL, hidden_args=(("1200007", "7"), ("777", "29"), ("6", "31")), varies=("size", "seed"))
    seen = set()
    for draw in range(1, 60):
        made = drawn(kernel, draw)
        assert made == drawn(kernel, draw) and replace(made, hidden_args=()) == replace(kernel, hidden_args=())
        for (size, seed), (written, _) in zip(made.hidden_args, kernel.hidden_args, strict=True):
            assert int(written) * 63 // 64 - 1 <= int(size) <= int(written) and int(size) % 2 == int(written) % 2 and int(seed) in SEEDS
        seen.add(made.hidden_args)
    assert len(seen) == 59 and drawn(kernel, 0) is kernel and drawn(KERNEL, 5) is KERNEL


@sandboxed
def test_a_journal_keeps_its_draw_and_rows_name_it(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    assert bench_module.draw_of(journal) == bench_module.draw_of(journal) != bench_module.draw_of(None) != bench_module.draw_of(None)
    kernel = replace(KERNEL, varies=("size", "seed"))
    bench = toolchain.detect(), sandbox.probe(), LIMITS, journal
    verdict = validate.judge(OMP, Task(kernel, "serial", "omp"), *bench)
    assert verdict.validated and verdict.checked.endswith(f"; inputs drawn by seed {bench_module.draw_of(journal)}")
    table = OMP.replace("return s;", "return n == 2000000 || n == 1500001 || n == 777 ? s : 0;")  # right on the inputs that are written
    verdicts = [validate.judge(table, Task(kernel, "serial", "omp"), *bench[:3], draw=draw).reason for draw in (0, 1)]
    assert verdicts == ["ok", "wrong_output"]


# ---- the text that ran ---------------------------------------------------------------------------------------------------

HIDES = """#include <stdio.h>
#line 7 "/usr/include/stdio.h"
int hidden_by_line;
#ifdef __clang__
int clang_only;
#endif
#define TWICE(x) x x
int main() { TWICE(hidden_by_line++;) }
"""


def test_line_directives_hide_nothing_and_headers_are_not_the_programs_own(tmp_path):
    (tmp_path / "main.cpp").write_text(HIDES)
    seen = subprocess.run(["g++", "-E", "-dI", "main.cpp"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    lines, files = own_text.own_lines(seen)
    own = "\n".join(line for _, line in lines)
    assert "int hidden_by_line;" in own and "hidden_by_line++; hidden_by_line++;" in own
    assert "clang_only" not in own and "printf" not in own
    assert any(name.endswith("stdio.h") for name in files)
    (tmp_path / "again.cpp").write_text(own_text.again(seen, "main.cpp"))
    built = subprocess.run(["g++", "-fsyntax-only", "again.cpp"], cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert own_text.own_lines("plain\ntext") == ([(1, "plain"), (2, "text")], set())


@sandboxed
def test_line_markers_in_a_program_are_refused():
    for marker in ('# 1 "/usr/include/stdio.h" 1 3', '%: 9 "x.h"', '#/**/7 "x.h" 1'):
        assert judge(f"{marker}\n{OMP}").reason == "cheat_suspected", marker


@sandboxed
def test_pages_that_can_be_written_and_executed_end_a_run():
    both = "#include <sys/mman.h>\n" + first(OMP, "mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);")
    assert judge(both).reason == "crash"
    assert judge(both.replace(" | PROT_EXEC", "")).validated and judge(both.replace(" | PROT_WRITE", "")).validated
    section = '__attribute__((section(".hot,\\"awx\\",@progbits#"))) unsigned char code[16];\n'
    assert judge(section + OMP).reason == "cheat_suspected"


# ---- target regions beside regions of the host -----------------------------------------------------------------------------


@sandboxed
def test_a_check_in_a_region_of_the_host_does_not_make_target_regions_idle():
    """With all regions off both would stay at their initial data, and the program would pass its own check."""
    text = """#include <cstdio>
#include <cstdlib>
#include <vector>
int main(int argc, char **argv) {
  int n = atoi(argv[1]);
  std::vector<double> a(n), b(n);
  double *p = a.data(), *q = b.data();
TARGET
  for (int i = 0; i < n; i++) p[i] = 0.5 * i;
HOST
  for (int i = 0; i < n; i++) q[i] = 0.5 * i;
  bool wrong = false;
  for (int i = 0; i < n; i++) wrong = wrong || p[i] != q[i];
  puts(wrong ? "FAIL" : "PASS");
}
"""
    host, target = "#pragma omp parallel for", "#pragma omp target teams distribute parallel for map(from : p[0 : n])"
    sources = {"serial": text.replace("TARGET", "").replace("HOST", ""), "omp": text.replace("TARGET", target).replace("HOST", host)}
    kernel = Kernel("halves", "halves", "hand", sources, (), (("300000",),), oracle="own", strength="weak")
    task = Task(kernel, "serial", "omp")
    verdicts = [validate.judge(code, task, toolchain.detect(), sandbox.probe(), LIMITS) for code in (sources["omp"], idle(sources["omp"]))]
    assert verdicts[0].validated, verdicts[0]
    assert verdicts[1].reason == "not_parallel", verdicts[1]


def idle(code):
    """Its target region computes what nobody reads."""
    unread = code.replace("map(from : p[0 : n])", "map(alloc : p[0 : n])")
    return unread.replace("bool wrong", "for (int i = 0; i < n; i++) p[i] = 0.5 * i;\n  bool wrong")


# ---- builds --------------------------------------------------------------------------------------------------------------


@sandboxed
def test_a_task_builds_each_program_once_for_each_toolchain(monkeypatch, tmp_path):
    made, real = [], build._build
    monkeypatch.setattr(build, "_build", lambda code, way, tool, *more: made.append((code, way, tool)) or real(code, way, tool, *more))
    monkeypatch.setattr(timing, "LOCKS", tmp_path)
    monkeypatch.setattr(validate, "make_reference", reference.make_reference)  # learned anew
    build.RECENT.clear()
    code = OMP + "// judged\n"
    assert judge(code, timing="on", races="auto").validated
    assert len(made) == len(set(made)) == 3 and [text for text, *_ in made] == [SERIAL, OMP, code]
