"""Causal backbones of the process reward model: a Hugging Face decoder body, or a GRU; each with a growable state.

Knows how hidden vectors become hidden vectors, one position at a time or all at once.  Knows nothing of latents,
adapters, scores or search.

Letters: M rows, T positions, H width.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from parallax_lib.core.config import id_or_folder
from parallax_lib.core.errors import UserError
from parallax_lib.translator import fused, shapes, weights

LARGE = 2**28  # parameters from which float32 scores on a GPU are of TF32 products: training's own are of bfloat16


class CausalBody(nn.Module):
    """A Hugging Face decoder without its vocabulary ends; its state is a KV cache.

    With a LoRA rank its own weights stay as they are, in their own precision, and only the adapters [rank] beside every
    linear map are learned, in float32.  words: its input embeddings stay, so that it can `read` tokens.
    """

    def __init__(self, body: nn.Module, lora_rank: int = 0, words: bool = False):
        super().__init__()
        if not words:
            body.set_input_embeddings(None)
        self.width, self.dtype = body.config.hidden_size, body.dtype
        self.body = _with_lora(body, lora_rank) if lora_rank else body
        self.fixed = {name for name, _ in self.named_parameters() if "lora_" not in name} if lora_rank else set()
        self.casts = True  # adapters turn what they read into float32
        self.large = sum(p.numel() for p in self.parameters()) >= LARGE

    def run(self, inputs: Tensor, state=None, positions: Tensor | None = None, sees: Tensor | None = None):
        """inputs [M, T, H] after `state` -> hidden [M, T, H] and the state, grown in place.

        positions [M, T] and sees [M, 1, T, T], bool: of packed rows; else each token sees those before it.
        """
        given, packed = inputs.to(self.given), {}
        if sees is not None:
            if self.body.config._attn_implementation != "sdpa":  # others add the mask to the scores
                sees = torch.zeros_like(sees, dtype=given.dtype).masked_fill(~sees, torch.finfo(given.dtype).min)
            packed = {"position_ids": positions, "attention_mask": sees}
        with self.computing(), fused.compiling(self.body):
            out = self.body(inputs_embeds=given, past_key_values=state, use_cache=state is not None, **packed)
        return out.last_hidden_state.to(inputs.dtype), state

    @property
    def given(self) -> torch.dtype:
        """In which its layers read."""
        return self.dtype if self.fixed else next(self.body.parameters()).dtype

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Around a forward: adapters compute in bfloat16 where the training does, and on a GPU where scores are asked for."""
        where = next(self.parameters()).device.type
        scoring = where == "cuda" and self.fixed and self.dtype == torch.bfloat16 and not torch.is_grad_enabled()
        under = torch.is_autocast_enabled(where)
        if self.fixed and self.casts == (under or scoring):
            self.casts = not self.casts
            for module in self.body.modules():
                if hasattr(module, "cast_input_dtype_enabled"):
                    module.cast_input_dtype_enabled = self.casts
        if under or not scoring:
            with _tensor_cores(where == "cuda" and self.large and not under and not torch.is_grad_enabled()):
                yield
            return
        with torch.autocast(where, dtype=self.dtype, cache_enabled=False):  # a captured forward keeps no copy of a weight
            yield

    def recompute(self) -> None:
        """From now on training keeps no activations within a layer: the backward pass computes them again."""
        for layer in fused.layers(self.body):
            layer.gradient_checkpointing = True
            layer._gradient_checkpointing_func = functools.partial(checkpoint, use_reentrant=False)

    def merge(self) -> None:
        """Adds the adapters to the weights beside them, in their precision; nothing of it is learned from now on."""
        from peft.tuners.lora import LoraLayer

        for parent in list(self.body.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, LoraLayer):
                    layer.merge()
                    setattr(parent, name, layer.get_base_layer())
        self.fixed = set()
        self.requires_grad_(False)

    def read(self, ids: Tensor) -> Tensor:
        """ids [M, T], padded on the right -> hidden [M, T, H]: the causal mask alone keeps padding out of what stands before it."""
        return self.body(input_ids=ids, use_cache=False).last_hidden_state

    def fingerprint(self) -> str:
        """sha256 over the first values of every weight that stays as it is."""
        weights = self.state_dict()
        parts = (weights[name].flatten()[: self.width].float().cpu().numpy().tobytes() for name in sorted(self.fixed))
        return hashlib.sha256(b"".join(parts)).hexdigest()

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


@contextmanager
def _tensor_cores(used: bool) -> Iterator[None]:
    """Products of float32 matrices on a GPU with ten bits of mantissa (TF32), some six times as fast; `used` false: as it was.

    The switch is the whole process's.  It is read only where it is used: torch raises RuntimeError where it was set by its newer name.
    """
    if not used:
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class Recurrent(nn.Module):
    """A GRU; its state is the hidden state [layers, M, H]."""

    fixed: frozenset[str] = frozenset()  # all of it is learned

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


def pretrained(name: str, lora_rank: int = 0, words: bool = False) -> CausalBody:
    """The body of a causal LM by id or folder.  Without LoRA in float32: bf16 weights do not move at fine-tuning learning rates."""
    from transformers import AutoModel

    source, dtype = id_or_folder(name), "auto" if lora_rank else torch.float32
    return CausalBody(weights.read(AutoModel, source, dtype, "prm.kind", spare=("lm_head.",)), lora_rank, words)


def described(name: str, lora_rank: int = 0) -> CausalBody:
    """`pretrained` in shape and precision; its weights are not read."""
    from transformers import AutoModel

    config = shapes.configuration(name)
    return CausalBody(AutoModel.from_config(config, dtype=(config.dtype or torch.float32) if lora_rank else torch.float32), lora_rank)


def _with_lora(body: nn.Module, rank: int) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", lora_dropout=0.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # peft asks transformers by the old name
        return get_peft_model(body, lora).base_model.model


def from_saved_config(folder: Path) -> CausalBody:
    """The architecture written in `folder`/config.json, weights still to be filled in."""
    from transformers import AutoConfig, AutoModel

    return CausalBody(AutoModel.from_config(AutoConfig.from_pretrained(folder, trust_remote_code=False), dtype=torch.float32))
