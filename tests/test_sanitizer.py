"""The race stage.  Of compute-sanitizer RACY (shortened) and NO_THREADS are what it printed on an H200, the others follow their form."""

import os

import pytest

from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.verdict import races, toolchain
from parallax_lib.verdict.assurance import sandbox_check
from parallax_lib.verdict.bench import Bench
from parallax_lib.verdict.races import sanitizer_says

RACY = """========= COMPUTE-SANITIZER
========= Warning: Race reported between Read access at sum(int *)+0x260 in main.cu:7
=========     and Write access at sum(int *)+0x270 in main.cu:7 [8 hazards]
=========
sum 8826
========= RACECHECK SUMMARY: 7 hazards displayed (2 errors, 5 warnings)
"""
NO_THREADS = """========= COMPUTE-SANITIZER
========= Error: process didn't terminate successfully
========= Target application returned an error
========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)
terminate called after throwing an instance of 'std::system_error'
  what():  Resource temporarily unavailable
"""
CLEAN = """========= COMPUTE-SANITIZER
sum 32640
========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)
"""
FAR = "cudaErrorLaunchFailure\n========= ERROR SUMMARY: 257 errors\n"


@pytest.mark.parametrize("tool, status, said, race_free, told", [
    ("racecheck", "ok", RACY, "no", "7 errors, first at main.cu:7"),
    ("racecheck", "crash", RACY, "no", "7 errors"),
    ("racecheck", "ok", CLEAN, "yes", "none found"),
    ("racecheck", "crash", NO_THREADS, "not checked", "Resource temporarily unavailable"),  # a summary of 0 that says nothing
    ("memcheck", "ok", FAR, "no", "257 errors, first at an unknown line"),
    ("memcheck", "ok", "", "not checked", "it said nothing"),
])  # fmt: skip
def test_a_run_that_ended_badly_found_nothing_only_because_it_ended(tool, status, said, race_free, told):
    got = sanitizer_says(tool, status, said)
    assert got[0] == race_free and told in got[1]


ON_ONE = r"""
#include <cstdio>
#include <sched.h>
int main() {
  cpu_set_t may;
  sched_getaffinity(0, sizeof may, &may);
  int total = 0;
  const bool one = CPU_COUNT(&may) == 1;
#pragma omp parallel
  {
    if (one) total += 1;
    else
#pragma omp atomic
      total += 1;
  }
  printf("%d\n", total > 0);
}
"""


@pytest.mark.parametrize("level", ["bwrap", "degraded"])
def test_the_second_run_of_the_race_stage_is_on_one_core(level):
    """Of accesses at the very same time some are missed, so a program that races on one core alone has to be told."""
    where = next((each for each in sandbox_check.levels() if each.name == level), None)
    tools = toolchain.detect()
    before = os.sched_getaffinity(0)
    if where is None or len(before) < 2 or races.why_not(tools["omp"], level):
        pytest.skip("needs two cores, this sandbox level, clang with ThreadSanitizer and Archer")
    bench = Bench(tools, where, Limits())
    told = races.check(ON_ONE, "omp", (), (), bench)
    assert told.race_free == "no" and "main.cpp:11" in told.evidence, told
    assert races.check(ON_ONE.replace("== 1", "== 0"), "omp", (), (), bench).race_free == "yes"
    assert os.sched_getaffinity(0) == before
