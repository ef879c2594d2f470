"""Tasks as a file: what is read, what is refused; the real judge on given headers, drivers, expected outputs and stand-in references."""

import csv
import json

import pyarrow
import pyarrow.parquet
import pytest
from programs import INDEXED, sandboxed

from parallax_lib.__main__ import main
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Suite
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Limits
from parallax_lib.tasks import given, suites, task_file
from parallax_lib.tasks.task import Task, put_together, tasks
from parallax_lib.verdict import output_comparison, toolchain
from parallax_lib.verdict.validate import judge

pytestmark = pytest.mark.usefixtures("references_once", "unadmitted")

HEAD = "#include <cstdio>\n#include <cstdlib>\n"
SERIAL = (
    HEAD
    + """#include "weights.h"
int main(int argc, char **argv) {
  int n = atoi(argv[1]);
  double s = 0;
  for (int i = 0; i < n; i++) s += weight(i);
  printf("sum %.6f\\n", s);
}
"""
)
HEADER = "#pragma once\ninline double weight(int i) { return 1.0 / (1 + i % 7); }\n"
OMP = SERIAL.replace("  for", "#pragma omp parallel for reduction(+ : s)\n  for")
ROW = {"kernel": "sum", "source_api": "serial", "target_api": "omp", "source": SERIAL, "target": OMP, "args": "10",
       "hidden": ["300000", ["70001"]], "headers": {"weights.h": HEADER}, "family": "reduce"}  # fmt: skip
LIMITS = Limits(cpu_s=10, wall_s=60, memory_mb=2048, processes=320)


def write(tmp_path, rows, name="tasks.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(tmp_path, *rows):
    return task_file.read([write(tmp_path, rows)]).kernels


def verdict(code, kernel, source="serial", target="omp"):
    return judge(code, Task(kernel, source, target), toolchain.detect(), sandbox.probe(), LIMITS, draw=0)


def test_rows_of_every_format_make_the_same_kernel(tmp_path):
    (kernel,) = read(tmp_path, ROW)
    assert kernel.public_args == ("10",) and kernel.hidden_args == (("300000",), ("70001",)) and kernel.family == "reduce"
    assert [task.id for task in tasks([kernel], ("serial-omp", "omp-serial"))] == ["sum.serial-omp"]
    plain = {name: value if isinstance(value, str) else json.dumps(value) for name, value in ROW.items()}
    with (tmp_path / "tasks.csv").open("w", newline="") as out:
        rows = csv.DictWriter(out, plain)
        rows.writeheader()
        rows.writerow(plain)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([plain]), tmp_path / "tasks.parquet")
    for name in ("tasks.csv", "tasks.parquet"):
        assert suites.load_suite(Suite(kinds=("tasks",), file=str(tmp_path / name))) == [kernel], name


def test_a_program_a_row_is_joined_and_a_row_without_one_adds(tmp_path):
    programs = [{"kernel_name": "sum", "parallel_api": api, "code": {"main.cpp": text, "weights.h": HEADER}}
                for api, text in (("serial", SERIAL), ("omp", OMP), ("sycl", "no"))]  # fmt: skip
    first = write(tmp_path, programs)
    more = write(tmp_path, [{"kernel": "sum", "args": ["4"], "hidden": [["5"]]}], "args.jsonl")
    (kernel,) = task_file.read([first, more]).kernels
    assert set(kernel.sources) == {"serial", "omp"} and kernel.hidden_args == (("5",),)
    assert "inline double weight" in kernel.sources["omp"] and "#include <cstdio>" in kernel.sources["omp"]


def test_what_cannot_be_used_is_told_in_one_line_with_its_row(tmp_path):
    for row, words in (
        ({**ROW, "sorce": ""}, None),  # an empty value is none
        ({**ROW, "sorce": "x"}, "row 1: unknown field 'sorce'; did you mean 'source'"),
        ({name: value for name, value in ROW.items() if name != "kernel"}, "row 1: field 'kernel' is missing"),
        ({**ROW, "target_api": "fortran"}, "row 1: 'fortran' is no API"),
        ({**ROW, "source": 3}, "row 1: the serial program is a text or a mapping"),
        ({**ROW, "hidden": 5}, "row 1: hidden: a list of command lines"),
        ({**ROW, "expected": ["1"]}, "row 1: expected: what is printed on each of 2 hidden inputs"),
        ({**ROW, "headers": {}}, "includes weights.h, which neither the row nor a checkout holds"),
    ):
        if words is None:
            assert read(tmp_path, row)
            continue
        with pytest.raises(UserError) as e:
            read(tmp_path, row)
        assert words in str(e.value) and "\n" not in str(e.value)
    (tmp_path / "bad.jsonl").write_text("{\n")
    assert main(["tasks", str(tmp_path / "bad.jsonl")]) == 2
    with pytest.raises(UserError, match="another serial program"):
        read(tmp_path, ROW, {**ROW, "source": SERIAL + "//"})


def test_a_header_is_shown_to_the_translator_and_given_to_the_candidate(tmp_path):
    (kernel,) = read(tmp_path, ROW)
    shown = Task(kernel, "serial", "omp").source_code
    assert "inline double weight" in shown and '#include "weights.h"' in shown
    whole = put_together(kernel).sources["serial"]
    assert "inline double weight" in whole and '#include "weights.h"' not in whole
    (mixed,) = read(tmp_path, {**ROW, "headers": {"weights.h": "#include <omp.h>\n" + HEADER}})
    assert not mixed.given["omp"].beside and "<omp.h>" in mixed.sources["omp"]  # a header with an API's text is a part of its program


def test_a_header_is_put_in_place_once_with_those_that_it_includes():
    files = {"a.h": '#include "b.h"\nA\n', "src/b.h": "#pragma once\nB\n"}
    assert given.in_place('#include "a.h"\n#include "b.h"\n#include "c.h"\n', files).split() == ["B", "A", "#include", '"c.h"']
    assert given.one_text({"x.cpp": "int main() {}", "y.cpp": "int y;"}).split("\n") == ["int y;", "int main() {}"]


@sandboxed
def test_the_judge_gives_headers_and_takes_an_expected_output(tmp_path):
    (kernel,) = read(tmp_path, ROW)
    assert verdict(OMP, kernel).validated
    assert verdict(OMP.replace("weight(i)", "weight(0)"), kernel).reason == "wrong_output"
    assert verdict(SERIAL, kernel).reason == "not_parallel"
    (told,) = read(tmp_path, {**ROW, "hidden": ["14"], "expected": "sum 5.185714\n"})  # 2 * (1 + 1/2 + ... + 1/7)
    right = verdict(OMP, told)
    assert right.reason in ("ok", "not_parallel") and "lines of the expected output" in right.checked
    assert verdict(OMP.replace("weight(i)", "weight(i + 1)").replace("< n", "< n - 1"), told).reason == "wrong_output"  # 4.185714


DRIVER = (
    HEAD
    + """#include <vector>
//@function
int main(int argc, char **argv) {
  std::vector<double> x(atoi(argv[1]));
  for (size_t i = 0; i < x.size(); i++) x[i] = (i * 37 % 101) - 50.0;
  keep_positive(x);
  double s = 0;
  for (size_t i = 0; i < x.size(); i++) s += x[i] * (1 + i % 3);
  printf("weighted %.6f\\n", s);
}
"""
)
FUNCTION = "void keep_positive(std::vector<double> &x) {\n  for (size_t i = 0; i < x.size(); i++) x[i] = x[i] > 0 ? x[i] : 0;\n}\n"


@sandboxed
def test_a_function_is_judged_in_its_driver(tmp_path):
    row = {"kernel": "keep", "source_api": "serial", "target_api": "omp", "source": FUNCTION, "driver": DRIVER, "function": "keep_positive"}
    (kernel,) = read(tmp_path, {**row, "args": "8", "hidden": ["300000", "70001"]})
    task = Task(kernel, "serial", "omp")
    assert task.asks_function and "write only the function keep_positive" in task.source_code
    good = FUNCTION.replace("  for", "#pragma omp parallel for\n  for")
    assert verdict(good, kernel).validated
    assert verdict(good.replace("x[i] : 0", "x[i] : 1"), kernel).reason == "wrong_output"
    changed = verdict('#define printf(...) puts("")\n' + good, kernel)
    assert changed.reason == "compile_error" and "printf is a macro that would change the given text" in changed.log
    assert given.redefines("#define LOCAL 3\n", kernel.given["omp"]) == ""


CUDA = (
    HEAD
    + """
__global__ void square(const int *x, long *out, int n) {
  __shared__ long part[64];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  part[threadIdx.x] = i < n ? (long)x[i] * x[i] : 0;
  __syncthreads();
  for (int d = 32; d; d /= 2) {
    if (threadIdx.x < d) part[threadIdx.x] += part[threadIdx.x + d];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[blockIdx.x] = part[0];
}
int main(int argc, char **argv) {
  int n = atoi(argv[1]), blocks = (n + 63) / 64;
  int *x = new int[n], *dx;
  long *out = new long[blocks], *dout, sum = 0;
  for (int i = 0; i < n; i++) x[i] = i % 100;
  cudaMalloc(&dx, n * sizeof(int));
  cudaMalloc(&dout, blocks * sizeof(long));
  cudaMemcpy(dx, x, n * sizeof(int), cudaMemcpyHostToDevice);
  square<<<blocks, 64>>>(dx, dout, n);
  cudaMemcpy(out, dout, blocks * sizeof(long), cudaMemcpyDeviceToHost);
  for (int b = 0; b < blocks; b++) sum += out[b];
  printf("Sum on the GPU: %ld\\n", sum);
}
"""
)
LOOP = (
    HEAD
    + """int main(int argc, char **argv) {
  int n = atoi(argv[1]);
  long sum = 0;
#pragma omp parallel for reduction(+ : sum)
  for (int i = 0; i < n; i++) sum += (long)(i % 100) * (i % 100);
  printf("Sum on the GPU: %ld\\n", sum);
}
"""
)


@pytest.mark.slow
@sandboxed
def test_a_cuda_program_alone_says_what_is_right(tmp_path):
    (kernel,) = read(tmp_path, {"kernel": "squares", "source_api": "cuda", "source": CUDA, "args": "100", "hidden": ["3000", "777"]})
    assert [task.direction for task in tasks([kernel], ("serial-omp", "cuda-omp"))] == ["cuda-omp"]
    right = verdict(LOOP, kernel, "cuda")
    assert right.validated and "correctness only" in right.parallel_evidence
    assert verdict(LOOP.replace("i < n", "i < n / 2"), kernel, "cuda").reason == "wrong_output"
    said = INDEXED.replace("Sum of squares:", "Sum on the GPU:")
    indexed = verdict(said, kernel, "cuda")
    assert indexed.validated and "with whole teams" in indexed.checked
    unmapped = verdict(said.replace("map(to: x[0:n])", ""), kernel, "cuda")  # crashes on a device with memory of its own
    assert unmapped.reason in ("crash", "wrong_output")
    for before, after in (("t < d", "t <= d / 2"), ("= part[0]", "= part[1]")):
        assert verdict(said.replace(before, after), kernel, "cuda").reason in ("wrong_output", "nondeterministic"), after


@sandboxed
def test_another_program_stands_in_for_one_that_says_nothing_of_what_is_right(tmp_path):
    broken = SERIAL.replace("double s = 0;", "double s = 0; int t = omp_get_thread_num();")
    (kernel,) = read(tmp_path, {**ROW, "source": broken})
    assert kernel.unreliable == ("serial",)
    stood_in = verdict(OMP, kernel)
    assert stood_in.validated and "lines of its omp program" in stood_in.checked


def case(text):
    return output_comparison.learn([output_comparison.read_lines(text)] * 2, relative=1e-4)


def test_a_twin_s_labels_are_right_only_with_the_same_values_and_outcomes():
    own = "Grid: 8 x 8\nr value: 0.000017\nchecksum 3.25\nPASS\n"
    joined = output_comparison.with_labels(case(own), case("Grid size: 8x8\nr: 1.715e-05\nsum = 3.25\nPASS\n"))
    assert len(joined.others) == 1
    teams = output_comparison.with_labels(case("teams = 9\nchecksum 3.25\n"), case("blocks set to 18\nthreads per block 64\nsum 3.25\n"))
    assert len(teams.others) == 1  # how a program is launched is its own
    for other in ("Grid size: 8x8\nr: 1.715e-05\nsum = 3.26\nPASS\n", "Grid size: 8x8\nr: 1.715e-05\nsum = 3.25\nFAIL\n",
                  "Grid size: 8x8\nsum = 3.25\nr: 1.715e-05\nPASS\n"):  # fmt: skip
        assert not output_comparison.with_labels(case(own), case(other)).others, other
    for text, reason in (
        (own, ""),
        ("Grid size: 8x8\nr: 1.715e-05\nsum = 3.25\nPASS\n", ""),
        ("Grid size: 8x8\nr: 1.715e-05\nsum = 3.35\nPASS\n", "wrong_output"),
        ("Grid size: 8x8\nr: 1.715e-05\ntotal = 3.25\nPASS\n", "wrong_output"),  # labels of neither
        ("Grid size: 8x8\nr: 1.715e-05\nsum = 3.25\nFAIL\n", "wrong_output"),
    ):
        assert output_comparison.differs(joined, [output_comparison.read_lines(text)])[0] == reason, text


def test_quantities_per_second_are_no_data_but_others_are():
    for text, aside in (("Total GFLOP/s = 0.001", True), ("Total GByte/s (GPU memory)  = 0.002", True), ("Rate (Mbytes/s): 3.5", True),
                        ("velocity m/s = 3.5", False), ("x (a/s) = 4.5", False), ("value GB (used) = 3.5", False)):  # fmt: skip
        assert output_comparison.read_lines(text)[0].aside == aside, text


def test_memory_that_a_process_uses_is_no_data_but_an_amount_is():
    expected = case("Approximate memory usage = 5.5 MiB\nvalue 3\n")
    for text, same in (("Approximate memory usage = 7.1 MiB\nvalue 3\n", True), ("value 3\n", True), ("value 4\n", False)):
        assert (output_comparison.differs(expected, [output_comparison.read_lines(text)])[0] == "") == same, text
    others = ("memory used by key 5 is 17 of 40\n", "memory cells = 13.5\n", "memory usage = 3 4\n", "sum of memory used: -2.5\n")
    for text, aside in (("Approximate memory usage = 13.7734\n", True), *((text, False) for text in others)):
        assert output_comparison.read_lines(text)[0].aside == aside, text


READS = (
    HEAD
    + """int main() {
  FILE *f = fopen("data/points.txt", "r");
  if (!f) return 3;
  double s = 0, v[3];
  int n = fscanf(f, "%lf %lf %lf", v, v + 1, v + 2);
#pragma omp parallel for reduction(+ : s)
  for (int k = 0; k < 300000; k++) s += v[k % n];
  printf("sum %.6f\\n", s);
}
"""
)


@sandboxed
def test_a_file_lies_where_the_program_was_written_to_find_it(tmp_path):
    serial = READS.replace("#pragma omp parallel for reduction(+ : s)\n", "")
    row = {"kernel": "points", "source_api": "serial", "target_api": "omp", "source": serial, "files": {"data/points.txt": "1.5 2.5 4\n"}}
    (kernel,) = read(tmp_path, row)
    assert verdict(READS, kernel).validated
    assert verdict(READS.replace("v[k % n]", "v[0]"), kernel).reason == "wrong_output"


@sandboxed
def test_the_command_lists_and_judges_target_texts(tmp_path, capsys):
    wrong = {**ROW, "kernel": "wrong", "target": OMP.replace("weight(i)", "weight(0)")}
    file = write(tmp_path, [ROW, wrong, {**ROW, "kernel": "open", "target": ""}, {**ROW, "kernel": "lacks", "headers": {}}])
    assert main(["tasks", str(file)]) == 0
    said = capsys.readouterr().out
    assert "3 tasks offered" in said and "left out: lacks: its" in said
    assert main(["tasks", str(file), "--check", "--journal", str(tmp_path / "j.db"), "--out", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().out
    assert "3 tasks offered, 2 of their target texts judged" in said and "1 judged right: 1 with strong output" in said
    rows = {row["task"]: row for row in json.loads((tmp_path / "out.json").read_text())["tasks"]}
    assert [rows[f"{name}.serial-omp"]["reason"] for name in ("sum", "wrong", "open")] == ["ok", "wrong_output", "no target text"]
