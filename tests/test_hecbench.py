"""A checkout in HeCBench's layout, written here: what is read, what is left out and why, and the real judge on it."""

import hashlib
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from parallax_lib.__main__ import main
from parallax_lib.analysis import subgroups
from parallax_lib.analysis.view import api, dataset
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params, Suite
from parallax_lib.core.storage import Journal
from parallax_lib.sandbox import sandbox
from parallax_lib.study import pairs
from parallax_lib.tasks import prompts
from parallax_lib.tasks.hecbench import checkout as hecbench
from parallax_lib.tasks.hecbench import makefile, masked
from parallax_lib.tasks.hecbench import sources as hecbench_sources
from parallax_lib.tasks.suites import load_suite
from parallax_lib.tasks.task import Task, put_together, tasks
from parallax_lib.verdict import output_comparison, toolchain
from parallax_lib.verdict.assurance import hecbench_check, hecbench_mutants, hecbench_table, mutation, oracle_audit
from parallax_lib.verdict.reference import Bench
from parallax_lib.verdict.result import Verdict

BARE = ["bwrap", "--unshare-user", "--ro-bind", "/", "/", "g++", "--version"]
ABLE = shutil.which("bwrap") is not None and subprocess.run(BARE, capture_output=True).returncode == 0
real = pytest.mark.skipif(not ABLE, reason="needs g++, bubblewrap and user namespaces")
ROOT = os.environ.get("HECBENCH_ROOT", "")

MAKE = """# benchmark
CC = clang++
DEVICE = gpu
program = main
source = main.cpp
obj = $(source:.cpp=.o)
CFLAGS := $(EXTRA_CFLAGS) -std=c++14 -Wall -I../NAME-cuda -DSCALE=3 -march=native
LDFLAGS = -lm -L/opt/x -Wl,-rpath,/opt/x
ifeq ($(DEVICE),gpu)
  CFLAGS += -fopenmp-targets=amdgcn -DGPU
else
  CFLAGS += -fopenmp
endif
%.o: %.cpp
\t$(CC) $(CFLAGS) -c $< -o $@
run: $(program)
\t$(LAUNCHER) ./$(program) 5000 100
\t@./$(program) 300 \\
\t  7 > log.txt
clean:
\trm -rf $(program)
"""
SCALE = """#include <cstdio>
#include <cstdlib>
#include <chrono>
#include "reference.h"
int main(int argc, char **argv) {
  int n = atoi(argv[1]), repeat = atoi(argv[2]);
  double *x = (double *)malloc(n * sizeof(double)), *y = (double *)malloc(n * sizeof(double));
  for (int i = 0; i < n; i++) x[i] = 0.5 * i + 1;
  auto start = std::chrono::steady_clock::now();
  for (int r = 0; r < repeat; r++) {
    #pragma omp target teams distribute parallel \\
            for map(to: x[0:n]) map(from: y[0:n])
    for (int i = 0; i < n; i++) y[i] = SCALE * x[i] + 0.25;
  }
  auto time = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  printf("Average kernel execution time %f (s)\\n", time / repeat);
  PRINT
  puts(right(n, x, y) ? "PASS" : "FAIL");
  return 0;
}
"""
REFERENCE = """inline bool right(int n, const double *x, const double *y) {  // only here: secret_of_the_twin
  for (int i = 0; i < n; i++) if (y[i] != 3 * x[i] + 0.25) return false;
  return true;
}
"""
OF_API = "#ifdef __CUDACC__\n__global__ void unused() {}\n#endif\n"
CUDA = '#include <cstdio>\n#include "reference.h"\n__global__ void k() {}\nint main() { k<<<1, 1>>>(); puts("PASS"); }\n'
SIMT = """#include <omp.h>
int main() {
  #pragma omp target teams num_teams(4)
  #pragma omp parallel num_threads(64)
  { int tid = omp_get_thread_num(); (void)tid;
    #pragma omp barrier
  }
}
"""
READER = """#include <cstdio>
int main(int argc, char **argv) {
  FILE *f = fopen(argv[1], "r");
  int c = fgetc(f), n = 0;
  #pragma omp parallel for reduction(+:n)
  for (int i = 0; i < c; i++) n++;
  printf("first %d.5\\n", n); }
"""
VALUES = 'printf("checksum %.6f\\n", y[n - 1]);'


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """twin and words (verdict word only) need a twin's header; lost has no input, reads has; simt; solo is cuda only."""
    def write(path, text):
        path = tmp_path / "HeCBench" / "src" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    programs = {"twin": SCALE.replace("PRINT", VALUES), "words": SCALE.replace("PRINT", ""), "simt": SIMT}
    programs |= {"lost": READER, "reads": READER}
    for name, text in programs.items():
        make = MAKE.replace("NAME", name)
        make = make.replace("5000 100", "../reads-cuda/in.txt" if name == "reads" else "data/gone.dat" if name == "lost" else "5000 100")
        write(f"{name}-omp/Makefile.aomp", make)
        write(f"{name}-omp/main.cpp", text)
        write(f"{name}-cuda/Makefile", MAKE.replace("main.cpp", "main.cu").replace("NAME", name))
        write(f"{name}-cuda/main.cu", CUDA)
        write(f"{name}-cuda/reference.h", REFERENCE + (OF_API if name == "twin" else ""))
    write("reads-cuda/in.txt", "hello")
    write("solo-cuda/Makefile", MAKE.replace("main.cpp", "main.cu"))
    write("solo-cuda/main.cu", "int main() {}\n")
    rows = {"twin": {"args": [[40, 1], [33, 2]], "serial": "ok", "strength": "strong"},
            "words": {"args": [[40, 1]], "serial": "ok", "strength": "weak"}}  # fmt: skip
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(yaml.safe_dump(rows))
    monkeypatch.setattr(hecbench, "MANIFEST", manifest)
    return tmp_path / "HeCBench"


def test_pairs_of_other_kernels_are_in_no_cluster_of_the_split(checkout, tmp_path):
    row = {"class": "map", "fold": 0, "side": "train", "cluster": "cluster-t"}
    split = tmp_path / "split.yaml"
    params = Params(suite=Suite(kinds=("hecbench",), root=str(checkout), split=str(split)))

    def others(named):
        split.write_text(yaml.safe_dump({"kernels": {f"hecbench/{named}": row}}))
        found = pairs.pairs(params, others=True, say=lambda line: None)
        return {(r["kernel"], r["direction"]): (r["source_code"], r["target_code"]) for r in found}

    found = others("elsewhere")
    ways = {name: {way for kernel, way in found if kernel == name} for name, _ in found}
    every = {"serial-omp", "serial-cuda", "omp-cuda", "cuda-omp"}
    assert ways == {"lost": every, "reads": every, "simt": {"omp-cuda"}, "words": every}  # lost cannot run, twin is not shown
    source, target = found["lost", "serial-omp"]
    assert source.endswith(hecbench_sources.strip_omp(READER)) and target.endswith(READER) and "pragma" not in source
    with pytest.raises(UserError, match="no pair"):  # all of them have one CUDA program
        others("twin")
    with pytest.raises(UserError, match="suite.split"):
        pairs.pairs(Params(suite=Suite(kinds=("hecbench",), root=str(checkout))), others=True)


@pytest.fixture
def kernels(checkout):
    return {k.name: k for k in load_suite(Suite(kinds=("hecbench",), root=str(checkout)))}


def test_split_file_says_which_kernels_are_read_and_asked_for(checkout, kernels, tmp_path, capsys):
    row = {"class": "map", "fold": 0, "side": "train", "cluster": "cluster-t"}
    rows = {"hecbench/twin": row | {"right": ["serial-omp"]}, "hecbench/words": row, "hecbench/elsewhere": row}
    split = tmp_path / "split.yaml"
    split.write_text(yaml.safe_dump({"kernels": rows}))
    (twin,) = load_suite(Suite(kinds=("hecbench",), root=str(checkout), split=str(split)))
    assert twin == replace(kernels["twin"], family="cluster-t", asked=("serial-omp",))
    assert "5 of 6 HeCBench kernels are left out" in capsys.readouterr().err
    split.write_text(yaml.safe_dump({"kernels": {"hecbench/elsewhere": rows["hecbench/twin"]}}))
    with pytest.raises(UserError, match="names no kernel of"):
        load_suite(Suite(kinds=("hecbench",), root=str(checkout), split=str(split)))


@pytest.fixture
def bench(tmp_path):
    return Bench(toolchain.detect(), sandbox.probe(), replace(hecbench_check.LIMITS, cpu_s=5), Journal(tmp_path / "j.db"))


# ---- what is read ----------------------------------------------------------------------------------------------------


def test_rows_whose_text_does_not_ship_say_so_and_show_the_source_of_a_checkout(checkout, kernels, tmp_path):
    [kernel] = [kernel for kernel in kernels.values() if kernel.name == "twin"]
    task = Task(kernel, "omp", "cuda")
    absent = [f"{masked.MARK}{hashlib.sha256(text.encode()).hexdigest()}" for text in (task.source_code, "int main() {}", "int other;")]
    rows = [{"task": task.id, "kernel": "twin", "source_code": absent[0], "code": absent[1]},
            {"task": "gone.serial-omp", "kernel": "gone", "source_code": absent[2], "code": "int main() {}"}]  # fmt: skip
    file = tmp_path / "rows.jsonl"
    pd.DataFrame(rows).assign(reason="compile_error", level=1, validated=False).to_json(file, orient="records", lines=True)
    seen = [api.View(dataset.open_dataset(file, root)) for root in ("", checkout)]
    pages = [[view.answer("program", {"row": str(row)}) for row in (0, 1)] for view in seen]
    assert [page["has"] for page in pages[0]] == [{"source": False, "code": False}, {"source": False, "code": True}]
    assert pages[0][0]["absent"] == {name: text.split()[-1] for name, text in zip(("source", "code"), absent, strict=False)}
    assert [page["has"]["source"] for page in pages[1]] == [True, False]  # the checkout has no kernel `gone`
    assert len(pages[1][0]["listing"]["rows"]) == len(task.source_code.splitlines())
    assert [view.answer("open")["absent"] for view in seen] == [{"source_code": 2, "code": 1}, {"source_code": 1, "code": 1}]
    assert seen[0].answer("desk")["absent"] == 1
    with pytest.raises(UserError, match="no src/ folder"):
        dataset.open_dataset(file, tmp_path)


def test_rows_of_a_checkout_are_told_apart_from_bundled_and_generated_ones(checkout):
    rows = pd.DataFrame({"kernel": ["saxpy", "twin", "twin-hecbench", "n_map_7", "mine"]})
    assert subgroups.with_suite(rows)["suite"].tolist() == ["hand-written", "HeCBench", "HeCBench", "generated", "other"]


def test_a_makefile_is_read_and_not_executed(tmp_path):
    text = MAKE.replace("program = main\n", f"program = main\nboom := $(shell touch {tmp_path}/executed)\n")
    made = makefile.read(text, hecbench.GIVEN)
    assert made.sources == ("main.cpp",)
    assert made.flags == ("-std=c++14", "-I../NAME-cuda", "-DSCALE=3", "-lm")
    assert made.runs == (("5000", "100"), ("300", "7"))
    assert "-DGPU" in makefile.read(text, {"DEVICE": "gpu"}).flags
    assert not (tmp_path / "executed").exists()


def test_what_nvcc_needs_to_take_a_program_is_kept_and_what_changes_its_numbers_is_not():
    text = "source = main.cpp\ncuda_source = triad.cu\nLDFLAGS = -lcublas -lother\n"
    made = makefile.read(text + "CFLAGS = -arch=sm_60 --expt-relaxed-constexpr --extended-lambda --use_fast_math\n", hecbench.GIVEN)
    assert made.sources == ("main.cpp", "triad.cu")
    assert made.flags == ("--expt-relaxed-constexpr", "--extended-lambda", "-lcublas")


@pytest.mark.parametrize(
    "reason, log, line",
    [
        ("compile_error", "main.cu(4): warning: error is not used\nmain.cu(9): error: no such thing\nmain.cu(9): error: more", 1),
        ("infra_error", "reference failed: compile_error: k, its cuda program: a warning\nmain.cu(9): error: no such thing", 1),
        ("compile_error", "note\n/usr/bin/ld: cannot find -lfoo\ncollect2: error: ld returned 1 exit status", 1),
        ("wrong_output", "input 1: line 2: got 1, expected 0\nRMS error: 1.0", 0),
        ("crash", "ended with code 1", 0),
    ],
)
def test_the_line_that_says_what_is_wrong(reason, log, line):
    assert hecbench_check._first(Verdict(1, reason, log=log)) == log.split("\n")[line]


def test_makefile_agrees_with_make_itself(tmp_path):
    (tmp_path / "Makefile").write_text(MAKE + "show:\n\t@echo $(obj) / $(CFLAGS)\n")
    said = subprocess.run(["make", "-C", tmp_path, "-s", "show", "DEVICE=cpu"], capture_output=True, text=True).stdout
    run = subprocess.run(["make", "-C", tmp_path, "-n", "run", "-o", "main", "main="], capture_output=True, text=True).stdout
    variables, recipe, _ = makefile._evaluate(MAKE, {"DEVICE": "cpu"})
    assert said.split() == makefile._expand("$(obj) / $(CFLAGS)", variables).split()
    assert "./main 5000 100" in run and len(recipe) == 2


CHAIN = """ifeq ($(DEVICE),gpu)
CFLAGS = -DA
else ifeq ($(DEVICE),fpga)  # a comment
CFLAGS = -DB
else ifdef SPARE
CFLAGS = -DC
else
CFLAGS = -DD
ifneq ($(DEVICE),cpu)
CFLAGS += -DE
else ifeq (1,1)
CFLAGS += -DF
else
CFLAGS += -DG
endif
endif
"""


@pytest.mark.parametrize("given", [{"DEVICE": "gpu"}, {"DEVICE": "fpga"}, {"DEVICE": "fpga", "SPARE": "1"}, {"SPARE": "1"},
                                   {"DEVICE": "cpu"}, {}])  # fmt: skip
def test_the_first_branch_of_a_chain_that_holds_is_taken_as_make_takes_it(tmp_path, given):
    (tmp_path / "Makefile").write_text(CHAIN + "show:\n\t@echo $(CFLAGS)\n")
    told = [f"{name}={value}" for name, value in given.items()]
    said = subprocess.run(["make", "-C", tmp_path, "-s", "show", *told], capture_output=True, text=True).stdout
    assert list(makefile.read(CHAIN, given).flags) == said.split() != []


def test_input_files_whose_places_give_one_name_are_all_there(tmp_path):
    src = tmp_path / "src"
    for place, text in (("data-x/in.txt", "one"), ("data/x-in.txt", "two"), ("k-cuda/in.txt", "three")):
        (src / place).parent.mkdir(parents=True)
        (src / place).write_text(text)
    runs, inputs, why = hecbench._resolve(src, "k", (("../data-x/in.txt", "../data/x-in.txt", "in.txt"), ("../data/x-in.txt",)))
    assert not why and [inputs[place.removeprefix(hecbench.SHOWN)] for place in runs[0]] == [b"one", b"two", b"three"]
    assert runs[1] == runs[0][1:2] and len(inputs) == 3


def test_pragmas_are_stripped_with_their_continuations():
    text = '#include <omp.h>\n#pragma omp target \\\n  map(tofrom: a) \\\n  device(0)\nint a;\n'
    text += '  # pragma omp end target\n_Pragma("omp barrier");\n#pragma unroll\n'
    assert hecbench_sources.strip_omp(text).split("\n") == ["", "int a;", "", ";", "#pragma unroll", ""]
    kept = hecbench_sources.strip_omp("#include <omp.h>\nvoid *p = omp_target_alloc(8, 0);\n")
    assert "omp.h" in kept, "what calls the runtime keeps its header and fails to link, with that reason"


def test_a_serial_program_is_told_what_one_thread_is_told(tmp_path):
    text = """#include <cstdio>
#include <omp.h>
#ifdef _OPENMP
typedef struct { float x; } one;
#endif
int main() {
  omp_set_num_threads(1);
  double begun = omp_get_wtime();
  one many = {3};
  int told[5] = {};
  #pragma omp parallel
  told[0] = omp_get_num_threads( void_ ), told[1] = omp_get_thread_num(), told[2] = omp_get_num_teams(), told[3] = omp_get_team_num();
  told[4] = omp_in_parallel() + omp_get_max_threads();
  printf("%d %d %d %d %d %g %d\\n", told[0], told[1], told[2], told[3], told[4], many.x, omp_get_wtime() >= begun);
}
""".replace(" void_ ", "")
    (tmp_path / "omp.cpp").write_text(text)
    (tmp_path / "serial.cpp").write_text(hecbench_sources.strip_omp(text, defined=True))
    assert "omp" not in (tmp_path / "serial.cpp").read_text().lower().replace("_openmp", "")
    said = []
    for name, flags in (("omp.cpp", ["-fopenmp"]), ("serial.cpp", [])):
        subprocess.run(["g++", *flags, tmp_path / name, "-o", tmp_path / "program"], check=True)
        env = {"OMP_NUM_THREADS": "1"}
        said.append(subprocess.run([tmp_path / "program"], capture_output=True, text=True, env=env, check=True).stdout)
    assert said == ["1 0 1 0 1 3 1\n"] * 2


def test_flattening_stays_inside_the_checkout(tmp_path):
    (tmp_path / "root" / "src" / "a-omp").mkdir(parents=True)
    (tmp_path / "secret.h").write_text("int secret;\n")
    folder = tmp_path / "root" / "src" / "a-omp"
    (folder / "main.cpp").write_text('#include "../../../secret.h"\n#include "b.h"\n#include "b.h"\nint main() {}\n')
    (folder / "b.h").write_text("#pragma once\nint b;\n")
    flat = hecbench_sources.flatten(tmp_path / "root", folder, ("main.cpp",), (), ("-DN=4", "-DON"))
    assert "int secret" not in flat.text and flat.text.count("int b;") == 1
    assert flat.text.startswith("#define N 4\n#define ON 1\n") and flat.foreign == ()


def test_index_says_what_can_be_used_and_why_not(checkout):
    rows = hecbench_check.index(checkout, toolchain.detect()).set_index("kernel")
    assert list(rows.index) == ["lost", "reads", "simt", "solo", "twin", "words"]
    assert rows.loc["lost", "why_not"] == "missing input: data/gone.dat"
    assert "SIMT-style" in rows.loc["simt", "why_not"]
    assert rows.loc["twin", "oracle"] == "strong" and rows.loc["words", "oracle"] == "weak"
    assert rows.loc["twin", "twin_files"] == 1 and rows.loc["twin", "runs_here"].startswith("serial omp")
    assert "not in the manifest" in rows.loc["reads", "why_not"]
    assert rows.loc["solo", "apis"] == "cuda"


def test_prompts_never_hold_a_twins_file(kernels):
    assert set(kernels) == {"twin", "words", "reads"}
    twin = kernels["twin"]
    assert set(twin.unshown) == {"serial", "omp"} and "secret_of_the_twin" in twin.sources["omp"], "the reference is built from it"
    offered = tasks(list(kernels.values()), ("serial-omp", "omp-cuda", "cuda-omp"))
    asked = {t.id: prompts.messages(t.source, t.target, t.source_code)[1]["content"] for t in offered}
    assert "twin.cuda-omp" in asked and "twin.omp-cuda" not in asked and "twin.serial-omp" not in asked
    assert all("__global__" not in text for name, text in asked.items() if ".cuda-" not in name)


def test_a_header_without_api_text_is_given_also_from_the_twin_s_folder(kernels):
    words = kernels["words"]
    assert not words.unshown and '#include "reference.h"' in words.sources["omp"]
    asked = Task(words, "omp", "cuda").source_code
    assert "reference.h (given: keep its #include line)" in asked and asked.count("secret_of_the_twin") == 1
    assert put_together(words).sources["omp"].count("inline bool right") == 1


def test_a_changed_program_loses_its_manifest_entry(checkout):
    rows = {"twin": {"args": [[40, 1]], "serial": "ok", "omp": "0" * 12}}
    hecbench.MANIFEST.write_text(yaml.safe_dump(rows))
    entry = hecbench.entries(checkout, ("twin",))[0]
    assert entry.runs == (("5000", "100"), ("300", "7")) and "not in the manifest" in entry.programs["serial"].why


def test_the_manifest_holds_facts_only():
    rows = hecbench.read_manifest(hecbench.MANIFEST)
    known = {"args", "constants", "defines", "made", "omp", "cuda", "serial", "strength", "cpu_s", "left_out", "note"}
    assert rows and {k for row in rows.values() for k in row} <= known
    assert all("args" in row or "left_out" in row for row in rows.values())


@pytest.mark.parametrize(("text", "expected"), [("PASS\n", "weak"), ("time 3.5 ms\n", "none"), ("n 40\nsum 2.75\n", "strong"),
                                                ("n 40\nPASS\n", "weak"), ("max error 1e-7\nPASS\n", "weak"),
                                                ("RMSE: 0.25\n", "weak"), ("gap 0.000\n", "weak")])  # fmt: skip
def test_strength(text, expected):
    assert output_comparison.strength([text], ("40",)) == expected


def test_own_lines_keep_words_and_mask_times():
    case = output_comparison.learn([output_comparison.read_lines("kernel time 3.5 (s)\nsum  2.5\nPASS\n")])
    for text, same in (("kernel time 9 (s)\nsum 2.5\nPASS", True), ("kernel time 9 (s)\nsum 2.5\nFAIL", False), ("sum 2.5\nPASS", True),
                       ("kernel time 1 (s)\nsum nan\nPASS", False), ("kernel time 1 (s)\nsum 2.51\nPASS", False)):  # fmt: skip
        lines = output_comparison.read_lines(text)
        assert (output_comparison.comparable(case, lines) and not output_comparison.difference(case, lines)) == same, text


@pytest.mark.parametrize(("text", "fails"), [("FAIL", True), ("fail(0)", False), ("errors: 0", False), ("error rate: 1e-7", False),
                                             ("no error", False), ("Verification failed. Maximum error: 255", True),
                                             ("Test failed", True), ("Results mismatch!", True), ("PASS", False)])  # fmt: skip
def test_own_check(text, fails):
    assert bool(output_comparison.own_check(f"line\n{text}\n")) == fails


def test_bad_root_is_one_line(tmp_path, capsys):
    with pytest.raises(UserError, match="no src/ folder"):
        hecbench.kernels(tmp_path)
    assert main(["hecbench", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("apis, said", [("foo", "'foo' is not one of serial, omp, cuda"), ("omp", "between two")])
def test_apis_that_are_none_or_one_are_refused(checkout, apis, said, capsys):
    assert main(["hecbench", str(checkout), "--check", "--apis", apis]) == 2
    assert said in capsys.readouterr().err


def test_a_check_that_judged_nothing_fails(checkout, tmp_path, capsys):
    asked = ["--check", "--apis", "serial,cuda", "--journal", str(tmp_path / "j.sqlite"), "--out", str(tmp_path / "rows.json")]
    assert main(["hecbench", str(checkout), *asked]) == 1
    assert "no kernel" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--per-operator=-1", "--per-operator=0", "--workers=0", "--limit=-1", "--most=-1", "--workers=two"])
def test_counts_below_their_least_are_refused(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["hecbench", "nowhere", option])
    assert stopped.value.code == 2 and "is not a whole number from" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "-1", "0", "inf", "1e9", "ten"])
def test_a_time_that_is_none_is_refused_in_one_line(value, capsys):
    for command in (["judge", "a.cpp", "b.cpp", "--source", "serial", "--target", "omp"], ["tasks", "a.jsonl"]):
        with pytest.raises(SystemExit) as stopped:
            main([*command, f"--cpu-s={value}"])
        assert stopped.value.code == 2 and "is not a number of seconds" in capsys.readouterr().err


def test_the_audit_reads_a_checkout(checkout, tmp_path):
    assert {"twin", "words"} <= {kernel.name for kernel in oracle_audit.read_suite(checkout)}
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no kernels.yaml and no src/"):
        oracle_audit.read_suite(tmp_path / "empty")


# ---- the real judge --------------------------------------------------------------------------------------------------


@real
@pytest.mark.slow
def test_twins_pass_both_ways_and_mutants_do_not(checkout, bench):
    fell = []
    few = {"most": 3, "everywhere": True}  # mutants in the parallel work; and those of the rest
    work = {"mutants": lambda code: hecbench_mutants.mutants_of(code, **few)[:7], "apis": ("serial", "omp")}
    rows = hecbench_check.check(checkout, bench, ("twin", "words"), say=lambda done, total, rows: fell.append((done, total)), **work)
    assert fell == [(1, 2), (2, 2)] and set(rows["direction"]) == {"serial-omp", "omp-serial"}
    assert list(rows["reason"]) == ["ok"] * 4, rows
    omp = rows[rows["direction"] == "serial-omp"]
    assert (omp["mutants"] > 3).all() and (omp["rejected"] >= 2).all(), rows  # more where target regions run on a device
    said = hecbench_table.totals(rows)
    assert "2 kernels pass serial <-> omp both ways (1 of them pass-weak)" in said
    kinds = dict(zip(omp["strength"], omp["mutant_kinds"], strict=True))
    for strength, what in (("strong", "values"), ("weak", "a verdict word only")):
        n, of = kinds[strength]["rejected"], kinds[strength]["rejected"] + kinds[strength].get("survived", 0)
        assert f"1 passing kernels that print {what}: {n} of {of} in the parallel work rejected" in said, said
    table = hecbench_table.kernels(rows).set_index("kernel")
    assert list(table["holds"]) == [not kind.get("survived") for kind in omp["mutant_kinds"]] and table["serial <-> omp"].all(), table
    assert omp["rejected"].iloc[1] < omp["mutants"].iloc[1] and len(omp["survivors"].iloc[1]) == (omp["mutants"] - omp["rejected"]).iloc[1]


def test_the_parallel_work_is_told_from_set_up_and_check():
    code = """int inner(int i) { return i; }
int outer(int i) {
  return inner(i) + 1;
}
int check(int i) {
  return i;
}
int main() {
  int s = 0;
#pragma omp target data map(tofrom: s)
  {
    s = check(1);
#pragma omp target teams distribute
    for (int i = 0; i < 9; i++)
#pragma omp parallel for
      for (int j = 0; j < 9; j++)
        outer(j);
    s++;
  }
#pragma omp parallel
  { s = 3; }
  return s;
}
"""
    assert hecbench_mutants.parallel_lines(code) == {1, 2, 3, 4, 14, 15, 16, 17, 21}
    assert hecbench_mutants.device_lines(code) == {1, 2, 3, 4, 14, 15, 16, 17}
    shared = code.replace("{ s = 3; }", "{ s = inner(3); }")
    assert hecbench_mutants.device_lines(shared) == {2, 3, 4, 14, 15, 16, 17}, "the host runs it in parallel too"
    cuda = "__device__ int twice(int i) {\n  return 2 * i; }\n__global__ void k(int *x);\n"
    cuda += "__global__ void __launch_bounds__(64) k(int *x) {\n  x[0] = twice(1);\n}\nint main() { return 1; }\n"
    assert hecbench_mutants.parallel_lines(cuda) == {1, 2, 4, 5, 6}


def test_mutants_of_the_parallel_work_are_within_it():
    inside = hecbench_mutants.parallel_lines(SCALE)
    made = hecbench_mutants.mutants_of(SCALE)
    assert len(made) > 3 and {m.line for m in made} <= inside
    assert all(hecbench_mutants.mutants_of(SCALE, most=2) == made[:2] for _ in range(2))
    assert {m.line for m in hecbench_mutants.mutants_of(SCALE, everywhere=True)} - inside


def test_the_table_says_which_kernels_hold_and_counts_no_other():
    def rows(kernel, strength, there, back, **kinds):
        both = {"serial-omp": (there, kinds), "omp-serial": (back, {})}
        return [{"kernel": kernel, "strength": strength, "direction": d, "reason": r, "log": "", "mutant_kinds": k, "survivors": []}
                for d, (r, k) in both.items()]  # fmt: skip

    judged = rows("a", "strong", "ok", "ok", rejected=3, **{"same data": 2}) + rows("b", "weak", "ok", "ok", rejected=3, survived=1)
    judged += rows("c", "weak", "vacuous", "ok") + rows("d", "weak", "ok", "ok", rejected=2)
    judged += rows("e", "weak", "ok", "ok", **{"same code": 1})
    said = hecbench_table.totals(pd.DataFrame(judged))
    assert "4 kernels pass serial <-> omp both ways (3 of them pass-weak), 0 omp <-> cuda both ways" in said
    assert "2 kernels pass both ways and every fault in their parallel work was rejected: 1 print values, 1 print a" in said
    assert "1 passing kernels that print values: 3 of 3 in the parallel work rejected = 100.0%; apart: 0 same code, 2 same" in said
    assert hecbench_table.totals(pd.DataFrame([{"direction": "none"}])) == "no kernel"


def test_a_limit_takes_the_kernels_that_need_least_time_and_have_a_direction(checkout, monkeypatch):
    here = SimpleNamespace(toolchains=dict.fromkeys(("serial", "omp", "cuda"), SimpleNamespace(can_run=True)))
    rows = {name: {"args": [[40, 1]], "serial": "ok", "cpu_s": cost} for name, cost in (("twin", 2.0), ("words", 0.1))}
    hecbench.MANIFEST.write_text(yaml.safe_dump(rows))
    monkeypatch.setattr(hecbench_check, "_judged", lambda entry, *more: [{"kernel": entry.name}])
    assert list(hecbench_check.check(checkout, here, limit=1)["kernel"]) == ["words"]
    judged = hecbench_check.check(checkout, here)
    assert list(judged["kernel"]) == ["lost", "reads", "simt", "solo", "twin", "words"] and list(judged["reason"])[-1] != "left_out"
    fell = []
    none = hecbench_check.check(checkout, here, limit=2, apis=("serial", "cuda"), say=lambda *more: fell.append(more))
    assert none.empty and not fell


@real
@pytest.mark.slow
def test_a_kernel_whose_output_does_not_depend_on_its_regions_is_vacuous(checkout, bench):
    path = checkout / "src" / "words-omp" / "main.cpp"
    path.write_text(path.read_text().replace('right(n, x, y) ? "PASS" : "FAIL"', '"PASS"'))
    rows = hecbench_check.check(checkout, bench, ("words",), apis=("serial", "omp")).set_index("direction")
    told = rows.loc["serial-omp"]
    # on a busy machine the small regions' counters may say so first
    assert told["reason"] == "vacuous" and ("switched off" in told["log"] or "one thread does all the work" in told["log"]), rows


MUTANTS = {  # what is replaced, by what, operator, what becomes of it
    "other data under a right word": ("0.5 * i + 1", "0.5 * i + 2", "constant", "rejected"),
    "gives back the same": ("y[i] = 3 * x[i] + 0.25", "y[i] = 3 * x[i] + (x[i] < 0 ? 1 : 0.25)", "constant", "same data"),
    "means the same": ("y[i] = 3 * x[i] + 0.25", "y[i] = 0.25 + x[i] * 3", "swap_operands", "same code"),
    "never reached": ("return 2", "return 1", "constant", "not reached"),
    "no program": ("return 2", "return 2 +", "constant", "no mutant"),
    "not seen by any run": ("i < n; i++) y", "i < n + (rand() < 0); i++) y", "drop_guard", "race operator"),
}


@real
@pytest.mark.slow
def test_what_becomes_of_a_mutant(kernels, bench):
    """Every one of one kernel, whose reference is learned once."""
    kernel = put_together(kernels["words"])
    code = kernel.sources["omp"].replace("SCALE * ", "3 * ").replace("  int n = atoi", "  if (argc == 1)\n    return 2;\n  int n = atoi")
    kernel = replace(kernel, sources={**kernel.sources, "omp": code})
    for name, (old, new, operator, what) in MUTANTS.items():
        assert code.count(old) == 1, code
        mutant = mutation.Mutant(operator, 1 + code[: code.index(old)].count("\n"), "", code.replace(old, new))
        if what == "same data" and not bench.toolchains["omp"].llvm.offload:
            what = "survived"
        assert hecbench_mutants.judge_mutant(Task(kernel, "serial", "omp"), bench, mutant) == what, name


@real
@pytest.mark.slow
def test_the_verdict_says_how_strong_its_oracle_is(kernels, bench):
    kernel = kernels["words"]
    verdict = hecbench_check._verdict(kernel.sources["omp"], Task(kernel, "serial", "omp"), bench)
    assert verdict.validated and "weak" in verdict.checked


@real
@pytest.mark.slow
def test_a_reference_that_fails_its_own_check_decides_nothing(kernels, bench):
    sources = {api: text.replace("+ 0.25;\n  }", "+ 0.5;\n  }") for api, text in kernels["words"].sources.items()}
    kernel = replace(kernels["words"], sources=sources)
    verdict = hecbench_check._verdict(sources["omp"], Task(kernel, "serial", "omp"), bench)
    assert verdict.reason == "not_checkable" and "own check" in verdict.log


@real
@pytest.mark.slow
def test_a_run_sees_its_input_file_and_no_other(kernels, bench):
    kernel = kernels["reads"]
    assert kernel.public_args == ("../job/inputs/reads-cuda-in.txt",) and kernel.inputs == {"reads-cuda-in.txt": b"hello"}
    serial = hecbench_sources.strip_omp(kernel.sources["omp"])
    kernel = replace(kernel, sources={**kernel.sources, "serial": serial}, hidden_args=(kernel.public_args,))
    verdict = hecbench_check._verdict(kernel.sources["omp"], Task(kernel, "serial", "omp"), bench)
    assert verdict.validated, verdict
    changed = replace(kernel, inputs={"reads-cuda-in.txt": b"Hello"})
    fixed = kernel.sources["omp"].replace("n); }", "104); }")
    assert hecbench_check._verdict(fixed, Task(changed, "serial", "omp"), bench).reason == "wrong_output"


@pytest.mark.skipif(not (ROOT and ABLE), reason="HECBENCH_ROOT names no HeCBench checkout")
def test_the_real_checkout(bench):
    rows = hecbench_check.index(Path(ROOT), toolchain.detect())
    assert len(rows) > 500 and (rows["why_not"].str.contains("SIMT-style")).sum() > 90
    checked = hecbench_check.check(Path(ROOT), bench, ("haccmk",))
    assert set(checked.loc[checked["direction"].isin(["serial-omp", "omp-serial"]), "reason"]) == {"ok"}
