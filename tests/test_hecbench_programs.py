"""Programs of a checkout as one text: smaller sizes, units kept apart, sources where rules of a Makefile say."""

import array
import io
import json
import re
import subprocess

import pytest

from parallax_lib.core.errors import UserError
from parallax_lib.tasks import task_file
from parallax_lib.tasks.hecbench import checkout as hecbench
from parallax_lib.tasks.hecbench import constants, made_inputs, makefile
from parallax_lib.tasks.hecbench import sources as hecbench_sources

SIZES = """#include <cstdio>
#define ROWS 400  // a comment
#define AREA (ROWS * WIDE)
const int WIDE = 1 << 10, deep = 3;
struct Sizes { int steps; };
int main() {
  Sizes sizes;
  sizes.steps = 5000;
  long total = 2e7, m = 4096;
  for (int m = 0; m < 2; m++) total -= m;
  for (int shape = 128; shape <= 512; shape *= 2) total += shape * 2;
  if (ROWS == 400) total++;
  printf("%d %d %d %d %ld %ld\\n", ROWS, AREA, WIDE * deep, sizes.steps, total, m);
}
"""


def printed(tmp_path, *texts: str) -> str:
    files = [tmp_path / f"unit{number}.cpp" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    subprocess.run(["g++", "-w", *files, "-o", tmp_path / "program"], check=True, capture_output=True)
    return subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True).stdout


def test_sizes_that_a_program_writes_are_made_smaller_and_nothing_else(tmp_path):
    values = {"ROWS": 4, "WIDE": 8, "steps": 2, "total": 100, "m": 16, "512": 128}
    text, absent = constants.with_values(SIZES, values)
    # rows 4, area 32, width 8 times 3, two steps; total: 100 - 1 (that loop still begins at 0) + 128 * 2; `== 400` is as it was
    assert not absent and printed(tmp_path, text) == "4 32 24 2 355 16\n"
    assert printed(tmp_path, SIZES) == f"400 {400 * 1024} 3072 5000 {20_000_000 - 1 + 2 * (128 + 256 + 512) + 1} 4096\n"


def test_a_size_that_a_program_does_not_write_as_a_larger_number_is_named():
    assert constants.with_values("int n = 8, k = f(3);\n", {"n": 4, "k": 2})[1] == "k"
    assert constants.with_values("int n = 8;\n", {"n": 16})[1] == "n"
    assert constants.with_values("int n = 4 * D;\n", {"n": 2})[1] == "n"  # not a number alone
    assert constants.with_values("int n = 0x80;\n", {"n": 2}) == ("int n = 2;\n", "")


def test_a_row_with_sizes_changes_its_programs_and_says_which_program_lacks_one(tmp_path):
    rows = [{"kernel": "k", "source_api": "serial", "target_api": "omp", "source": "int n = 5000;\nint main() {}",
             "target": "int n = 5000;\nint main() {}", "constants": {"n": 8}}]  # fmt: skip
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(rows[0]))
    (kernel,) = task_file.read([file]).kernels
    assert all("int n = 8;" in text for text in kernel.sources.values())
    file.write_text(json.dumps(rows[0] | {"target": "int main() {}"}))
    with pytest.raises(UserError, match="row 1: constants: the omp program of 'k' sets 'n' to no larger number"):
        task_file.read([file])


@pytest.fixture
def checkout(tmp_path):
    """sized: two programs with one size; placed: its units lie in another kernel's folder, as rules of its Makefile say."""

    def write(path, text):
        path = tmp_path / "HeC" / "src" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    for api, suffix in (("omp", "cpp"), ("cuda", "cu")):
        write(f"sized-{api}/Makefile", f"source = main.{suffix}\nrun: main\n\t./main 5\n")
        write(f"sized-{api}/main.{suffix}", f"#define COUNT 4000\nint main() {{ return COUNT == 0; }}  // {api}\n")
    write("placed-cuda/Makefile", "THERE = ../other-sycl\nobj = main.o help.o\nmain: $(obj)\n\tcc $(obj)\nmain.o: main.cu $(THERE)/help.h\n"
          "help.o : $(THERE)/help.cpp $(THERE)/help.h\n\tcc -c $<\nrun: main\n\t./main\n")  # fmt: skip
    write("placed-cuda/main.cu", "int help();\nint main() { return help(); }\n")
    write("other-sycl/help.h", "int help();\n")
    write("other-sycl/help.cpp", "int help() { return 0; }\n")
    return tmp_path / "HeC"


def test_smaller_sizes_are_in_every_program_and_the_manifest_knows_the_written_one(checkout):
    (whole,) = hecbench.entries(checkout, ("sized",), {})
    marks = {api: hecbench.fingerprint(whole.programs[api].text) for api in ("omp", "cuda")}
    facts = {"constants": {"COUNT": 7}, "omp": marks["omp"], "args": [[1]], "serial": "ok"}
    (entry,) = hecbench.entries(checkout, ("sized",), {"sized": facts})
    assert entry.written == marks and not entry.why
    kernel = hecbench.as_kernel(entry)
    assert all("#define COUNT 7" in text for text in kernel.sources.values()) and set(kernel.sources) == {"serial", "omp", "cuda"}
    (other,) = hecbench.entries(checkout, ("sized",), {"sized": facts | {"omp": "of another one"}})
    assert "COUNT 4000" in other.programs["omp"].text and "is not the one" in other.facts["note"]
    (absent,) = hecbench.entries(checkout, ("sized",), {"sized": facts | {"constants": {"LENGTH": 7}}})
    assert not absent.programs["cuda"].text and absent.programs["cuda"].why.startswith("LENGTH, a size")


def test_units_are_found_where_the_rules_of_object_files_say_as_make_finds_them(checkout):
    folder = checkout / "src" / "placed-cuda"
    said = subprocess.run(["make", "-C", folder, "-n", "help.o"], capture_output=True, text=True).stdout
    rules = hecbench.read_makefile(checkout / "src", "placed", "cuda")
    units = hecbench.units_of(checkout / "src", "placed", "cuda", rules)
    assert units == ("main.cu", "../other-sycl/help.cpp") and f"cc -c {units[1]}" in said
    (entry,) = hecbench.entries(checkout, ("placed",), {})
    assert "int help() { return 0; }" in entry.programs["cuda"].text
    assert makefile.read("source = a.cpp\na.o: b.cpp\n", {}).compiled == {}  # named sources count


LINKED = """main: main.o ./part/sum.o kept.c
\tcc main.o part/sum.o kept.c -o main
main.o: common.h ./main.c
\tcc -c ./main.c -o main.o
./part/sum.o: common.h part/sum.c
\tcc -c part/sum.c -o part/sum.o
"""


def test_units_are_those_that_the_program_is_linked_from_where_no_variable_names_them(tmp_path):
    folder = tmp_path / "src" / "linked-cuda"
    (folder / "part").mkdir(parents=True)
    for name in ("main.c", "part/sum.c", "kept.c", "unused.c", "common.h"):
        (folder / name).write_text("")
    (folder / "Makefile").write_text(LINKED)
    said = subprocess.run(["make", "-C", folder, "-n"], capture_output=True, text=True).stdout
    units = hecbench.units_of(tmp_path / "src", "linked", "cuda", hecbench.read_makefile(tmp_path / "src", "linked", "cuda"))
    assert {*units} == {*re.findall(r"(?:\./)?([\w/]+\.c)\b", said)} == {"main.c", "part/sum.c", "kept.c"}
    assert makefile.read("obj = a.o\nmain: b.o\n", {}).objects == ("a",)  # a variable counts
    assert makefile.read("a.o: b.h\n%: %.o c.cpp\n", {}).objects == ()  # nothing is said to be linked


FIRST = """#include <cstdio>
const char *name(int x);
#define WARP 32
#define max(a, b) ((a) > (b) ? (a) : (b))
static int limit(int x) { return max(x, 3); }
const double scale = 2.0;
struct Range { int limit; };
int first(int x) { Range r{1}; Range *p = &r; return limit(x) * (int)scale + r.limit + p->limit; }
"""
SECOND = """#include <algorithm>
#include <chrono>
int first(int x);
static int limit(int x) { return x + 100; }
const double scale = 0.5;
static int unused(int limit) { return limit; }
const int WARP = 0;
const char *name(int x) { return x ? "one" : "none"; }
int second(int x) { return limit(x) + (int)(scale * 10) + (int)std::chrono::seconds::max().count() * 0 + WARP + first(x); }
"""
MAIN = """#include <cstdio>
int second(int);
const char *name(int x);
int main() { printf("%d %s %s\\n", second(1), "limit", name(1)); }
"""


def test_units_as_one_text_do_what_they_do_compiled_apart(tmp_path):
    folder = tmp_path / "src" / "k-omp"
    folder.mkdir(parents=True)
    for name, text in (("first.cpp", FIRST), ("second.cpp", SECOND), ("main.cpp", MAIN)):
        (folder / name).write_text(text)
    whole = hecbench_sources.flatten(tmp_path, folder, ("main.cpp", "first.cpp", "second.cpp"), (folder,), ())
    assert printed(tmp_path, whole.text) == printed(tmp_path, FIRST, SECOND, MAIN) == "114 limit one\n"
    plain = "\n".join((FIRST, SECOND, MAIN))
    assert re.sub(r"\s+", " ", plain) != re.sub(r"\s+", " ", whole.text)
    with pytest.raises(subprocess.CalledProcessError):
        printed(tmp_path, plain)


def test_a_program_of_one_unit_is_as_it_was(tmp_path):
    folder = tmp_path / "src" / "k-omp"
    folder.mkdir(parents=True)
    text = '#define max(a, b) ((a) > (b))\n#include "api.h"\nstatic int f(int x) { return x; }\nint main() { return f(0); }\n'
    (folder / "main.cpp").write_text(text)
    (folder / "api.h").write_text("#pragma omp declare target\n#include <cmath>\nstatic int g(int);\n#pragma omp end declare target\n")
    whole = hecbench_sources.flatten(tmp_path, folder, ("main.cpp",), (folder,), ())
    assert whole.text == text.replace('#include "api.h"', (folder / "api.h").read_text())


def test_a_file_that_the_checkout_only_names_is_made_as_the_row_says_and_is_there(checkout):
    make = "source = main.cpp\nrun: main\n\t./main ../far-sycl/points.csv 3\n"
    for path, text in (("far-omp/Makefile", make), ("far-omp/main.cpp", "int main() {}\n")):
        (checkout / "src" / path).parent.mkdir(exist_ok=True)
        (checkout / "src" / path).write_text(text)
    assert hecbench.entries(checkout, ("far",), {})[0].why == "missing input: ../far-sycl/points.csv"
    facts = {"made": {"points.csv": {"table": [4, 0, 9, -1.0, 1.0], "first": "4", "between": ","}}}
    first, again = (hecbench.entries(checkout, ("far",), {"far": facts})[0] for _ in range(2))
    assert not first.why and first.runs == ((f"{hecbench.SHOWN}points.csv", "3"),) and first.inputs == again.inputs
    lines = first.inputs["points.csv"].decode().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    assert lines[0] == "4" and len(rows) == 4 and all(0 <= int(a) <= 9 and -1 <= float(b) <= 1 for a, b in rows)
    listed = {"made": facts["made"] | {"named_in_points.txt": {"bytes": 3}}}  # no argument names it
    assert {*hecbench.entries(checkout, ("far",), {"far": listed})[0].inputs} == {"points.csv", "named_in_points.txt"}
    shown = [[f"{hecbench.SHOWN}{file}.csv", "3"] for file in ("points", "more")]
    facts = {"made": facts["made"] | {"more.csv": {"table": [2, 0, 9]}}, "args": shown}
    (two,) = hecbench.entries(checkout, ("far",), {"far": facts})  # no Makefile names more.csv: it is for another hidden run
    assert set(two.inputs) == {"points.csv", "more.csv"} and len(two.inputs["more.csv"].splitlines()) == 2 and len(two.runs) == 2
    (checkout / "src" / "far-omp" / "points.csv").write_text("1,2\n")  # beside the program, where the path is mistaken
    (entry,) = hecbench.entries(checkout, ("far",), {})
    assert not entry.why and [*entry.inputs.values()] == [b"1,2\n"]


def test_made_images_are_what_an_image_library_reads():
    image = pytest.importorskip("PIL.Image")
    for kind in ("ppm", "bmp"):
        data = made_inputs.made({kind: [16, 8]})
        with image.open(io.BytesIO(data)) as read:
            assert (read.format, read.size, read.mode) == (kind.upper(), (16, 8), "RGB")
            assert len(read.getcolors(128)) > 32
    assert len(made_inputs.made({"bytes": 100})) == 100
    with pytest.raises(ValueError, match="one of table"):
        made_inputs.made({"table": [1, 0, 1], "bytes": 3})


def test_made_files_of_several_parts_are_what_a_reader_of_their_format_reads():
    graph = {"parts": [{"first": 4, "table": [4, "#", 2, 2, 2]}, {"first": "0\n8", "table": [8, 0, 3]}]}
    nodes, *rest = made_inputs.made(graph).decode().split()
    assert (nodes, rest[:8], rest[8:10]) == ("4", ["0", "2", "2", "2", "4", "2", "6", "2"], ["0", "8"])
    assert len(rest[10:]) == 8 and {*map(int, rest[10:])} <= {0, 1, 2, 3}
    reads = made_inputs.made({"table": [3, "ACGT", 9, "T", 2], "between": "\t"}).decode().splitlines()
    assert len(reads) == 3 == len({*reads}) and all(re.fullmatch(r"[ACGT]{9}\tTT", line) for line in reads)
    numbers = made_inputs.made({"parts": [{"packed": ["<i", 1, 6, 6]}, {"packed": ["<f", 6, -1.0, 1.0]}]})
    assert array.array("i", numbers[:4]).tolist() == [6]
    drawn = array.array("f", numbers[4:]).tolist()
    assert len(drawn) == 6 == len({*drawn}) and all(-1 <= number <= 1 for number in drawn)


def test_a_file_that_a_program_opens_to_write_is_no_input():
    assert hecbench_sources.fixed_inputs('out.open("snapshot.bin", std::ios::out | std::ios::binary);') == ()
    assert hecbench_sources.fixed_inputs('out.open("snapshot.bin", ios::binary | ios::out);') == ()
    assert hecbench_sources.fixed_inputs('in.open("table.bin", std::ios::in | std::ios::binary);') == ("table.bin",)
    assert hecbench_sources.fixed_inputs('both.open("table.bin", ios::binary | ios::out | ios::in);') == ("table.bin",)  # has to be there
    assert hecbench_sources.fixed_inputs('in.open("a.bin", ios::binary); out.open("b.bin", ios::out);') == ("a.bin",)


def test_macros_by_hand_stand_in_every_program(checkout):
    (whole,) = hecbench.entries(checkout, ("sized",), {})
    marks = {api: hecbench.fingerprint(whole.programs[api].text) for api in ("omp", "cuda")}
    facts = {"defines": ["DEBUG"], **marks, "args": [[1]], "serial": "ok"}
    (entry,) = hecbench.entries(checkout, ("sized",), {"sized": facts})
    assert entry.written == marks and "note" not in entry.facts
    assert [text.split("\n")[0] for text in hecbench.as_kernel(entry).sources.values()] == ["#define DEBUG"] * 3


def test_a_program_that_takes_other_arguments_is_no_source(checkout):
    (alike,) = hecbench.entries(checkout, ("sized",), {})
    assert hecbench.as_kernel(alike).unshown == ()
    (checkout / "src" / "sized-cuda" / "Makefile").write_text("source = main.cu\nrun: main\n\t./main 0 5\n")
    (apart,) = hecbench.entries(checkout, ("sized",), {})
    assert apart.runs == (("5",),) and hecbench.as_kernel(apart).unshown == ("cuda",)


def test_what_a_unit_includes_as_its_own_shares_its_names(tmp_path):
    folder = tmp_path / "src" / "parts-omp"
    folder.mkdir(parents=True)
    texts = {
        "sizes.h": "#pragma once\nstatic const int WARP = 32;\nint first(), second();\n",
        "first_kernels.cpp": "#define STEP 2\nstatic int scan() { return WARP * STEP; }\n",
        "first.cpp": '#include "sizes.h"\n#include "first_kernels.cpp"\nint first() { return scan(); }\n',
        "second_kernels.cpp": "static const int WARP = 5;\nstatic const int STEP = 3;\nstatic int scan() { return WARP + STEP; }\n",
        "second.cpp": 'int second();\n#include "second_kernels.cpp"\nint second() { return scan() * WARP; }\n',
        "main.cpp": '#include <cstdio>\n#include "sizes.h"\nint main() { printf("%d %d %d\\n", first(), second(), WARP); }\n',
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    units = ("main.cpp", "first.cpp", "second.cpp")
    subprocess.run(["g++", "-w", *units, "-o", "apart"], cwd=folder, check=True)
    apart = subprocess.run(["./apart"], cwd=folder, capture_output=True, text=True).stdout
    assert apart == "64 40 32\n"
    assert printed(tmp_path, hecbench_sources.flatten(tmp_path, folder, units, (folder,), ()).text) == apart


@pytest.mark.parametrize(("api", "text", "hidden"), [
    ("omp", "#pragma omp parallel for\nfor (int i = 0; i < 3; i++) r[i]++;", False),
    ("omp", "#define ESS __host__ __device__", False),
    ("omp", "__global__ void k();", True),
    ("cuda", "cudaError_t said;", False),
    ("cuda", "#pragma omp parallel for\nfor (int i = 0; i < 3; i++) r[i]++;", True),
])  # fmt: skip
def test_a_twin_s_header_hides_a_program_where_it_tells_the_other_api(tmp_path, api, text, hidden):
    folder, twin = tmp_path / "src" / f"a-{api}", tmp_path / "src" / "a-twin"
    folder.mkdir(parents=True), twin.mkdir()
    (folder / "main.cpp").write_text('#include "reference.h"\nint main() {}\n')
    (twin / "reference.h").write_text(f"{text}\n")
    flat = hecbench_sources.flatten(tmp_path, folder, ("main.cpp",), (twin,), (), api)
    assert bool(flat.foreign) == hidden and text in flat.text
