"""A model in parts against the whole one: the plan's arithmetic here, the engine's results in two processes over gloo, or on two GPUs."""

from dataclasses import replace

import numpy as np
import pytest
import tensor_parallel_work as work
import tiny_families
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from test_rollouts import TASK

from parallax_lib.core.config import dump, load
from parallax_lib.core.errors import UserError
from parallax_lib.core.executors import ExecutorConfig, run_map
from parallax_lib.core.settings import Translator as TranslatorParams
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import packed
from parallax_lib.search import guided_search, latent_sensitivity, program_rows, rollouts
from parallax_lib.translator import models, tensor_parallel
from parallax_lib.translator.tensor_parallel import INPUTS, OUTPUTS, PACKED, cut

GPU = "H200:2" if torch.cuda.device_count() > 1 else "cpu:2"
UNPLANNED = ("phi 3", "codegen", "falcon", "gpt-2", "gpt-j", "starcoder 1", "opt", "gpt-oss")
PLANNED = (
    "qwen2", "qwen2, sliding", "qwen3", "qwen2 mixture", "qwen3 mixture", "llama 3", "mistral", "mixtral", "starcoder 2",
    "deepseek v2 lite", "deepseek v3", "gemma 2", "gemma 3", "granite", "cohere 2",
)  # fmt: skip


def elsewhere(fn, items):
    """What `fn` gives for each item in two ranks."""
    found = dict(run_map(fn, items, ExecutorConfig(gpu=GPU, retries=0)))
    for result in found.values():
        if isinstance(result, Exception):
            raise result
    return [found[i] for i in range(len(items))]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_parts_give_what_the_whole_matrix_gives(count):
    draw = torch.Generator().manual_seed(0)
    x, up, bias, down, offset = (torch.randn(*shape, generator=draw) for shape in ((3, 8), (16, 8), (16,), (6, 8), (6,)))
    parts = [F.linear(x, cut(up, OUTPUTS, r, count), cut(bias, OUTPUTS, r, count)) for r in range(count)]
    torch.testing.assert_close(torch.cat(parts, dim=-1), F.linear(x, up, bias))
    inputs = x.chunk(count, dim=-1)
    summed = sum(F.linear(inputs[r], cut(down, INPUTS, r, count), cut(offset, INPUTS, r, count)) for r in range(count))
    torch.testing.assert_close(summed, F.linear(x, down, offset))
    experts = torch.randn(2, 16, 8, generator=draw)  # two experts; of each gate and up, 8 rows one after the other
    halves = [F.linear(x, cut(experts, PACKED, r, count)[1]).chunk(2, dim=-1) for r in range(count)]
    gate, lift = F.linear(x, experts[1]).chunk(2, dim=-1)
    torch.testing.assert_close(torch.cat([g * u for g, u in halves], dim=-1), gate * lift)


def test_models_that_cannot_be_split_are_refused_in_one_line():
    model = tiny_families.build("llama 3")
    with pytest.raises(UserError, match="2 key heads of LlamaForCausalLM do not split over 3 GPUs; name 2"):
        tensor_parallel.check(model, 3)
    with pytest.raises(UserError, match="GPT2LMHeadModel has no plan"):
        tensor_parallel.check(tiny_families.build("gpt-2"), 2)
    model.tp_plan["model.layers.*.mlp.up_proj"] = "colwise_of_tomorrow"
    with pytest.raises(UserError, match="its plan has 'colwise_of_tomorrow'"):
        tensor_parallel.check(model, 2)


@pytest.mark.slow
def test_two_ranks_write_what_one_process_writes():
    """States of prefill and rivals agree to float32's rounding; greedy, sampled and drafted tokens are the same."""
    for name, told in zip(PLANNED, elsewhere(work.compared, PLANNED), strict=True):
        assert not isinstance(told, str), told
        off, same, held, whole = told
        assert off < 1e-4 and same and whole, (name, told)
        assert held == tensor_parallel.held(tiny_families.build(name), 2), name
    assert all("has no plan" in told for told in elsewhere(work.compared, UNPLANNED))


@pytest.mark.slow
def test_a_folder_and_its_adapter_are_dealt_out_and_a_damaged_one_is_refused(tmp_path):
    from peft import LoraConfig, get_peft_model
    from training_rows import write_lm

    torch.manual_seed(1)
    base = write_lm(tmp_path / "base", torch.float32, vocab_size=300, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3)
    models.byte_tokenizer().save_pretrained(tmp_path / "base")
    lora = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    lora.save_pretrained(tmp_path / "adapter")
    given = TranslatorParams(model=str(tmp_path / "base"), adapter=str(tmp_path / "adapter"), dtype="float32")
    told = [work.loaded((each, 1)) for each in (given, given.model_copy(update={"adapter": ""}))]
    half = (given.model_copy(update={"dtype": "bfloat16"}), 2)
    parts = elsewhere(work.loaded, [(given, 2), half])
    assert told[0][0] != told[1][0] and parts[0] == told[0]
    assert parts[1][1:] == told[0][1:]  # its tokens may differ: bfloat16 rounds a sum of parts elsewhere
    with pytest.raises(UserError, match="'lm_head.weight' is one; copy the folder again"):
        file = tmp_path / "base" / "model.safetensors"
        save_file({k: v for k, v in load_file(file).items() if k != "lm_head.weight"}, file, metadata={"format": "pt"})
        elsewhere(work.loaded, [half])


@pytest.mark.slow
def test_guided_programs_are_the_same_from_two_ranks(tmp_path):
    params = load("x", translator={"model": "random", "dtype": "float32"}, latent={"steps": 3}, decode={"max_new_tokens": 24},
                  search={"branches": 4, "samples": 2, "arms": ["unguided", "guided", "random", "redecode"]})  # fmt: skip
    prm = prm_model.build(prm_model.PRMConfig(latent_width=models.RANDOM_WIDTH, steps=3, width=16, layers=1, heads=2))
    packages = [packed.pack(prm_model.save(prm, tmp_path / "prm"), shared_disk=True)]
    item = {"params": dump(params), "gpu_share": 1.0, "prms": packages, "gpus": 1}
    item["rows"] = program_rows.plan_rows([TASK], params)
    one, (two,) = guided_search.translate_item(item), elsewhere(guided_search.translate_item, [item | {"gpus": 2}])
    columns = ("arm", "code", "picks", "cost")
    assert any("1" in r["picks"] or "2" in r["picks"] for r in one)
    assert [[r[c] for c in columns] for r in two] == [[r[c] for c in columns] for r in one]


@pytest.mark.slow
def test_rollouts_and_the_probe_are_the_same_from_two_ranks():
    params = load("x", translator={"model": "random", "dtype": "float32"}, latent={"steps": 3}, decode={"max_new_tokens": 24})
    chosen = [replace(TASK, kernel=replace(TASK.kernel, name=f"k{i}")) for i in range(2)]
    item = {"params": dump(params), "tasks": chosen, "gpu_share": 1.0, "gpus": 1}
    one, (two,) = rollouts.generate_item(item), elsewhere(rollouts.generate_item, [item | {"gpus": 2}])
    assert [(r["code"], r["plan"]) for r in two["rows"]] == [(r["code"], r["plan"]) for r in one["rows"]]
    np.testing.assert_allclose(two["vectors"], one["vectors"], rtol=2**-8, atol=2**-8)
    (rows,) = elsewhere(latent_sensitivity.probe_item, [item | {"gpus": 2}])
    assert [r["code"] for r in rows] == [r["code"] for r in latent_sensitivity.probe_item(item)]
