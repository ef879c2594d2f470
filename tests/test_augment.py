"""Dressed forge programs: renaming only renames, helper functions compute the same, both texts of a pair stay one."""

import random
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from test_generator import cover, shape

from parallax_lib.cuda_emulation import emulate
from parallax_lib.tasks.synthetic import augment, finetuning_pairs, generator
from parallax_lib.tasks.task import APIS
from parallax_lib.verdict.assurance import synthetic_labels

KEYWORDS = set("int double float unsigned bool const void for if else return while do struct template class".split())


def undressed(seed):
    return generator.sample(seed, generator.ALL_FAMILIES)


def pair(seed, source, target, dressed):
    return finetuning_pairs.training_pair(undressed(seed), source, target, random.Random(seed), 0.4, dressed)


def helped(seed):
    """The dressed program, its calls not repeated; None where it has no helper function."""
    spec = augment.dress(undressed(seed), random.Random(seed))
    return once(spec) if spec.helpers else None


def once(spec):
    plain = {stage.func: stage.params for stage in undressed(spec.seed).stages}
    return replace(spec, stages=tuple(replace(stage, loop="", params=plain[stage.func]) for stage in spec.stages))


def looped(seed):
    spec = augment.dress(undressed(seed), random.Random(seed))
    return spec if any(stage.loop for stage in spec.stages) else None


def own_part(text):
    """The program without the scaffolding that all programs share and without what only looks like a name."""
    text = re.sub(r"\.data\(\)|(?<=\d)u\b|%\.?\d*\w|\\n", "$", text)
    return re.split(r"16777216.0; }\n|size\(\) / 2]\);\n}\n", text)[-1]


@cache
def with_helpers():
    return [seed for seed in cover() if helped(seed)]


@pytest.mark.parametrize("source, target", [("serial", "omp"), ("cuda", "omp"), ("omp", "cuda")])
def test_renaming_only_renames(source, target):
    changed = 0
    for seed in cover():
        spec = undressed(seed)
        texts = generator.render(spec, source), generator.render(spec, target)
        new = augment.rename(texts, spec, random.Random(seed), source == "cuda")
        assert [shape(own_part(text)) for text in new] == [shape(own_part(text)) for text in texts], seed
        changed += new != texts
    assert changed == len(cover())


def test_a_name_is_the_same_in_source_and_target():
    for seed in cover():
        spec = undressed(seed)
        text = generator.render(spec, "serial")
        assert len(set(augment.rename((text, text), spec, random.Random(seed), False))) == 1
        old, new = pair(seed, "serial", "omp", False), pair(seed, "serial", "omp", True)
        words = [set(re.findall(r"[A-Za-z_]\w*", t)) for t in (old.source, old.target, new.source, new.target)]
        assert (new.plan, new.right) == (old.plan, old.right)
        assert not (words[2] - words[0]) & KEYWORDS
        own = words[1] - words[0]  # what only the translation holds, before and after
        assert len(words[3] - words[2]) <= len(own) + 1, (seed, words[3] - words[2], own)


def test_some_functions_get_a_helper_and_cuda_marks_it():
    assert len(cover()) / 4 < len(with_helpers()) < len(cover())
    for seed in with_helpers():
        spec = helped(seed)
        texts = {api: generator.render(spec, api) for api in APIS}
        for helper in spec.helpers:
            assert texts["serial"].count(helper.text) == texts["omp"].count(helper.text) == 1
            assert f"__device__ {helper.text}" in texts["cuda"] and all(t.count(helper.name) > 1 for t in texts.values())


def parsed(text: str) -> np.ndarray:
    """The numbers that a program prints, without its words."""
    return np.array([float(x) for x in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])", text)])


def numbers(texts: list[str], folder: Path) -> list[np.ndarray]:
    """What each of these serial and OpenMP programs prints for one input; all are built as one program."""
    source = folder / "all.cpp"
    source.write_text(synthetic_labels.joined(texts))
    subprocess.run(["g++", "-O0", "-fopenmp", "-w", source, "-o", folder / "all"], check=True)
    commands = [[folder / "all", str(k), "37", "5"] for k in range(len(texts))]
    return [parsed(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for command in commands]


def cuda_numbers(text: str, folder: Path) -> np.ndarray:
    """What a CUDA program prints for that input, on the emulator."""
    (folder / "main.cu").write_text(text)
    emulate.compile_program(folder / "main.cu", folder / "emulated", flags=("-O0",))
    return parsed(subprocess.run([folder / "emulated", "37", "5"], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ here")
def test_dressed_programs_print_the_same_numbers(tmp_path):
    texts = []
    for seed in with_helpers()[::5]:
        spec = helped(seed)
        both = generator.render(spec, "serial"), generator.render(spec, "omp")
        texts += [generator.render(undressed(seed), "serial"), *augment.rename(both, spec, random.Random(seed), False)]
    printed = numbers(texts, tmp_path)
    for k in range(0, len(texts), 3):
        assert len(printed[k])
        for more in (1, 2):
            np.testing.assert_allclose(printed[k + more], printed[k], rtol=1e-9, err_msg=texts[k + more])


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ here")
def test_repeated_calls_print_what_calls_in_a_row_print(tmp_path):
    texts = []
    for seed in [seed for seed in range(200) if looped(seed)][:6]:
        spec = looped(seed)
        serial, omp = generator.render(spec, "serial"), generator.render(spec, "omp")
        rolled = [m for m in re.finditer(r"  (for \(int (\w+) = 0; \2 < (\d); \2\+\+\))\n    (\w+\(.*\);)\n", serial)]
        assert len(rolled) == sum(bool(stage.loop) for stage in spec.stages)
        flat = serial
        for match in rolled:
            calls = [re.sub(rf"\b{match[2]}\b(?!\()", str(k), match[4]) for k in range(int(match[3]))]
            flat = flat.replace(match[0], "".join(f"  {call}\n" for call in calls))
        texts += [flat, serial, omp]
    printed = numbers(texts, tmp_path)
    for k in range(0, len(texts), 3):
        expected, serial, omp = printed[k : k + 3]
        np.testing.assert_allclose(serial, expected, rtol=1e-12)
        np.testing.assert_allclose(omp, expected, rtol=1e-9, err_msg=texts[k + 2])
        assert np.isfinite(expected).all()


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ here")
def test_repeated_calls_print_the_same_in_cuda(tmp_path):
    """A sum that every call adds to (82), and sums that serial and OpenMP code writes anew: these are not repeated (38, 182)."""
    for seed, repeated in ((82, True), (38, False), (182, False)):
        spec = augment.dress(undressed(seed), random.Random(seed))
        assert any(stage.loop for stage in spec.stages) == repeated
        [expected] = numbers([generator.render(spec, "serial")], tmp_path)
        np.testing.assert_allclose(cuda_numbers(generator.render(spec, "cuda"), tmp_path), expected, rtol=1e-9, err_msg=f"{seed}")


@pytest.mark.skipif(not shutil.which("nvcc"), reason="no nvcc here")
def test_dressed_cuda_compiles(tmp_path):
    texts = []
    for seed in with_helpers()[:2]:
        cuda = generator.render(helped(seed), "cuda")
        texts += augment.rename((cuda, cuda), helped(seed), random.Random(seed), True)
    (tmp_path / "all.cu").write_text(synthetic_labels.joined(texts))
    subprocess.run(["nvcc", "-arch=sm_90", "-Xptxas", "-O0", "-c", "-w", "all.cu", "-o", "all.o"], cwd=tmp_path, check=True)
