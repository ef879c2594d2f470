"""Memory told from descriptions against the bytes of real models, caches and optimisers."""

import copy
import itertools
import subprocess
import sys
import types
from dataclasses import replace

import pytest
import torch
from training_rows import QUICK, make_rows, write_lm

from parallax_lib import __main__
from parallax_lib.core import config
from parallax_lib.core import settings as sections
from parallax_lib.core.errors import UserError
from parallax_lib.core.halving import Shrinking
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import train
from parallax_lib.prm.dataset import prepare
from parallax_lib.search import prompt_room, rollouts
from parallax_lib.study import memory, memory_text
from parallax_lib.tasks.suites import load_suite
from parallax_lib.tasks.task import tasks
from parallax_lib.translator import engine, models, tensor_parallel
from parallax_lib.translator.models import Translator, byte_tokenizer

SHAPE = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3, "vocab_size": 260}


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    """(folder, model) of a random bfloat16 Llama with grouped heads."""
    folder = tmp_path_factory.mktemp("lm")
    model = write_lm(folder, **SHAPE)
    byte_tokenizer().save_pretrained(folder)
    return folder, model


def settings(**sections):
    return config.load("tiny", **sections)


def held(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def test_weights_and_cache_take_what_a_real_model_takes(lm):
    folder, model = lm
    told = memory.describe(sections.Translator(model=str(folder)))
    assert told.bytes == held(model.parameters()) and all(p.is_meta for p in told.model.parameters())
    translator = Translator(model.eval(), told.tokenizer, "lm")
    state = engine.prefill(translator, [[1, 2, 3], [4, 5, 6]])
    slab = [t[:, :, : state.slab.length] for t in itertools.chain(*state.slab.layers)]
    assert held(slab) == 2 * 3 * told.column_bytes  # rows, columns


@pytest.mark.parametrize("kind, rank", [("lm", 0), ("lm", 4), ("transformer", 0), ("gru", 0)])
def test_a_training_takes_weights_gradients_and_two_moments(lm, kind, rank):
    name = str(lm[0]) if kind == "lm" else kind
    asked = settings(prm={"kind": name, "lora_rank": rank, "width": 32})
    told_scoring, told_training = memory.prm_bytes(asked, name, 12)
    data = prepare(*make_rows())
    config = replace(QUICK, unfreeze_step=0)
    shape = prm_model.PRMConfig(
        backbone=name, lora_rank=rank, width=32, layers=asked.prm.layers, heads=asked.prm.heads, latent_width=12, steps=4
    )
    model = train.initial_model(data, shape, config)
    scoring = held(model.state_dict().values())
    optimizer = train.first_phase(model, config)
    train.unfreeze(model, optimizer, config)
    train.update(model, optimizer, data, data.rows("train"), config, 0, Shrinking(config.device_batch))
    gradients = held(p.grad for p in model.parameters() if p.grad is not None)
    moments = held(s[name] for s in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq"))
    assert told_scoring == scoring
    statistics = held(model.buffers())  # the one thing that is kept but not trained
    assert told_training == pytest.approx(held(model.state_dict().values()) + gradients + moments, abs=3 * statistics)


@pytest.mark.parametrize(
    ("lora", "precision", "recompute", "compiled", "measured"),
    [
        (16, "bf16", False, False, 50.58),
        (16, "bf16", True, False, 16.11),
        (16, "bf16", False, True, 42.62),
        (0, "bf16-weights", True, False, 63.1),
        (0, "bf16", True, False, 99.9),
    ],
)
def test_training_a_7b_is_planned_as_an_h200_measured_it(lora, precision, recompute, compiled, measured):
    """GiB that `bench prm --shape 7b` told there (data/bench), 1,024 trajectories of 6 latents in one forward."""
    shape = prm_model.PRMConfig(backbone="Qwen/Qwen2.5-Coder-7B-Instruct", latent_width=3584, lora_rank=lora, steps=6)
    kept = memory.activations(shape, 1024, precision, recompute, compiled)
    whole = memory.MOMENT["02"] * (memory.bytes_of(shape, precision)[1] + kept + memory.CONTEXT) / memory.GIB
    assert whole == pytest.approx(measured, rel=0.1)


def test_what_a_training_keeps_for_its_backward_pass_is_in_the_table():
    name = "Qwen/Qwen2.5-Coder-7B-Instruct"
    asked = {"kind": name, "lora_rank": 16, "precision": "bf16", "device_batch": 1024, "batch": 1024, "baselines": []}
    sums = [
        memory.needed(memory.table(settings(latent={"steps": 6}, prm={**asked, "recompute": again})))["02"] for again in (False, True)
    ]
    shape = prm_model.PRMConfig(backbone=name, latent_width=3584, lora_rank=16, steps=6)
    kept = [memory.activations(shape, 1024, "bf16", again) for again in (False, True)]
    assert sums[0] - sums[1] == pytest.approx(memory.MOMENT["02"] * (kept[0] - kept[1]) / memory.GIB)
    assert memory.activations(replace(shape, backbone="transformer"), 1024, "bf16") == 0


def test_a_given_prm_counts_instead_of_the_kind_that_would_be_trained(lm, tmp_path):
    model = prm_model.build(prm_model.PRMConfig(backbone="gru", width=48, latent_width=32, steps=4))
    prm_model.save(model, tmp_path / "given")
    given = {"checkpoint": str(tmp_path / "given"), "kind": "transformer", "folds": 0}
    rows = memory.table(settings(translator={"model": str(lm[0])}, prm=given))
    for stage in ("03", "04"):
        told = rows[rows["what"] == "PRM gru"].set_index("stages").loc[stage, "gib"]
        assert told * memory.GIB == pytest.approx(held(model.state_dict().values()))


def test_the_longest_task_is_found(lm):
    asked = settings(translator={"model": str(lm[0])})
    told = memory.describe(asked.translator)
    pool = tasks(load_suite(asked.suite), asked.suite.directions)
    sizes = [len(row) for row in rollouts.ask(told, pool)]
    rows, prompt, new = memory.dearest(told, asked)
    assert rows == asked.decode.batch and prompt == max(sizes) and new == prompt_room.token_limit(prompt, asked)


def test_the_command_says_the_sums_and_a_bigger_batch_takes_more(lm, capsys):
    sums = []
    for batch in (2, 200):
        asked = settings(translator={"model": str(lm[0])}, decode={"batch": batch})
        sums.append(memory.needed(memory.table(asked)))
    assert sums[1]["01"] > sums[0]["01"] and sums[1]["02"] == sums[0]["02"] and sums[0]["04"] >= sums[0]["01"]
    assert __main__.main(["size", str(config.ROOT / "params" / "tiny.yaml")]) == 0
    out = capsys.readouterr().out
    assert "stage 04:" in out and "GiB a process" in out and "this machine:" in out


@pytest.mark.parametrize("value, key", [("translator.model", "translator.model"), ("prm.kind", "prm.kind")])
def test_a_model_that_is_not_there_is_one_line(value, key, capsys, tmp_path):
    given = [str(config.ROOT / "params" / "tiny.yaml"), "--set", f"{value}={tmp_path / 'nothing'}"]
    assert __main__.main(["size", *given]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"parallax: {key}: cannot load") and "\n" not in told


def test_the_width_is_told_without_the_weights(lm):
    assert models.width_of(sections.Translator(model=str(lm[0]))) == 32
    assert models.width_of(sections.Translator(model="random")) == models.load_translator(sections.Translator(model="random")).width


@pytest.mark.parametrize(
    "total, rank, said", [(200, 0, "it fits"), (80, 0, "stage 02 wants"), (80, 16, "stage 04 wants"), (40, 16, "decode.batch")]
)
def test_what_does_not_fit_is_told_with_what_would_help(total, rank, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: types.SimpleNamespace(total_memory=total * memory.GIB))
    told = memory_text._fits(settings(prm={"kind": "x", "lora_rank": rank}), {"01": 34.0, "02": 14.0 if rank else 98.0, "04": 70.0})
    assert said in told and ("such as 16" in told) == (total == 80 and not rank)


def test_a_part_takes_what_a_real_part_takes(lm):
    """Of a tiny model as `split` leaves it, and of Llama-3.3-70B by hand: matrices in two, norms and both vocabularies whole."""
    told = memory.describe(sections.Translator(model=str(lm[0])), 2)
    part = tensor_parallel.split(copy.deepcopy(lm[1]), 2, "cpu", lambda value, style, device: tensor_parallel.cut(value, style, 1, 2))
    assert told.bytes == held(part.parameters())
    assert 2 * told.column_bytes == memory.describe(sections.Translator(model=str(lm[0]))).column_bytes
    width, keys, inner, vocabulary, layers = 8192, 8 * 128, 28672, 128256, 80
    layer = (2 * width * width + 2 * width * keys + 3 * width * inner) // 2 + 2 * width
    large = memory.describe(sections.Translator(model="meta-llama/Llama-3.3-70B-Instruct"), 2)
    assert large.bytes == 2 * (layers * layer + width + 2 * vocabulary * width) and large.column_bytes == 2 * layers * keys * 2 // 2


def test_named_gpus_that_are_too_small_are_refused_with_those_that_would_do(lm, monkeypatch):
    asked = [settings(translator={"model": str(lm[0])}, executor={"gpu": name}) for name in ("H200", "H200:2", "unknown", "")]
    one, two = (memory.needed(memory.table(each))["01"] for each in asked[:2])
    assert two < one
    monkeypatch.setattr(memory, "GPU_GIB", {"H200": (one + two) / 2 / models.GPU_SHARE, "L4": one / 4, "B200": 2 * one})
    with pytest.raises(UserError, match=r"executor.gpu: H200: stage 01 needs 0 GiB translator .* of them for translators; name H200:2 or"):
        memory.refuse(asked[0], "01")
    for each in asked[1:]:
        memory.refuse(each, "01")
    assert memory.choices(asked[0], ["01"]) == ["H200:2", "B200"]
    instead = {"gpu": "B200", "gpu_else": ["L4"]}
    with pytest.raises(UserError, match="executor.gpu_else: L4: stage 01 needs .*; leave it out"):
        memory.refuse(settings(translator={"model": str(lm[0])}, executor=instead), "01")


def test_a_bad_width_is_told_as_such(capsys):
    given = [str(config.ROOT / "params" / "tiny.yaml"), "--set", "prm.kind=transformer", "--set", "prm.width=30"]
    assert __main__.main(["size", *given]) == 2
    assert capsys.readouterr().err.startswith("parallax: PRM width 30 must be")


def test_a_file_that_is_not_there_is_told_before_torch_is_loaded():
    said = "import sys; from parallax_lib.__main__ import main; assert main(['size', 'nope.yaml']) == 2 and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", said], check=True)


@pytest.mark.parametrize("rank, count, held_beneath", [(0, 1, 0), (0, 4, 0), (4, 2, 1), (4, 2, 2)])
def test_a_prm_of_several_processes_takes_a_part_of_what_it_learns_on_each(lm, rank, count, held_beneath):
    """Adam in float32 keeps four numbers of a learned weight; what lies beneath adapters is whole where a quarter of the GPU is enough."""
    shape = prm_model.PRMConfig(backbone=str(lm[0]), latent_width=32, lora_rank=rank)
    model = prm_model.unfilled(shape)
    learned = sum(p.numel() for p in prm_model.learned(model).values())
    beneath = sum(v.nbytes for v in model.state_dict().values()) - sum(v.nbytes for v in prm_model.learned(model).values())
    room = {0: 1, 1: 4 * beneath, 2: 4 * beneath - 4}[held_beneath]
    told = memory.on_each(shape, "fp32", 1000, count, room) / memory.MOMENT["02"] * memory.GIB - memory.CONTEXT
    whole = count == 1 or held_beneath == 1
    assert told == pytest.approx((beneath if whole else beneath / count) + 16 * learned / count + 1000)


def test_a_language_model_as_prm_is_told_for_torchrun_and_a_small_one_is_not(lm):
    large = memory_text.text(settings(translator={"model": str(lm[0])}, prm={"kind": str(lm[0])}))
    assert "stage 02 by torchrun" in large and "over 8" in large
    assert "torchrun" not in memory_text.text(settings(translator={"model": str(lm[0])}))
