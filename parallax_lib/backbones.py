"""Causal backbones of the process reward model: a Hugging Face decoder body, or a GRU; each with a growable state.

Knows how hidden vectors become hidden vectors, one position at a time or all at once.  Knows nothing of latents,
adapters, scores or search.

Letters: M rows, T positions, H width.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from parallax_lib.params import UserError


class CausalBody(nn.Module):
    """A Hugging Face decoder without its vocabulary ends; its state is a KV cache."""

    def __init__(self, body: nn.Module):
        super().__init__()
        body.set_input_embeddings(None)
        self.body = body
        self.width = body.config.hidden_size

    def run(self, inputs: Tensor, state=None):
        """inputs [M, T, H] after `state` -> hidden [M, T, H] and the state, grown in place."""
        out = self.body(inputs_embeds=inputs, past_key_values=state, use_cache=state is not None)
        return out.last_hidden_state, state

    def begin(self, rows: int):
        from transformers import DynamicCache

        return DynamicCache(config=self.body.config)

    def repeat(self, state, times: int):
        """A copy in which every row occurs `times` times in a row."""
        state = copy.deepcopy(state)
        state.batch_repeat_interleave(times)
        return state

    def select(self, state, rows: Tensor):
        state.batch_select_indices(rows)
        return state


class Recurrent(nn.Module):
    """A GRU; its state is the hidden state [layers, M, H]."""

    def __init__(self, width: int, layers: int, dropout: float):
        super().__init__()
        self.gru = nn.GRU(width, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.width = width

    def run(self, inputs: Tensor, state: Tensor | None = None):
        return self.gru(inputs, state)

    def begin(self, rows: int) -> Tensor:
        return self.gru.weight_hh_l0.new_zeros(self.gru.num_layers, rows, self.width)

    def repeat(self, state: Tensor, times: int) -> Tensor:
        return state.repeat_interleave(times, 1)

    def select(self, state: Tensor, rows: Tensor) -> Tensor:
        return state[:, rows].contiguous()


def small_llama(width: int, layers: int, heads: int, dropout: float) -> CausalBody:
    """A randomly initialised Llama body.  UserError where width and heads do not fit."""
    from transformers import AutoModel, LlamaConfig

    if width % heads or width // heads % 2:
        raise UserError(f"PRM width {width} must be an even multiple of its {heads} heads, as {2 * heads * 16} is")
    sizes = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers}
    attention = {"num_attention_heads": heads, "num_key_value_heads": heads, "attention_dropout": dropout}
    tokens = {"vocab_size": 1, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return CausalBody(AutoModel.from_config(LlamaConfig(**sizes, **attention, **tokens)))


def pretrained(name: str) -> CausalBody:
    """The body of a causal LM by id or folder, in float32: bf16 weights do not move at fine-tuning learning rates."""
    from transformers import AutoModel

    try:
        return CausalBody(AutoModel.from_pretrained(name, dtype=torch.float32))
    except (OSError, ValueError) as e:
        known = "'transformer', 'gru', 'ridge' or a causal LM by id or folder"
        raise UserError(f"PRM backbone {name!r} is not {known}: {' '.join(str(e).split())[:160]}") from None


def from_saved_config(folder: Path) -> CausalBody:
    """The architecture written in `folder`/config.json, weights still to be filled in."""
    from transformers import AutoConfig, AutoModel

    return CausalBody(AutoModel.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32))
