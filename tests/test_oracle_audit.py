"""Mutants compile to what they say, the audit tells strong from weak oracles, and the shipped audit is of this suite."""

import json
import shutil
import subprocess
from dataclasses import replace

import pytest

from parallax_lib.core.storage import Journal
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks import suites
from parallax_lib.tasks.task import Kernel
from parallax_lib.verdict import toolchain
from parallax_lib.verdict.assurance import mutation, oracle_audit
from parallax_lib.verdict.reference import Bench

BARE = ["bwrap", "--unshare-user", "--ro-bind", "/", "/", "g++", "--version"]
ABLE = shutil.which("bwrap") is not None and subprocess.run(BARE, capture_output=True).returncode == 0
needs_sandbox = pytest.mark.skipif(not ABLE, reason="needs g++, bubblewrap and user namespaces")
SERIAL = """#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
  int n = atoi(argv[1]), seed = atoi(argv[2]);
  double s = 0;
  for (int i = 0; i < n; i++) s += (i * 37 + seed) % 101;
  int unused = 0;
  for (int i = 0; i < n; i++) if (unused > 0) s = 0;
  printf("s %.9e\\n", s);
  return 0;
}
"""
OMP = SERIAL.replace("  for (int i = 0; i < n; i++) s", "#pragma omp parallel for reduction(+ : s)\n  for (int i = 0; i < n; i++) s", 1)
KERNEL = Kernel("sum", "sum", "test", {"serial": SERIAL, "omp": OMP}, ("10", "1"), (("200000", "7"), ("777", "29")))


@pytest.fixture
def bench(tmp_path):
    return Bench(toolchain.detect(), sandbox.probe(), Limits(cpu_s=1, wall_s=20), Journal(tmp_path / "j.db"))


# ---- mutants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operator, code, expected",
    [
        ("loop_end", "for (int i = 0; i < n; i++) f(i);", {"for (int i = 0; i < n - 1; i++) f(i);"}),
        ("loop_end", "for (int h = n; h > 0; h /= 2) f(h);", {"for (int h = n; h > 0 + 1; h /= 2) f(h);"}),
        ("loop_start", "for (int i = 0; i < n; i++) f(i);", {"for (int i = 0 + 1; i < n; i++) f(i);"}),
        ("arithmetic", "a = b + c; // d + e\nx += 1;", {"a = b - c; // d + e\nx += 1;", "a = b + c; // d + e\nx -= 1;"}),
        ("swap_operands", "a = b - c;", {"a = c - b;"}),
        ("comparison", "if (a < b && c) x = 1;", {"if (a >= b && c) x = 1;", "if (a < b || c) x = 1;"}),
        ("border", "if (a < b) x = 1;", {"if (a <= b) x = 1;"}),
        ("constant", "a = 3 * 0.5;", {"a = 4 * 0.5;", "a = 3 * (0.5 * 1.05);"}),
        ("swap_index", "a[i * n + j] = 1;", {"a[j * n + i] = 1;"}),
        ("swap_index", "int i = threadIdx.x; f(i);", {"int i = threadIdx.y; f(i);"}),
        ("shift_index", "a[i] = 1;", {"a[i - (i > 0)] = 1;"}),
        ("drop_condition", "if (i < n && (j)) a = 1;", {"if (true) a = 1;"}),
        ("delete_statement", "{ a = (1) + c; int b = 2; f(a); }", {"{ ; int b = 2; f(a); }", "{ a = (1) + c; int b = 2; ; }"}),
        ("drop_copy", "cudaMemcpy(a, b, n, cudaMemcpyDeviceToHost);", {";"}),
        ("drop_copy", "#pragma omp target map(tofrom : a)\nf();", {"#pragma omp target map(to : a)\nf();"}),
        ("drop_reduction", "#pragma omp parallel for reduction(+ : s)\nf();", {"#pragma omp parallel for \nf();"}),
        ("drop_private", "#pragma omp parallel private(t) shared(u)\nf();", {"#pragma omp parallel  shared(u)\nf();"}),
        ("drop_guard", "#pragma omp atomic\ns += 1;", {"\ns += 1;"}),
        ("drop_guard", "atomicAdd(&h[f(i, j)], 1);", {"*(& h [ f ( i , j ) ]) += ( 1);"}),
        ("drop_barrier", "a = 1; __syncthreads(); b = 2;", {"a = 1; ; b = 2;"}),
    ],
)
def test_operators(operator, code, expected):
    assert {m.code for m in mutation.mutants(code, 9) if m.operator == operator} == expected


def test_mutants_are_deterministic_bounded_and_differ():
    kernels = suites.read_folder(suites.MINIBENCH, "minibench")
    assert len(mutation.OPERATORS) >= 8
    for kernel in kernels[::5]:
        for code in kernel.sources.values():
            made = mutation.mutants(code, 2)
            assert made == mutation.mutants(code, 2) and len({m.code for m in made} | {code}) == len(made) + 1
            assert max([m.operator for m in made].count(name) for name in mutation.OPERATORS) <= 2
            assert len({m.operator for m in made}) >= 6


def test_text_comments_and_printing_helpers_are_left_alone():
    code = 'void show(int n) { printf("%d", n + 1); }\nint f() {\n  /* a + b */ // c + d\n  return 0;\n}\nconst char *t = "x + 1";\n'
    assert [m for m in mutation.mutants(code, 9) if m.operator != "constant"] == []


# ---- the audit -------------------------------------------------------------------------------------------------------


@needs_sandbox
@pytest.mark.slow
def test_a_strong_oracle_and_what_is_excused(bench):
    (found,) = oracle_audit.audit([KERNEL], bench, per_operator=1, say=lambda text: None)
    assert found.label == "strong" and found.score == 1.0 and found.killed >= 6
    assert found.same_code >= 1  # the loop that does nothing
    assert found.killed_by["wrong_output"] >= 6


@needs_sandbox
@pytest.mark.slow
def test_a_weak_oracle_is_labelled_and_its_survivors_named(bench):
    blind = replace(KERNEL, sources={k: v.replace("s %.9e", "s %.0e") for k, v in KERNEL.sources.items()}, hidden_args=(("200000", "7"),))
    (found,) = oracle_audit.audit([blind], bench, per_operator=1, say=lambda text: None)
    assert found.label == "weak" and found.score < oracle_audit.STRONG
    assert any("loop_end" in text or "loop_start" in text for text in found.survived)


@needs_sandbox
def test_self_checks_that_do_not_depend_on_the_regions_are_vacuous(bench):
    end = "  printf("
    always = replace(KERNEL, sources={"omp": OMP.replace(end, '  puts("PASS");\n' + end)})
    honest = replace(KERNEL, sources={"omp": OMP.replace(end, '  puts(s > 0 ? "PASS" : "FAIL");\n' + end)})
    assert oracle_audit.self_check(KERNEL, bench) == "none printed"
    assert oracle_audit.self_check(always, bench).startswith("vacuous")
    assert oracle_audit.self_check(honest, bench) == "depends on its regions"


# ---- the shipped audit -----------------------------------------------------------------------------------------------


def test_the_shipped_audit_is_of_the_present_suite_and_every_kernel_is_strong():
    kernels = suites.read_folder(suites.MINIBENCH, "minibench")
    shipped = json.loads((suites.MINIBENCH / oracle_audit.FILE).read_text())
    assert shipped["suite"] == oracle_audit.suite_digest(kernels), "python -m parallax_lib audit data/minibench makes it anew"
    assert oracle_audit.strengths(suites.MINIBENCH, kernels) == {k.name: "strong" for k in kernels}
    changed = [replace(kernels[0], hidden_args=kernels[0].hidden_args[:1]), *kernels[1:]]
    assert set(oracle_audit.strengths(suites.MINIBENCH, changed).values()) == {"not audited"}


def test_mutants_of_the_shipped_kernels_outputs_are_rejected():
    printing = json.loads((suites.MINIBENCH / oracle_audit.FILE).read_text())["printing"]
    assert set(printing["kernels"]) == {k.name for k in suites.read_folder(suites.MINIBENCH, "minibench")}
    assert printing["killed"] >= oracle_audit.PRINTING * printing["of"] and printing["of"] > 4000
    assert not any(row["why_not"] for row in printing["kernels"].values())


@needs_sandbox
def test_printing_is_audited_without_programs_and_tells_what_is_not_compared(bench, tmp_path):
    end = '  printf("s'
    code = {api: text.replace(end, '  printf("took %.3f ms\\n", 1.5);\n' + end) for api, text in KERNEL.sources.items()}
    found = oracle_audit.printed([replace(KERNEL, sources=code)], bench, 10, lambda text: None)["sum"]
    assert found.killed >= 15 and not found.survived and found.not_compared == ["took <time>"]
    moves = replace(KERNEL, sources={"serial": SERIAL.replace("printf(", 'printf("\\033[2J"); printf(')})
    assert "moves the cursor" in oracle_audit.printed([moves], bench, 1, lambda text: None)["sum"].why_not
