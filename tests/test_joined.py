"""Products of one input as one, against the layers one by one."""

import pytest
import tiny_families as tiny
import torch
from peft import LoraConfig, get_peft_model

from parallax_lib.translator import engine, joined, models

FAMILIES = {"qwen2": 4, "gemma 2": 4, "mixtral": 2, "deepseek v2 lite": 2, "starcoder 2": 2, "phi 3": 0}


@torch.inference_mode()
def states(translator):
    prompts = [[i % 250 + 1 for i in range(20 - b)] for b in range(3)]
    state = engine.prefill(translator, prompts)
    vectors = torch.randn(3, 4, translator.width, generator=torch.Generator().manual_seed(0))
    return torch.cat([state.hidden[:, None], engine.step_candidates(translator, state, vectors)], 1)


@pytest.mark.parametrize(("family", "groups"), FAMILIES.items())
def test_joined_layers_give_the_same_states(family, groups):
    """Biases, windows, experts, key heads of other sizes; of two layers with two groups each, where the family has both."""
    translator = models.Translator(tiny.build(family), models.byte_tokenizer(), family)
    plain, size = states(translator), translator.size
    assert joined.join(translator.body) == groups
    torch.testing.assert_close(states(translator), plain, atol=1e-5, rtol=1e-5)
    assert translator.size == size
    first = [module for module in translator.body.modules() if isinstance(module, joined.First)]
    assert len(first) == groups and all(module.rest is None for module in first)


class Other(torch.nn.Module):
    """Its second layer is asked first, or reads something else."""

    def __init__(self, kind, width):
        super().__init__()
        self.kind, self.gate_proj, self.up_proj = kind, *(torch.nn.Linear(width, width, bias=False) for _ in range(2))

    def forward(self, x):
        if self.kind == "order":
            up = self.up_proj(x)
            return self.gate_proj(x) + up
        if self.kind == "input":
            return self.gate_proj(x) + self.up_proj(2 * x)
        return self.gate_proj(self.gate_proj(x)) + self.up_proj(x)


@pytest.mark.parametrize("kind", ["order", "input", "twice"])
def test_a_group_that_is_called_otherwise_stays_as_it_is(kind):
    translator = models.Translator(tiny.build("qwen2"), models.byte_tokenizer(), kind)
    torch.manual_seed(0)
    translator.body.layers[0].mlp = Other(kind, translator.width)
    plain = states(translator)
    assert joined.join(translator.body) == 3
    torch.testing.assert_close(states(translator), plain, atol=1e-5, rtol=1e-5)


def test_layers_with_adapters_stay_as_they_are():
    model = tiny.build("qwen2")
    body = get_peft_model(model.model, LoraConfig(r=2, target_modules=["q_proj", "up_proj"])).base_model.model
    assert joined.join(body) == 0
