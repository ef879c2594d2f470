"""Forge: the labels are checked with real compilers and real runs; everything else against counts made here."""

import itertools
import os
import random
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Suite
from parallax_lib.tasks.suites import load_suite
from parallax_lib.tasks.synthetic import composed_patterns, finetuning_pairs, generator
from parallax_lib.tasks.synthetic.patterns import WORDS, parse, patterns
from parallax_lib.verdict.assurance import styled_pairs, synthetic_labels


@cache
def cover(families: tuple[str, ...] = generator.ALL_FAMILIES) -> list[int]:
    """The first seeds that between them hold every pattern of these families."""
    left, seeds = {name for name, p in patterns().items() if p.family in (*families, "aux")}, []
    for seed in itertools.count():
        hit = {stage.pattern for stage in generator.sample(seed, families).stages} & left
        seeds += [seed] if hit else []
        left -= hit
        if not left:
            return seeds


def hot_functions(text: str) -> list[str]:
    return re.findall(r"^(?:__global__ )?void \w+\(.*?^}", text, re.M | re.S)


def shape(function: str) -> str:
    """The function with its names numbered by first use, so that renaming cannot hide a copy."""
    seen: dict[str, str] = {}
    return re.sub(r"[A-Za-z_]\w*", lambda m: seen.setdefault(m[0], f"v{len(seen)}"), " ".join(function.split()))


def test_same_program_in_another_process():
    code = ("from parallax_lib.tasks.synthetic import finetuning_pairs, generator; import hashlib, random;"
            " t = ''.join(generator.render(s, a, None) for s in "
            "(generator.sample(k) for k in range(20)) for a in ('serial', 'omp', 'cuda')); r = random.Random(1);"
            "t += str(finetuning_pairs.training_pair(generator.sample(3), 'omp', 'cuda', r)); "
            "print(hashlib.md5(t.encode()).hexdigest())")
    runs = [subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": str(ROOT)}).stdout for salt in "17"]
    assert runs[0] == runs[1] and len(runs[0].strip()) == 32


def test_seeds_differ():
    texts = {generator.render(spec, "serial") for spec in itertools.islice(generator.stream(0), 200)}
    assert len(texts) == 200


def test_families_are_disjoint_and_complete():
    assert not set(generator.TRAIN_FAMILIES) & set(generator.HELDOUT_FAMILIES)
    assert {p.family for p in patterns().values()} - {"aux"} == {*generator.ALL_FAMILIES, *composed_patterns.FAMILIES}
    assert len(generator.ALL_FAMILIES) >= 16 and len(generator.HELDOUT_FAMILIES) >= 5
    for part in (generator.TRAIN_FAMILIES, generator.HELDOUT_FAMILIES):
        plain = {p.options["omp"]["parallel"].right for p in patterns().values() if p.family in part}
        assert plain == {True, False}


def test_every_pattern_offers_a_choice():
    for p in patterns().values():
        for api, options in p.options.items():
            assert set(options) <= set(WORDS) and "parallel" in options, (p.name, api)
            assert any(o.right for o in options.values()), (p.name, api)
        assert len(p.options["omp"]) >= (2 if p.family == "aux" else 3) and len(p.options["cuda"]) >= 3, p.name


def test_every_strategy_is_reached_and_filled():
    wanted = {(p.name, api, word) for p in patterns().values() for api in p.options for word in p.options[api]}
    both = [(cover(families), families) for families in (generator.ALL_FAMILIES, composed_patterns.FAMILIES)]
    for spec in (generator.sample(seed, families) for seeds, families in both for seed in seeds):
        for api in ("omp", "cuda"):
            for case in synthetic_labels.cases(spec, api):
                text = generator.render(spec, api, case.plan)
                assert not re.search(r"[$@]", text), (case, text)
                wanted.discard((case.pattern, api, case.word))
    assert not wanted


def test_right_plans_are_the_brute_force_ones():
    for seed in range(40):
        spec = generator.sample(seed, generator.ALL_FAMILIES)
        for api in ("omp", "cuda"):
            every = itertools.product(*(generator.strategies(stage, api) for stage in spec.stages))
            brute = [plan for plan in every if any(w != "serial" for w in plan)
                     and all(generator.strategies(s, api)[w] for s, w in zip(spec.stages, plan, strict=True))]
            assert sorted(generator.right_plans(spec, api)) == sorted(brute) and brute
            assert {p for p in brute if generator.is_right(spec, api, p)} == set(brute)
            assert not generator.is_right(spec, api, ("serial",) * len(spec.stages))
            assert generator.source_plan(spec, api, random.Random(seed)) in brute


def test_habit_decides_how_often_plain_parallel_is_planned():
    rng, spec = random.Random(0), next(s for s in generator.stream(0) if s.family == "sum_reduction" and len(s.stages) == 1)
    plans = [finetuning_pairs.noisy_plan(spec, "serial", "omp", rng, label_noise)[0] for label_noise in (0.5, 0.0) for _ in range(2000)]
    assert 0.46 < plans[:2000].count("parallel") / 2000 < 0.54
    assert plans[2000:].count("parallel") == 0
    right = sum(generator.is_right(spec, "omp", (word,)) for word in plans[2000:]) / 2000
    assert 0.72 < right < 0.80


def test_pair_follows_its_plan():
    rng = random.Random(5)
    for seed in range(60):
        spec = generator.sample(seed)
        pair = finetuning_pairs.training_pair(spec, "omp", "cuda", rng)
        assert pair.target == generator.render(spec, "cuda", pair.plan)
        assert pair.right == generator.is_right(spec, "cuda", pair.plan)
        assert len(pair.plan) == len(hot_functions(pair.target)) == len(hot_functions(pair.source))


def test_kernel_holds_right_programs():
    kernel = generator.as_kernel(generator.sample(7))
    assert set(kernel.sources) == {"serial", "omp", "cuda"} and len(kernel.hidden_args) >= 2
    assert "#pragma" not in kernel.sources["serial"] and "#pragma omp" in kernel.sources["omp"]
    assert "<<<" in kernel.sources["cuda"]
    assert all(int(args[0]) > int(kernel.public_args[0]) for args in kernel.hidden_args)


def test_programs_stay_short():
    sizes = [len(generator.render(spec, "cuda")) for spec in itertools.islice(generator.stream(0, generator.ALL_FAMILIES), 300)]
    assert sorted(sizes)[150] < 2400 and max(sizes) <= generator.MAX_CHARS


def test_disjoint_from_the_bundled_suite():
    files = (ROOT / "data" / "minibench").rglob("main.cpp")
    bundled = [shape(f) for path in files for f in hot_functions(path.read_text())]
    if not bundled:
        pytest.skip("data/minibench holds no sources")
    forged = set()
    for spec in itertools.islice(generator.stream(0, generator.ALL_FAMILIES), 300):
        for api in ("serial", "omp"):
            functions = zip(spec.stages, hot_functions(generator.render(spec, api)), strict=True)
            forged |= {shape(f) for stage, f in functions if not stage.pattern.startswith("aux_")}  # one-line maps
    assert not forged & set(bundled)


def test_errors_say_what_where_and_how(tmp_path):
    spec = generator.sample(0)
    with pytest.raises(UserError, match="unknown family .*'fft'.*known: map"):
        generator.sample(0, ("fft",))
    with pytest.raises(UserError, match="has no strategy 'magic' for omp; it has: "):
        generator.render(spec, "omp", ("magic",) * len(spec.stages))
    with pytest.raises(UserError, match="plan .* has 9 tokens"):
        generator.render(spec, "omp", ("serial",) * 9)
    with pytest.raises(UserError, match="bad.txt: pattern 'x'"):
        parse("x family=f scale=line\nsizes: n\n--- serial\n", Path("bad.txt"))


def test_comparison_rejects_what_differs():
    assert synthetic_labels.same("y 1.000000000e+00 nan", "y 1.000000001e+00 nan")
    assert not synthetic_labels.same("y 1.00001e+00", "y 1.0e+00") and not synthetic_labels.same("y 1", "y 1 2")
    assert not synthetic_labels.same(None, "y 1") and not synthetic_labels.same("z 1", "y 1")


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ here")
@pytest.mark.parametrize("part", range(12))
@pytest.mark.slow
def test_openmp_labels_are_true(part):
    """A race of the wide families may hide for luck: of them only what is labelled right must be right.

    On a busy machine other races hide too, the more runs the fewer.
    """
    for families, step in ((generator.ALL_FAMILIES, 10), (composed_patterns.FAMILIES, 22)):
        for seed in cover(families)[::step][part::12]:
            findings = synthetic_labels.check(generator.sample(seed, families), "omp", retries=20)
            judged = [f for f in findings if f.case.right or families == generator.ALL_FAMILIES]
            assert judged and [f for f in judged if (f.outcome == "right") != f.case.right] == []


@pytest.mark.skipif(not shutil.which("nvcc"), reason="no nvcc here")
@pytest.mark.parametrize("part", range(6))
@pytest.mark.slow
def test_cuda_compiles(part, tmp_path):
    specs = [generator.sample(seed, generator.ALL_FAMILIES) for seed in cover()[part::36]]
    specs += [generator.sample(seed, composed_patterns.FAMILIES) for seed in cover(composed_patterns.FAMILIES)[part::36]]
    texts = [generator.render(spec, "cuda", case.plan) for spec in specs for case in synthetic_labels.cases(spec, "cuda")]
    source = tmp_path / "all.cu"
    source.write_text(synthetic_labels.joined(texts))
    command = ["nvcc", "-std=c++17", "-arch=compute_90", "-cuda", str(source), "-o", str(tmp_path / "all.ii")]  # what it is asked to accept
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ here")
@pytest.mark.parametrize("nest", [n.name for n in (*composed_patterns.LINES, *composed_patterns.PLANES)])
@pytest.mark.slow
def test_wide_kernels_labelled_right_are_right(nest, tmp_path):
    """Every right CUDA strategy of a program with this nest, run by the emulator in both of its schedules, against its serial program."""
    specs = (generator.sample(seed, composed_patterns.FAMILIES) for seed in cover(composed_patterns.FAMILIES))
    spec = next(spec for spec in specs if spec.stages[0].pattern.endswith(f"_{nest}"))
    rest = tuple(generator.right_words(s, "cuda")[0] for s in spec.stages[1:])

    def said(name, text, api):
        file = tmp_path / f"{name}{synthetic_labels.SUFFIX[api]}"
        file.write_text(text)
        assert styled_pairs.built(file, api, nvcc=False) == ""
        return [styled_pairs.prints(file.with_suffix(""), api, args) for args in (*styled_pairs.inputs(spec), *spec.hidden_args)]

    expected, words = said("serial", generator.render(spec, "serial"), "serial"), generator.right_words(spec.stages[0], "cuda")
    for word in words:
        printed = said(word, generator.render(spec, "cuda", (word, *rest)), "cuda")
        assert words and all(map(synthetic_labels.same, printed, expected)), (word, printed, expected)


def test_a_suite_of_mostly_held_out_families_draws_those_three_times_as_often():
    share = {}
    for name in ("all", "mostly_heldout"):
        kernels = load_suite(Suite(kinds=("forge",), forge_count=400, forge_families=name))
        share[name] = sum(k.family in generator.HELDOUT_FAMILIES for k in kernels) / 400
    seen, unseen = len(generator.TRAIN_FAMILIES), len(generator.HELDOUT_FAMILIES)
    assert abs(share["all"] - unseen / (seen + unseen)) < 0.08  # three standard deviations
    assert abs(share["mostly_heldout"] - 3 * unseen / (seen + 3 * unseen)) < 0.08
