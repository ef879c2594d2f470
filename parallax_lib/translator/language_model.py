"""A causal language model ready to use: how ids become input embeddings, and how last hidden states become logits.

Knows the model's two ends, each as the architecture defines it, and whether it is the part of one GPU.  Knows no cache, no
loading and no task.

D width, V vocabulary.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch

from parallax_lib.translator import tensor_parallel


@dataclass(frozen=True)
class Translator:
    """A causal LM ready to use: model in eval mode, its tokenizer, a name that says exactly what it is, how it is asked."""

    model: Any
    tokenizer: Any
    name: str
    prompt: str = "short"  # style of `tasks.prompts.messages`
    gpus: int = 1  # that hold the model together, a process each
    whole: int = 0  # parameters of all of them

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def width(self) -> int:  # D
        return self.model.config.get_text_config().hidden_size

    @property
    def size(self) -> int:
        """Parameters, tied ones once, of all GPUs that hold the model together."""
        return self.whole or sum(p.numel() for p in self.model.parameters())

    @property
    def body(self) -> Any:
        """The decoder: input embeddings to last hidden states."""
        return self.model.get_decoder()

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Input embeddings (..., D) of ids (...)."""
        return self.model.get_input_embeddings()(tokens)

    def agreed(self, chosen: torch.Tensor) -> torch.Tensor:
        """A choice that all GPUs of the model make alike: the first one's."""
        return chosen if self.gpus == 1 else tensor_parallel.agreed(chosen.to(self.device))

    def tokens_with(self, text: str) -> frozenset[int]:
        """The ids of all tokens that contain it; asking a large vocabulary takes a tenth of a second, so each text is asked once."""
        known = self.__dict__.setdefault("known_tokens", {})
        if text not in known:
            known[text] = frozenset(i for piece, i in self.tokenizer.get_vocab().items() if text in piece)
        return known[text]

    @property
    def embedding_scale(self) -> torch.Tensor | float:
        """What the embedding matrix is multiplied by when ids are read; other than 1 in Gemma."""
        module = self.model.get_input_embeddings()
        scale = getattr(module, "embed_scale", 1.0)
        return scale.to(module.weight.dtype) if torch.is_tensor(scale) else scale

    @property
    def logit_scale(self) -> float:
        """What the output matrix is multiplied by before any capping: Cohere multiplies its logits, Granite divides them."""
        config = self.model.config.get_text_config()
        return getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of last hidden states (..., D): scaled and capped by the model's own forward."""
        logits = self._head(inputs_embeds=hidden.reshape(1, -1, hidden.shape[-1]), use_cache=False).logits
        return logits.view(*hidden.shape[:-1], -1)

    @cached_property
    def _head(self) -> Any:
        """The model whose decoder gives back what it is given."""
        shell = copy.copy(self.model)
        shell._modules = dict(self.model._modules) | {self.model.base_model_prefix: _Given()}
        return shell


class _Given(torch.nn.Module):
    """A decoder that is done: its input embeddings are the last hidden states."""

    @property
    def decoder(self) -> _Given:  # some models call their decoder's decoder
        return self

    def forward(self, *_, inputs_embeds, **__):
        return _hidden_states()(last_hidden_state=inputs_embeds)


@cache
def _hidden_states() -> type:
    """The class of what a decoder gives back; transformers is imported where a model is used."""
    from transformers.modeling_outputs import MoeModelOutputWithPast

    class Hidden(MoeModelOutputWithPast):
        def __getattr__(self, name: str) -> None:  # what else a model passes on, such as the states of images
            if name.startswith("__"):
                raise AttributeError(name)

    return Hidden
