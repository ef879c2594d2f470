"""One model over several GPUs: each holds a part of every layer, and their partial results are summed where a layer ends.

Which weights are cut, and along which side, is the plan that the architecture has in transformers.  Its own way to carry out a
plan makes distributed tensors of the weights; here each part is a plain tensor, so the engine, its slab and its CUDA graphs work
on a part as on a whole model.  Embeddings and output matrix stay whole on each GPU: alignments and proposals read them.

Knows plans, weights and process groups.  Knows no engine, no files and no task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist

from parallax_lib.core.errors import UserError

OUTPUTS, PACKED, INPUTS = "colwise", "packed_colwise", "rowwise"  # transformers' names; packed: two matrices, one after the other
CUT = (OUTPUTS, PACKED, INPUTS)
SUMMED = (INPUTS, "moe_tp_experts")  # of modules: each GPU's output is a part of the sum
WHOLE = (
    "colwise_gather_output", "colwise_rep", "rowwise_split_input", "rowwise_rep", "embedding_rowwise", "replicate",
    "replicated_with_grad_allreduce", "keep_full_weight", "mla_kv_a_proj", "local_params",
)  # fmt: skip
Part = Callable[[torch.Tensor, str, torch.device], torch.Tensor]  # (whole value, its style, device) -> what is held there


def style_of(plan: dict[str, str], name: str) -> str:
    """What a plan says of a module, or of a weight by its own name or its module's; "" where it says nothing."""
    general = _general(name)
    return plan.get(general) or plan.get(general.rpartition(".")[0], "")


def _general(name: str) -> str:
    """A name as plans have it: "layers.3.mlp" is "layers.*.mlp"."""
    return re.sub(r"\b\d+\b", "*", name)


def cut(value: torch.Tensor, style: str, rank: int, count: int) -> torch.Tensor:
    """The part of a weight that one of `count` GPUs holds; the whole where the style does not cut.

    A bias is added once, after the sum: it is the first GPU's, and zero on the others.
    """
    if style == INPUTS:
        return value.chunk(count, dim=-1)[rank] if value.dim() > 1 else value if rank == 0 else torch.zeros_like(value)
    side = max(0, value.dim() - 2)
    if style == PACKED:
        return torch.cat([half.chunk(count, dim=side)[rank] for half in value.chunk(2, dim=side)], dim=side)
    return value.chunk(count, dim=side)[rank] if style == OUTPUTS else value


def check(model: Any, count: int) -> None:
    """UserError where a model has no plan, one with styles that are not known here, or sizes that do not divide."""
    plan, kind = model.tp_plan, type(model).__name__
    if not any(style in CUT for style in plan.values()):
        raise UserError(f"executor.gpu: {kind} has no plan for several GPUs in transformers; name one GPU")
    if over := set(plan.values()) - {*CUT, *SUMMED, *WHOLE}:
        raise UserError(f"executor.gpu: {kind} cannot be split here (its plan has {sorted(over)[0]!r}); name one GPU")
    heads = model.config.get_text_config().num_key_value_heads if cuts_keys(model) else count
    if heads % count:
        few = [n for n in range(2, heads + 1) if heads % n == 0]
        raise UserError(f"executor.gpu: {heads} key heads of {kind} do not split over {count} GPUs; name {' or '.join(map(str, few))}")
    for name, value, _ in _values(model):
        style = style_of(plan, name)
        side = -1 if style == INPUTS else max(0, value.dim() - 2)
        if style in CUT and value.shape[side] % (count * (1 + (style == PACKED))):
            raise UserError(f"executor.gpu: {name} of {kind} has {value.shape[side]} columns, not a multiple of {count} GPUs; name fewer")


def cuts_keys(model: Any) -> bool:
    """Whether each GPU has the keys and values of its own heads only."""
    return any(name.endswith(".k_proj") and style == OUTPUTS for name, style in model.tp_plan.items())


def held(model: Any, count: int) -> int:
    """Parameters that each of `count` GPUs holds."""
    return sum(cut(value, style_of(model.tp_plan, name), 0, count).numel() for name, value, _ in _values(model) if _learned(value))


def load(read: Callable[[], Any], device: str | torch.device) -> tuple[Any, int]:
    """(the part of a model that this rank holds, parameters of the whole); only the first rank calls `read`, and deals out.

    Parts go from GPU to GPU, so the machine's memory holds the model once.  UserError as of `check`.
    """
    first = dist.get_rank() == 0
    model = read() if first else None
    told = [(model.config, model.generation_config, [value.dtype for _, value, _ in _values(model)]) if first else None]
    dist.broadcast_object_list(told, src=0)
    model = model if first else _alike(*told[0])
    size = sum(p.numel() for p in model.parameters())
    return split(model, dist.get_world_size(), device, _dealt), size


def _alike(config: Any, generation_config: Any, dtypes: list[torch.dtype]) -> Any:
    """On the meta device the model that the first rank has."""
    model = empty(config)
    model.generation_config = generation_config
    for (_, value, places), dtype in zip(_values(model), dtypes, strict=True):
        _place(value, value.to(dtype), places)
    return model


def empty(config: Any) -> Any:
    """A model of that description on the meta device."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=config.dtype)


def split(model: Any, count: int, device: str | torch.device, part: Part) -> Any:
    """The model with the parts of its weights on `device`; their outputs are summed where the plan says so."""
    plan, device = model.tp_plan if count > 1 else {}, torch.device(device)
    if count > 1:
        check(model, count)
    for name, value, places in _values(model):
        _place(value, part(value.detach(), style_of(plan, name) if _learned(value) else "", device), places)
    for name, module in model.named_modules():
        if plan.get(_general(name)) in SUMMED:
            module.register_forward_hook(_sum)
    return model


def _place(value: torch.Tensor, other: torch.Tensor, places: list[tuple[dict, str]]) -> None:
    """Puts another tensor where a value is kept; tied weights stay tied."""
    other = torch.nn.Parameter(other, requires_grad=False) if _learned(value) else other
    for store, key in places:
        store[key] = other


def _dealt(value: torch.Tensor, style: str, device: torch.device) -> torch.Tensor:
    """This rank's part of a value that the first rank has."""
    rank, count = dist.get_rank(), dist.get_world_size()
    if rank == 0:
        value = value.to(device)
    if style not in CUT:
        whole = value.contiguous() if rank == 0 else torch.empty_like(value, device=device)
        dist.broadcast(whole, src=0)
        return whole
    parts = [cut(value, style, r, count).contiguous() for r in range(count)]
    here = torch.empty_like(parts[rank], device=device)
    dist.scatter(here, parts if rank == 0 else None, src=0)
    return here


def agreed(value: torch.Tensor) -> torch.Tensor:
    """The first rank's value, on all: a choice near a tie may differ from GPU to GPU, and one that differs would part them for good."""
    value = value.contiguous()
    dist.broadcast(value, src=0)
    return value


def _sum(module: torch.nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
    dist.all_reduce(output)
    return output


def _learned(value: torch.Tensor) -> bool:
    return isinstance(value, torch.nn.Parameter)


def _values(model: Any) -> Iterator[tuple[str, torch.Tensor, list[tuple[dict, str]]]]:
    """(name, value, where it is kept) of each parameter and buffer; tied ones once."""
    found: dict[int, tuple[str, torch.Tensor, list]] = {}
    for name, module in model.named_modules():
        for store in (module._parameters, module._buffers):
            for key, value in store.items():
                if value is not None:
                    found.setdefault(id(value), (f"{name}.{key}", value, []))[2].append((store, key))
    return iter(list(found.values()))
