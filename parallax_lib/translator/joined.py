"""Several products of one input as one: query, key and value; gate and up.

A product with one row reads its matrix and does little else, and a small matrix is read at a part of the memory's speed; so one
matrix of all rows takes less time than three.  The first layer that is called multiplies for those after it.  Knows modules.
Knows no cache and no decoding.

D width, E rows of all matrices together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
MANY = 512  # tokens from which each product fills a GPU; what reads a part of one wide result takes longer than the joining gains


class First(nn.Module):
    """Multiplies with the matrices of all layers of its group, and keeps what the others give back."""

    def __init__(self, layers: list[nn.Linear]):
        super().__init__()
        self.sizes = [layer.out_features for layer in layers]
        self.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]), requires_grad=False)  # (E, D)
        bias = None if layers[0].bias is None else nn.Parameter(torch.cat([layer.bias for layer in layers]), requires_grad=False)
        self.register_parameter("bias", bias)
        self.rest: tuple[Tensor, ...] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] * x.shape[1] < MANY:
            own, *rest = F.linear(x, self.weight, self.bias).split(self.sizes, -1)
        else:
            biases = [None] * len(self.sizes) if self.bias is None else self.bias.split(self.sizes)
            own, *rest = map(F.linear, [x] * len(self.sizes), self.weight.split(self.sizes), biases)
        self.rest = tuple(rest)
        return own


class Later(nn.Module):
    """Gives back its part of what the group's first layer computed; the last one lets go of it."""

    def __init__(self, first: First, place: int):
        super().__init__()
        self.__dict__["first"], self.place, self.last = first, place, place == len(first.sizes) - 2  # not a part of this module

    def forward(self, _: Tensor) -> Tensor:
        part = self.first.rest[self.place]
        if self.last:
            self.first.rest = None
        return part


@torch.inference_mode(False)
@torch.no_grad()
def join(body: nn.Module) -> int:
    """Joins the layers of a decoder that is not trained any more, before its first forward is captured or compiled; how many groups.

    A group whose layers are called in another order, or read different inputs, is left as it is.
    """
    groups = [(module, names) for module in body.modules() for names in GROUPS if _alike([getattr(module, name, None) for name in names])]
    calls = _calls(body, [getattr(module, name) for module, names in groups for name in names])
    done = 0
    for module, names in groups:
        layers = [getattr(module, name) for name in names]
        if not _together(calls, layers):
            continue
        first = First(layers)
        for place, name in enumerate(names):
            setattr(module, name, Later(first, place - 1) if place else first)
        done += 1
    return done


def _alike(layers: list) -> bool:
    """Whether they are plain layers of one shape: no adapters, no parts of several GPUs, biases in all or none."""
    if not all(type(layer) is nn.Linear and type(layer.weight) is nn.Parameter for layer in layers):
        return False
    return len({(layer.in_features, layer.bias is None, layer.weight.dtype, layer.weight.device) for layer in layers}) == 1


def _calls(body: nn.Module, layers: list[nn.Linear]) -> list[tuple[nn.Linear, Tensor]]:
    """The layers in the order in which a forward calls them, and what each of them reads."""
    seen: list[tuple[nn.Linear, Tensor]] = []
    hooks = [layer.register_forward_pre_hook(lambda layer, given: seen.append((layer, given[0]))) for layer in layers]
    given = torch.zeros(1, 2, body.config.get_text_config().hidden_size, device=body.device, dtype=body.dtype)
    body(inputs_embeds=given, use_cache=False)
    for hook in hooks:
        hook.remove()
    return seen


def _together(calls: list[tuple[nn.Linear, Tensor]], layers: list[nn.Linear]) -> bool:
    """Whether each is called once, in this order, with the same tensor."""
    found = [(layer, given) for layer, given in calls if any(layer is each for each in layers)]
    ordered = [layer for layer, _ in found]
    return len(found) == len(layers) and all(map(lambda a, b: a is b, ordered, layers)) and all(x is found[0][1] for _, x in found)
