"""The bundled suite data/minibench: every kernel's three programs build, agree and depend on their guards.

The serial program is the reference; OpenMP runs with several thread counts, CUDA is built with nvcc (and run on a GPU).
Knows only the folder layout and kernels.yaml, not the library's own loaders, sandbox or oracle.
"""
import functools
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from parallax_lib.verdict.assurance import synthetic_labels

ROOT = Path(__file__).resolve().parent.parent / "data" / "minibench"
KERNELS = yaml.safe_load((ROOT / "kernels.yaml").read_text())
APIS = {"serial": "main.cpp", "omp": "main.cpp", "cuda": "main.cu"}
LONGEST = {"serial": 2900, "omp": 3200, "cuda": 4800}  # characters; about 3.2 a token
RTOL = 1e-6
GUARD = re.compile(r"reduction\((?:[^()\[\]]|\[[^\]]*\])*\)|^ *#pragma omp (?:atomic|critical).*\n", re.MULTILINE)

need_nvcc = pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not on PATH")


def text(name, api):
    return (ROOT / "src" / f"{name}-{api}" / APIS[api]).read_text()


def all_args(name):
    entry = KERNELS[name]
    return [tuple(args) for args in (entry["public"], *entry["hidden"])]


def gpu_arch():
    """sm_XY of the first GPU, or None where none answers."""
    if not shutil.which("nvidia-smi") or subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode:
        return None
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    return "sm_" + answer.splitlines()[0].strip().replace(".", "")


def command(api, source, target, arch):
    """The compiler call; without a GPU a CUDA program is compiled but not linked."""
    if api == "cuda":
        link = [] if arch else ["-c"]
        return ["nvcc", "-std=c++17", f"-arch={arch or 'sm_90'}", "-Werror=all-warnings", *link, source, "-o", target]
    flag = "-fopenmp" if api == "omp" else "-Wno-unknown-pragmas"
    return ["g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", flag, source, "-o", target]


def compile_program(api, source, target, arch=None):
    done = subprocess.run(command(api, str(source), str(target), arch), capture_output=True, text=True)
    assert done.returncode == 0, f"{source} does not compile:\n{done.stderr}"
    return target


def run_program(binary, args, threads=1, **settings):
    """{label: numbers} of one run; a verdict word, a crash or a word that is no number fails the test."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), **settings}
    done = subprocess.run([str(binary), *args], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, f"{binary.name} {args}: exit status {done.returncode} {done.stderr}"
    assert not re.search(r"pass|fail", done.stdout, re.IGNORECASE), f"a verdict word in {done.stdout}"
    rows = [line.split() for line in done.stdout.splitlines()]
    return {label: tuple(float(word) for word in words) for label, *words in rows}


def same(left, right):
    """Equal labels and numbers within RTOL; nan equals nothing."""
    if left.keys() != right.keys() or any(len(left[k]) != len(right[k]) for k in left):
        return False
    return all(math.isclose(a, b, rel_tol=RTOL) for k in left for a, b in zip(left[k], right[k], strict=True))


def guards(name):
    """Spans of the clauses and lines that keep the OpenMP version free of races; declarations are none."""
    code = text(name, "omp")
    lines = ((m, code[code.rfind("\n", 0, m.start()) + 1 : m.end()]) for m in GUARD.finditer(code))
    return [m.span() for m, line in lines if "declare" not in line]


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """program(name, api) -> the binary, compiled once a session."""
    folder = tmp_path_factory.mktemp("minibench")
    arch = gpu_arch()

    @functools.cache
    def build(name, api):
        return compile_program(api, ROOT / "src" / f"{name}-{api}" / APIS[api], folder / f"{name}-{api}", arch)

    return build


@pytest.fixture(scope="session")
def reference(program):
    """reference(name, args) -> what the serial program prints, run once a session."""
    return functools.cache(lambda name, args: run_program(program(name, "serial"), args))


def test_size_of_the_suite():
    assert len(KERNELS) >= 30
    assert len({entry["family"] for entry in KERNELS.values()}) >= 10


def test_every_folder_belongs_to_a_listed_kernel():
    assert {p.name for p in (ROOT / "src").iterdir()} == {f"{name}-{api}" for name in KERNELS for api in APIS}


def test_entry_has_hidden_inputs_of_other_sizes_and_seeds():
    for name in KERNELS:
        assert set(KERNELS[name]) == {"family", "varies", "public", "hidden"} and KERNELS[name]["varies"] == ["size", "seed"]
        args = all_args(name)
        assert len(args) >= 3 and all(isinstance(word, str) for words in args for word in words)
        for position in (0, 1):
            assert len({words[position] for words in args}) == len(args), f"argument {position} repeats in {args}"


def test_makefile_builds_and_runs_the_public_input():
    for name in KERNELS:
        for api in APIS:
            folder = ROOT / "src" / f"{name}-{api}"
            make = ["make", "--no-print-directory", "-n", "run"]
            dry = subprocess.run(make, cwd=folder, capture_output=True, text=True, check=True).stdout
            assert dry.splitlines()[-1].split() == ["./main", *KERNELS[name]["public"]]
            compiler = "nvcc" if api == "cuda" else "g++"
            assert compiler in dry or (folder / "main").exists()


def test_programs_are_short_and_speak_their_own_api():
    for name in KERNELS:
        serial, omp, cuda = (text(name, api) for api in APIS)
        assert "omp" not in serial and "__global__" not in serial
        assert "#pragma omp parallel" in omp and "__global__" not in omp
        assert "__global__" in cuda and "<<<" in cuda and "#pragma" not in cuda
        assert not re.search(r"thrust|cub/|cooperative_groups", cuda)
        for api, limit in LONGEST.items():
            assert len(text(name, api)) <= limit, f"{name}-{api} has {len(text(name, api))} characters"


@pytest.mark.slow
def test_openmp_prints_what_serial_prints(program, reference):
    """On four threads for every input, and on one and three for the first."""
    for name in KERNELS:
        for i, args in enumerate(all_args(name)):
            want = reference(name, args)
            assert want and all(map(math.isfinite, sum(want.values(), ())))
            for threads in (4,) if i else (1, 3, 4):
                got = run_program(program(name, "omp"), args, threads)
                assert same(want, got), f"{name} {args} on {threads} threads: {got} instead of {want}"


def test_seed_decides_the_output(program, reference):
    for name in KERNELS:
        size, seed = KERNELS[name]["public"]
        assert not same(reference(name, (size, seed)), reference(name, (size, str(int(seed) + 1))))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a race needs two processors to show")
def test_hidden_input_shows_a_missing_guard(reference, tmp_path):
    for name, (start, end) in [(kernel, guard) for kernel in KERNELS for guard in guards(kernel)]:
        code = text(name, "omp")
        (tmp_path / "main.cpp").write_text(code[:start] + code[end:])
        binary = compile_program("omp", tmp_path / "main.cpp", tmp_path / "main")
        args = all_args(name)[1]
        spread = {"OMP_PROC_BIND": "spread"}  # else a busy machine runs all four threads in turn on one processor
        runs = (run_program(binary, args, threads=4, **spread) for _ in range(5))
        assert not all(same(reference(name, args), got) for got in runs), f"{name} without {code[start:end]!r} nothing changes"


@need_nvcc
@pytest.mark.slow
def test_cuda_compiles(tmp_path):
    source = tmp_path / "all.cu"
    source.write_text(synthetic_labels.joined([text(name, "cuda") for name in KERNELS]))
    whole = ["-Werror=all-warnings", "-Xptxas", "-O0", "-c", str(source), "-o", str(tmp_path / "all.o")]
    done = subprocess.run(["nvcc", "-std=c++17", "-arch=sm_90", *whole], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@need_nvcc
def test_cuda_prints_what_serial_prints(program, reference):
    if not gpu_arch():
        pytest.skip("no GPU answers nvidia-smi: CUDA programs were compiled, not run")
    for name in KERNELS:
        for args in all_args(name):
            got = run_program(program(name, "cuda"), args)
            assert same(reference(name, args), got), f"{name} {args}: {got} instead of {reference(name, args)}"
