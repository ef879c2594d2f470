"""Makes a file of tasks of a ParEval checkout: its function-level translations from serial C++ to OpenMP, each with a driver.

    python scripts/pareval_tasks.py ROOT tasks.jsonl [--names relu,axpy]

A driver is the benchmark's own inputs and check around the function, with a `main` of our own: its arguments are a size and a seed, and
it prints every value that the check compares, so that a check that misses something hides nothing.  The file holds ParEval's text and
belongs outside this repository.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from parallax_lib.tasks import given
from parallax_lib.tasks.task_file import PLACE

HEAD = """#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>
#define USE_%s
static size_t driver_size = 1024;
#define DRIVER_PROBLEM_SIZE driver_size
"""
SIZES = {"dense_la": (128, 61), "geometry": (192, 61), "graph": (512, 100), "fft": (1024, 256), "sparse_la": (256, 100),
         "stencil": (128, 64)}  # fmt: skip
PRINT = """
template <class T> void driver_print(T const &v) {
  if constexpr (std::is_arithmetic_v<T>) printf("%.9g\\n", double(v));
  else if constexpr (std::is_same_v<T, std::complex<double>>) printf("%.9g %.9g\\n", v.real(), v.imag());
}
template <class T> void driver_print(std::vector<T> const &v) { for (T const &x : v) driver_print(x); }
template <class A, class B, class C> bool driver_equal(A const &a, B const &b, C eps) {
  driver_print(b);
  return fequal(a, b, eps);
}
#define fequal driver_equal
"""
MAIN = """
int main(int argc, char **argv) {
  if (argc != 3) return 2;
  driver_size = atoi(argv[1]);
  srand(atoi(argv[2]));
  Context *ctx = init();
  compute(ctx);
  printf("Validation: %s\\n", validate(ctx) ? "PASS" : "FAIL");
  destroy(ctx);
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--names", default="", help="only functions of these names")
    args = parser.parse_args()
    names = set(filter(None, args.names.split(",")))
    rows = json.loads((args.root / "prompts" / "translation-prompts.json").read_text())
    rows = [row for row in rows if (row["translation_src_model"], row["translation_dst_model"]) == ("serial", "omp")]
    made = [task(args.root, row) for row in rows if not names or row["translation_function_name"] in names]
    args.out.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    print(f"{len(made)} tasks in {args.out}")


def task(root: Path, row: dict) -> dict:
    """A row of the file."""
    drivers = root / "drivers" / "cpp"
    folder = drivers / "benchmarks" / row["problem_type"] / row["name"]
    files = {path.name: path.read_text() for path in (drivers / "utilities.hpp", folder / "baseline.hpp")}
    shared, source = apart(row["translation_src_example"])
    body = (folder / "cpu.cc").read_text().replace('#include "generated-code.hpp"', f"\n{PLACE}\n//")
    body = body.replace('#include "utilities.hpp"', f'#include "utilities.hpp"\n{shared}')
    body = body.replace(PLACE, f"{PLACE}\n{PRINT}")
    whole = given.in_place(body + MAIN, files)
    return {
        "kernel": f"pareval-{row['name']}",
        "family": row["problem_type"],
        "source_api": "serial",
        "target_api": "omp",
        "source": source,
        "function": row["translation_function_name"],
        "driver": {"serial": HEAD % "SERIAL" + whole, "omp": HEAD % "OMP" + whole},
        "context": shared or "// the C++ library's usual headers",
        "args": ["64", "1"],
        "hidden": [[size, seed] for size, seed in zip(SIZES.get(row["problem_type"], (4096, 1000)), (7, 23), strict=True)],
    }


def apart(text: str) -> tuple[str, str]:
    """(types and helpers, which are given; the function to be written with its comment)."""
    at = max(text.find("/*"), 0)
    return text[:at], text[at:]


if __name__ == "__main__":
    main()
