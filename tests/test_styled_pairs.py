"""Styled training pairs: built and run they print the same; habits are shared by both texts; plain pairs stay as they were."""

import hashlib
import random
import re
import shutil
from dataclasses import replace

import pytest

from parallax_lib.core.settings import DIRECTIONS
from parallax_lib.tasks.synthetic import finetuning_pairs, generator, kernel_style
from parallax_lib.tasks.synthetic.habits import draw
from parallax_lib.verdict.assurance import styled_pairs

PLAIN = "1f0f4b01e4cb2f5db08e760a6cd21232"  # of the pairs below
SAMPLE = [(seed, direction) for seed in range(60) for direction in (DIRECTIONS[seed % len(DIRECTIONS)],)]
able = pytest.mark.skipif(not shutil.which("g++"), reason="no g++ here")


@pytest.fixture(scope="module")
def pairs():
    return [styled_pairs.pair_of(seed, direction)[1] for seed, direction in SAMPLE]


def kernels(text):
    """The CUDA functions that run on the device."""
    long = re.findall(r"^__(?:global|device|host)__ [^\n]*\)\s*\{\n.*?^\}", text, re.M | re.S)
    return re.findall(r"^__(?:device|host)__ .*\}$", text, re.M) + long


def statements(text):
    """What prints, in order, without layout; a stream may be used for numbers only."""
    return [" ".join(line.split()) for line in text.splitlines() if re.search(r"printf\(\"|cout <<|cout\.", line)]


def test_plain_pairs_stay_byte_identical():
    text = ""
    for k in range(60):
        source, target = DIRECTIONS[k % len(DIRECTIONS)].split("-")
        text += str(finetuning_pairs.training_pair(generator.sample(k), source, target, random.Random(k), 0.3, k % 2 == 0))
    assert hashlib.md5(text.encode()).hexdigest() == PLAIN


def test_both_texts_print_with_the_same_statements_and_plans_are_right(pairs):
    for (seed, _), pair in zip(SAMPLE, pairs, strict=True):
        assert pair.right and set(pair.plan) != {"none"}
        source, target = (
            [re.sub(r"\.data\(\)|, [\w *+()-]+(?=\))", "", line) for line in statements(text)] for text in (pair.source, pair.target)
        )
        assert source == target and source, seed


def test_no_kernel_calls_the_host_library(pairs):
    found = [body for pair in pairs for text in (pair.source, pair.target) if "__global__" in text for body in kernels(text)]
    assert len(found) > 60 and not [body for body in found if "std::" in body]
    assert any(re.search(r"\b(min|max)\(", body) for body in found)  # there are such expressions
    assert any("std::min(" in p.source or "std::max(" in p.source for p in pairs if "__global__" not in p.source)


@pytest.mark.parametrize(
    "habit",
    ["<stdio.h>", "std::cout", "std::vector", "PASS", "elapsed", "malloc(", "new double[", "cudaGetErrorString",
     "cudaMallocManaged", "cudaMallocHost",
     "srand(", "cudaMemset(", "default(none)", "schedule(", "omp parallel\n", "float *", "argc != 3", "i < 5",
     "BLOCK_SIZE"],
)  # fmt: skip
def test_every_habit_is_some_authors_and_not_everyones(pairs, habit):
    texts = [text.replace("float* ", "float *") for pair in pairs for text in (pair.source, pair.target)]
    texts += [re.sub(r"\w+ < 5 &&", "i < 5", text) for text in texts]
    having = sum(habit in text for text in texts)
    assert 0 < having < len(texts) * 0.7, having


def author(**choices):
    return replace(draw(random.Random(1), "map"), element="double", restrict=False, index="plain", strides=False, **choices)


def test_directives_in_other_words():
    loop = "  #pragma omp parallel for reduction(+:r[:1])\n  for (int i = 0; i < n; i++)\n    r[0] += x[i];\n"
    text = "void f(int n, const double *x, double *r) {\n" + loop + "}\n"
    listed = kernel_style.function(text, "omp", author(pragma="default"))
    assert "#pragma omp parallel for reduction(+:r[:1]) default(none) shared(n, x)\n" in listed
    apart = kernel_style.function(text, "omp", author(pragma="split"))
    assert apart.splitlines()[1:7] == [
        "  #pragma omp parallel",
        "  {",
        "    #pragma omp for reduction(+:r[:1])",
        "    for (int i = 0; i < n; i++)",
        "      r[0] += x[i];",
        "  }",
    ]


def test_extremes_are_written_as_the_api_has_them():
    text = "double f(double a, double b) { return MINOF(MAXOF(a + b, 0.5), 2.0); }"
    say = {api: kernel_style.function(text, api, author(clip="std", pragma="none")) for api in ("serial", "omp", "cuda", "device")}
    assert "std::min(std::max(a + b, 0.5), 2.0)" in say["serial"] and say["serial"] == say["omp"]
    assert "return min(max(a + b, 0.5), 2.0);" in say["cuda"] and say["cuda"] == say["device"]
    assert "fmin(fmax(a + b, 0.5), 2.0)" in kernel_style.function(text, "cuda", author(clip="fmin", pragma="none"))
    macro = kernel_style.function(text, "cuda", author(clip="macro", pragma="none"))
    assert "MIN(MAX(a + b, 0.5), 2.0)" in macro and kernel_style.macros(macro).count("#define") == 2


@able
@pytest.mark.parametrize("seed", (1000, 1002, 1003, 1005, 1006, 1009))
def test_styled_pairs_print_the_same(seed):
    found = styled_pairs.check(seed, nvcc=False)
    assert found.outcome == "right", found


@able
def test_the_check_sees_a_wrong_pair(monkeypatch):
    text = '#include <cstdio>\n#include <cstdlib>\nint main(int, char **argv) { printf("%d\\n", atoi(argv[1])); }\n'
    spec, pair = styled_pairs.pair_of(0, "serial-omp")

    def outcome(target):
        monkeypatch.setattr(styled_pairs, "pair_of", lambda seed, direction: (spec, replace(pair, source=text, target=target)))
        return styled_pairs.check(DIRECTIONS.index("serial-omp"), nvcc=False).outcome

    assert outcome(text) == "right"
    assert outcome(text.replace("atoi(", "1 + atoi(")) == "wrong"
    assert outcome(text.replace("; }", "; return 3; }")) == "crash"
    assert outcome(text.replace("atoi", "atoj")) == "compile_error"


@pytest.mark.slow
@able
def test_twelve_styled_pairs():
    assert styled_pairs.main(["--pairs", "12", "--seed", "3000"]) == 0
