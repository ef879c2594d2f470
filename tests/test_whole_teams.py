"""Threads of a team as stacks of one thread: g++'s own runtime, with real threads, says what is right."""

from dataclasses import replace

import pytest
from programs import INDEXED, sandboxed

from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.verdict import toolchain, whole_teams
from parallax_lib.verdict.bench import Bench, run_as_stacks, run_once
from parallax_lib.verdict.build import build
from parallax_lib.verdict.validate import judge

pytestmark = pytest.mark.usefixtures("references_once", "unadmitted")

LIMITS = Limits(cpu_s=20, wall_s=60, memory_mb=2048, processes=320)
PROGRAM = """#include <cstdio>
#include <omp.h>
int main() {
  long sum[4] = {}, once = 0, added = 0, nested = 0, named = 0, threads[2] = {};
  #pragma omp target teams num_teams(4) thread_limit(96) map(tofrom: sum, once, added, nested, named, threads)
  {
    long part[96];
    #pragma omp parallel
    {
      int t = omp_get_thread_num(), n = omp_get_num_threads();
      part[t] = (omp_get_team_num() + 1) * (t + 1);
      #pragma omp barrier
      for (int d = n / 2; d >= 3; d /= 2) {
        if (t < d) part[t] += part[t + d];
        #pragma omp barrier
      }
      if (t == 0) sum[omp_get_team_num()] = part[0] + part[1] + part[2], threads[0] = n;
      for (int i = 0; i < 3; i++) {
        #pragma omp single
        once++;
      }
      #pragma omp critical
      added += t;
      #pragma omp critical(other)
      named += omp_in_parallel();
      #pragma omp parallel
      {
        #pragma omp atomic
        nested += omp_get_num_threads();
      }
    }
    #pragma omp parallel num_threads(7)
    if (omp_get_thread_num() == 6) threads[1] = omp_get_num_threads();
  }
  for (int i = 0; i < 4; i++) printf("sum %ld\\n", sum[i]);
  printf("once %ld added %ld nested %ld named %ld threads %ld %ld\\n", once, added, nested, named, threads[0], threads[1]);
}
"""
REDUCTION = "        if (t < d) part[t] += part[t + d];\n        #pragma omp barrier\n"


@pytest.fixture
def bench():
    return Bench(toolchain.detect(), sandbox.probe(), LIMITS)


def built(code, bench):
    made = build(code, whole_teams.host(bench.toolchains["omp"]), (), bench.level)
    assert made.reason == "ok", made.log
    return made


@sandboxed
def test_stacks_print_what_real_threads_print_in_both_orders(bench):
    made = built(PROGRAM, bench)
    assert whole_teams.as_stacks(made)
    real = run_once(made.program, "omp", (), whole_teams.TEAM, replace(bench, limits=replace(LIMITS, processes=1100)))
    stacks = [run_as_stacks(made.program, (), turn, bench, {}) for turn in (0, 1)]
    assert [run.reason for run in (real, *stacks)] == ["ok"] * 3, stacks[0].log
    assert stacks[0].text == stacks[1].text == real.text
    assert "sum 4656\nsum 9312\nsum 13968\nsum 18624\nonce 12 added 18240 nested 384 named 384 threads 96 7\n" in real.text


@sandboxed
def test_a_barrier_that_is_missing_shows_between_the_orders(bench):
    made = built(PROGRAM.replace(REDUCTION, REDUCTION.replace("        #pragma omp barrier\n", "")), bench)
    first, second = (run_as_stacks(made.program, (), turn, bench, {}).text for turn in (0, 1))
    assert first != second


@sandboxed
def test_a_thread_that_leaves_others_at_a_barrier_ends_the_program(bench):
    some = "      if (t < 50) {\n        #pragma omp barrier\n      }\n      for (int d"
    made = built(PROGRAM.replace("      #pragma omp barrier\n      for (int d", some), bench)
    limits = replace(LIMITS, processes=1100, cpu_s=5, wall_s=5)
    assert run_once(made.program, "omp", (), whole_teams.TEAM, replace(bench, limits=limits)).reason == "timeout", "real threads wait"
    assert run_as_stacks(made.program, (), 0, bench, {}).reason == "crash"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("int main() {", "omp_lock_t l;\nint main() { omp_init_lock(&l); omp_set_lock(&l); omp_unset_lock(&l);"),
        ("int main() {", "int mine;\n#pragma omp threadprivate(mine)\nint main() {"),
        ("#pragma omp parallel num_threads(7)\n", "#pragma omp parallel for schedule(dynamic)\nfor (int i = 0; i < 9; i++)\n"),
        ("once++", "once += omp_get_level() * 0 + 1"),
    ],
)
@sandboxed
def test_what_stacks_cannot_do_gets_threads(bench, before, after):
    assert before in PROGRAM and not whole_teams.as_stacks(built(PROGRAM.replace(before, after, 1), bench))


CUDA = """#include <cstdio>
#include <cstdlib>
__global__ void squares(const int *x, int n, long *out) {
  __shared__ long part[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  part[t] = i < n ? (long)x[i] * x[i] : 0;
  __syncthreads();
  for (int d = 32; d; d /= 2) { if (t < d) part[t] += part[t + d]; __syncthreads(); }
  if (t == 0) out[blockIdx.x] = part[0];
}
int main(int argc, char **argv) {
  int n = atoi(argv[1]), blocks = (n + 63) / 64, *x;
  long *out, sum = 0;
  cudaMallocManaged(&x, n * sizeof(int));
  cudaMallocManaged(&out, blocks * sizeof(long));
  for (int i = 0; i < n; i++) x[i] = i % 100;
  squares<<<blocks, 64>>>(x, n, out);
  cudaDeviceSynchronize();
  for (int b = 0; b < blocks; b++) sum += out[b];
  printf("Total %ld\\n", sum);
}
"""


@pytest.mark.slow
@sandboxed
def test_other_words_of_an_indexed_program_are_right_where_its_numbers_are(bench):
    def verdict(code, own=INDEXED, source="cuda"):
        sources, target = {"omp": own, "cuda": CUDA}, "omp" if source == "cuda" else "cuda"
        kernel = Kernel("squares", "squares", "tasks", sources, ("3000",), (("3000",), ("777",)), oracle="own", unreliable=("omp",))
        return judge(code, Task(kernel, source, target), bench.toolchains, bench.level, bench.limits)

    right = verdict(INDEXED)
    assert right.validated and "whole teams" in right.checked, right.log
    assert verdict(CUDA.replace("Total", "Sum of squares:"), source="omp").validated, "what a translator reads in the source"
    assert verdict(CUDA.replace("Total", "Something else"), source="omp").reason == "wrong_output"
    wrong = INDEXED.replace("= part[0]", "= part[1]")
    told = verdict(wrong, own=wrong).reason  # a program of other numbers says nothing of what is right
    assert told in ("wrong_output", "nondeterministic")


@pytest.mark.slow
@sandboxed
def test_a_program_that_ends_badly_for_lack_of_threads_gets_them_and_a_missing_map_stays_a_crash(bench):
    def verdict(code):
        kernel = Kernel("squares", "squares", "tasks", {"cuda": CUDA}, ("3000",), (("3000",),), oracle="own")
        return judge(code, Task(kernel, "cuda", "omp"), bench.toolchains, bench.level, bench.limits)

    said = INDEXED.replace("Sum of squares:", "Total")
    fails = said.replace("  printf", "  if (sum != 9850500) return 1;\n  printf")
    assert verdict(fails).validated, "exit code 1 with four threads, where part[4] to part[63] are nobody's"
    unmapped = said.replace("map(to: x[0:n])", "")
    assert verdict(unmapped).reason == "crash"
