"""The corpus of cheating and of odd but honest programs against the real harness, and the gate that counts them."""

import shutil
import subprocess
from collections import Counter
from dataclasses import replace

import pytest

from parallax_lib.core.errors import UserError
from parallax_lib.sandbox import sandbox
from parallax_lib.tasks import suites
from parallax_lib.tasks.synthetic import generator
from parallax_lib.verdict import build, static_checks, toolchain
from parallax_lib.verdict.assurance import redteam
from parallax_lib.verdict.validate import Verdict

BARE = ["bwrap", "--unshare-user", "--ro-bind", "/", "/", "g++", "--version"]
ABLE = shutil.which("bwrap") is not None and subprocess.run(BARE, capture_output=True).returncode == 0
needs_sandbox = pytest.mark.skipif(not ABLE, reason="needs g++, bubblewrap and user namespaces")
PROGRAMS = redteam.read_corpus()
OPENMP_SAMPLE = 24  # one in so many of each kind and need, and the first; `python -m parallax_lib redteam` judges all
CUDA_SAMPLE = 4  # of each kind: nvcc is slow


def test_size_and_headers_of_the_corpus():
    counts = Counter((p.kind, p.api) for p in PROGRAMS)
    assert counts["cheats", "omp"] + counts["cheats", "cuda"] >= 60 and counts["honest", "omp"] + counts["honest", "cuda"] >= 60
    assert min(counts.values()) >= 20
    assert all(p.expect == ("ok",) and p.needs in ("", "device") for p in PROGRAMS if p.kind == "honest")  # g++ refuses one
    assert all("ok" not in p.expect for p in PROGRAMS if p.kind == "cheats")
    bodies = Counter(p.code.partition("\n")[2].partition("\n")[2] for p in PROGRAMS)
    assert max(bodies.values()) == 1 and len({p.trick for p in PROGRAMS}) == len(PROGRAMS)


def check(programs):
    text, holds = redteam.report(programs, redteam.judge_corpus(programs))
    assert holds, text


@needs_sandbox
@pytest.mark.slow
def test_a_sample_of_openmp_programs_gets_its_verdict():
    groups: dict[tuple, list] = {}
    for program in PROGRAMS:
        if program.api == "omp":
            groups.setdefault((program.kind, program.needs), []).append(program)
    check([program for group in groups.values() for program in group[::OPENMP_SAMPLE]])


@needs_sandbox
@pytest.mark.skipif(toolchain.cuda_home() is None, reason="nvcc is not installed")
@pytest.mark.slow
def test_a_sample_of_cuda_programs_gets_its_verdict():
    cuda = [p for p in PROGRAMS if p.api == "cuda"]
    statics = [p for p in cuda if p.kind == "cheats" and not p.needs]
    honest = [p for p in cuda if p.kind == "honest"]
    check(statics[::2][:CUDA_SAMPLE] + honest[3 :: len(honest) // CUDA_SAMPLE][:CUDA_SAMPLE])  # of three kernels


@needs_sandbox
@pytest.mark.slow
def test_the_static_gate_lets_references_and_forge_programs_pass():
    tools, level = toolchain.detect(), sandbox.probe()
    kernels = suites.read_folder(suites.MINIBENCH, "minibench")[::4]
    kernels += [
        generator.as_kernel(generator.sample(seed, generator.TRAIN_FAMILIES + generator.HELDOUT_FAMILIES)) for seed in range(900, 908)
    ]
    for kernel in kernels:
        built = build.build(kernel.sources["omp"], tools["omp"], (), level)
        assert built.reason == "ok" and static_checks.suspicion(built, kernel.sources["omp"]) == "", kernel.name


# ---- counting --------------------------------------------------------------------------------------------------------

CHEAT = redteam.Program("a.cpp", "cheats", "saxpy", "omp", ("not_parallel",), "", "t", "")
HONEST = replace(CHEAT, name="b.cpp", kind="honest", expect=("ok",))


def verdict(reason, **more):
    return Verdict(5 if reason == "ok" else 2, reason, **more)


@pytest.mark.parametrize(
    "program, got, status",
    [
        (CHEAT, verdict("not_parallel"), "ok"),
        (CHEAT, verdict("ok"), "miss"),
        (CHEAT, verdict("wrong_output"), "other reason"),
        (CHEAT, verdict("infra_error"), "pending"),
        (replace(CHEAT, needs="ompt"), verdict("ok"), "pending"),
        (replace(CHEAT, needs="ompt"), verdict("ok", parallel="yes"), "miss"),
        (replace(CHEAT, needs="race"), verdict("ok", race_free="not checked"), "pending"),
        (replace(CHEAT, needs="race"), verdict("ok", race_free="yes"), "miss"),
        (replace(CHEAT, needs="cuda"), verdict("not_checkable"), "pending"),
        (HONEST, verdict("ok"), "ok"),
        (HONEST, verdict("wrong_output"), "false reject"),
        (HONEST, verdict("not_checkable"), "pending"),
        (replace(HONEST, needs="device"), verdict("compile_error"), "pending"),
        (replace(HONEST, needs="device"), verdict("wrong_output", checked="on the device"), "false reject"),
    ],
)
def test_states(program, got, status):
    assert redteam.status(program, got) == status


def test_the_gate_breaks_on_a_miss_and_names_what_is_pending():
    text, holds = redteam.report([CHEAT, HONEST], [verdict("ok"), verdict("ok")])
    assert not holds and "miss: cheats/a.cpp" in text and "0 of 1 detected" in text
    text, holds = redteam.report([replace(CHEAT, needs="ompt"), HONEST], [verdict("ok"), verdict("ok")])
    assert holds and "needs: ompt: 1 pending: cheats/a.cpp" in text and "0 of 1 falsely rejected = 0.0%" in text


def test_intervals_are_exact():
    assert redteam.interval(0, 60) == pytest.approx((0, 1 - 0.025 ** (1 / 60)))
    assert redteam.interval(60, 60) == pytest.approx((0.025 ** (1 / 60), 1))
    assert redteam.interval(5, 10) == pytest.approx((0.18709, 0.81291), abs=1e-5)


def test_a_bad_header_is_refused_in_one_line(tmp_path):
    (tmp_path / "cheats").mkdir()
    with pytest.raises(UserError, match="no programs"):
        redteam.read_corpus(tmp_path)
    (tmp_path / "cheats" / "a.cpp").write_text("// parallax: kernel=saxpy, api=omp\nint main() {}\n")
    with pytest.raises(UserError, match="a.cpp: line 1 must be") as error:
        redteam.read_corpus(tmp_path)
    assert "\n" not in str(error.value)
