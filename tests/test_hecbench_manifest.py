"""Labels and sizes that scripts/hecbench_manifest.py measures, by real compilers."""

import pytest

from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.sandbox import sandbox
from parallax_lib.tasks.hecbench.checkout import Entry, Program
from parallax_lib.verdict import toolchain
from parallax_lib.verdict.bench import Bench

SUMS = """#include <cstdio>
#include <cstdlib>
#ifdef _OPENMP
typedef double Real;
#endif
int main(int argc, char** argv) {
  int n = atoi(argv[1]);
  if (n > 100 && n % 3) { printf("FAIL\\n"); return 0; }
  Real* a = new Real[n], sum = 0;
  #pragma omp parallel for
  for (int i = 0; i < n; i++) a[i] = 0.5 * i;
  for (int i = 0; i < n; i++) sum += a[i];
  printf("sum %.1f\\n", sum);
}
"""
TWO_MEMORIES = """#include <cstdio>
int main() {
  static double a[4096], b[4096];
  for (int i = 0; i < 4096; i++) a[i] = i;
  #pragma omp target data map(to: a[0:4096]) map(from: b[0:4096])
  {
    #pragma omp target teams distribute parallel for
    for (int i = 0; i < 4096; i++) { a[i] = 2 * a[i]; b[i] = a[i]; }
  }
  bool ok = true;
  for (int i = 0; i < 4096; i++) ok = ok && b[i] == 2 * i && a[i] == i;
  printf("%s\\n", ok ? "PASS" : "FAIL");
}
"""


@pytest.fixture
def manifest(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import hecbench_manifest

    return hecbench_manifest


@pytest.fixture
def bench(manifest):
    try:
        return Bench(toolchain.detect(), sandbox.probe(), manifest.LIMITS)
    except UserError as why:
        pytest.skip(str(why))


def entry(text: str, *runs: tuple[str, ...]) -> Entry:
    return Entry("k", {"omp": Program("omp", text)}, runs, {}, {})


def test_a_serial_program_that_does_not_build_is_not_called_right(manifest, bench):
    assert manifest.serial(entry(SUMS), (("96",),), bench) == "ok with _OPENMP"
    assert manifest.serial(entry(SUMS.replace("#ifdef _OPENMP", "#ifndef M")), (("96",),), bench) == "ok"


def test_a_serial_program_that_fails_its_own_check_is_not_called_right(manifest, bench):
    assert manifest.serial(entry(TWO_MEMORIES), ((),), bench).startswith("wrong_output")


def test_two_other_sizes_are_added_that_pass_the_programs_own_check(manifest, bench):
    row = manifest.sized(entry(SUMS, ("128",)), bench, {"args": [["128"]], "serial": "ok"})
    # of 96, 64, 256 and 384 the program takes the first two; a row that has its three is left alone
    assert row == {"args": [["128"], ["96"], ["64"]], "serial": "ok"}
    assert manifest.sized(entry(SUMS, ("64",)), bench, {"args": [["64"]]})["args"] == [["64"], ["32"], ["192"]]  # not 48; 128 fails
    full = {"args": [["128"], ["96"], ["7"]]}
    assert manifest.sized(entry(SUMS, *map(tuple, full["args"])), bench, full) == full
