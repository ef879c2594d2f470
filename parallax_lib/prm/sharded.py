"""A PRM whose weights, gradients and optimiser state are split over several processes by FSDP2, one a GPU; what lies beneath
adapters may stay whole in each.

What is gathered for files is whole tensors, as one process has them.  Knows modules, tensors and `core.torchrun`.  Knows no
data and no losses.  FSDP2 is imported where it is used: one process has no need of it, and it takes a second.
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.utils import _pytree as trees

from parallax_lib.core import hardware, torchrun
from parallax_lib.core.settings import SMALL_PRMS
from parallax_lib.prm.backbones import CausalBody
from parallax_lib.prm.model import learned
from parallax_lib.translator import fused

WHOLE = 0.25  # share of a GPU's memory up to which weights that are not learned are kept in every process


def worthwhile(model: nn.Module) -> bool:
    """Whether there are several processes and the model is a language model; a small PRM is trained by the first process alone."""
    large = isinstance(model.backbone, CausalBody) and model.config.backbone not in SMALL_PRMS
    return torchrun.processes() > 1 and large


def outline(model: nn.Module) -> nn.Module:
    """A copy with the shape and type of every weight and no values, small enough to be sent to the other processes."""
    hollow = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, hollow | {id(b): b.to("meta") for b in model.buffers()})


def split(hollow: nn.Module, device: str, precision: str) -> nn.Module:
    """The outline's layers over all processes, a part of every weight in each; no values yet.

    What lies beneath adapters is never learned and has no gradient: where it is small enough, each process keeps all of it, and
    nothing is gathered but the adapters.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(torch.device(device).type, (torchrun.together(),))
    compute = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32, "cast_forward_inputs": False} if precision == "bf16" else {}
    beneath = fixed(hollow)
    room = torchrun.from_first(lambda: kept_whole(sum(p.nbytes for p in beneath), room_of(torchrun.device_of(device))))
    whole = set(beneath) if room else None
    for layer in fused.layers(hollow.backbone.body):
        fully_shard(layer, mesh=mesh, mp_policy=MixedPrecisionPolicy(**compute), ignored_params=whole)
    model = fully_shard(hollow, mesh=mesh, reshard_after_forward=True, ignored_params=whole).to_empty(device=torchrun.device_of(device))
    _settle(model, precision)
    return model


def fixed(model: nn.Module) -> list[nn.Parameter]:
    """The weights beneath adapters."""
    return [p for name, p in model.backbone.named_parameters() if name in model.backbone.fixed]


def kept_whole(beneath: int, room: int) -> bool:
    """Whether each process keeps all of so many bytes beneath adapters, on a device with so many."""
    return beneath <= WHOLE * room


def room_of(device: torch.device | str) -> int:
    """Bytes of a GPU's memory; on a CPU a process's part of what is free."""
    where = torch.device(device)
    gpu = where.type == "cuda"
    return torch.cuda.get_device_properties(where).total_memory if gpu else hardware.free_memory() // torchrun.together()


@torch.no_grad()
def _settle(model: nn.Module, precision: str) -> None:
    """One forward while all that is learned asks for gradients: FSDP2 takes their type from what does in the first one."""
    where, c = model.mean.device, model.config
    context = torch.zeros(1, c.state_width, device=where) if c.context == "pooled" else None
    with torch.autocast(where.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        model(torch.zeros(1, 1, c.latent_width, device=where), context=context)


def values(model: nn.Module) -> dict[str, Tensor]:
    """Every weight and every buffer, those that no file holds included."""
    return dict(itertools.chain(model.named_parameters(), model.named_buffers()))


@torch.no_grad()
def fill(into: dict[str, Tensor], whole: dict[str, Tensor] | None) -> None:
    """Write the whole tensors that the first process has into those of all processes."""
    for name, value in into.items():
        value.copy_(_spread(whole[name] if torchrun.first() else None, value))


def fill_optimizer(optimizer: torch.optim.Optimizer, whole: dict | None) -> None:
    """`optimizer.load_state_dict` of one process's optimiser, which the first process has, in all of them."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    small = torchrun.from_first(lambda: trees.tree_map_only(Tensor, lambda t: t if t.ndim == 0 else None, whole))
    for i, entry in small["state"].items():
        for name in (name for name, value in entry.items() if value is None):
            entry[name] = _spread(whole["state"][i][name] if torchrun.first() else None, params[i])
    optimizer.load_state_dict(small)


def _spread(whole: Tensor | None, like: Tensor) -> Tensor:
    """A tensor that the first process has whole, split as `like` is."""
    here = local(like)
    full = torch.empty(like.shape, dtype=here.dtype, device=here.device) if whole is None else whole.to(here)
    if _is_split(like):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(full, like.device_mesh, like.placements)
    torch.distributed.broadcast(full, 0)
    return full


def local(value: Tensor) -> Tensor:
    """This process's part of a tensor, in place."""
    return value.to_local() if _is_split(value) else value


def _is_split(value: Tensor) -> bool:
    """Whether it is a DTensor."""
    return hasattr(value, "full_tensor")


def gathered(model: nn.Module) -> dict[str, Tensor]:
    """What is learned, whole and on the CPU, in the first process; nothing in the others, which take part."""
    return _whole(learned(model))


def gathered_optimizer(optimizer: torch.optim.Optimizer) -> dict:
    """`optimizer.state_dict()` as one process has it, in the first process."""
    return _whole(optimizer.state_dict())


def _whole(tree: dict) -> dict:
    """Tensors of a tree, one after another, so that a GPU holds one of them whole at a time."""

    def one(value: Tensor) -> Tensor | None:
        full = value.full_tensor() if _is_split(value) else value
        return full.detach().cpu().clone() if torchrun.first() else None

    return trees.tree_map_only(Tensor, one, tree)
