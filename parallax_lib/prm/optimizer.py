"""The optimiser of a PRM's training: AdamW over float32 weights, or over bfloat16 ones whose rounding errors are kept and made good.

A bfloat16 weight does not move by a step below its resolution.  Kahan summation keeps what was rounded away beside it, in bfloat16
too: 10 bytes a weight with gradient and moments, where float32 takes 16.  Knows weights.  Knows no loss and no schedule.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from parallax_lib.core.errors import UserError

KAHAN = "bf16-weights"  # value of `prm.precision`
BYTES = {"fp32": 16, "bf16": 16, KAHAN: 10}  # of a learned value, its gradient, its moments, and what was rounded away


def bytes_of_weight(precision: str) -> int:
    return BYTES[precision]


def check(precision: str, processes: int) -> None:
    """UserError where weights in bfloat16 are asked for and cannot be trained."""
    if precision != KAHAN:
        return
    if processes > 1:
        raise UserError(f"prm.precision: {KAHAN} trains in one process; with torchrun use bf16, whose float32 weights are shared out")
    if importlib.util.find_spec("optimi") is None:
        raise UserError(f"prm.precision: {KAHAN} needs torch-optimi: .venv/bin/python -m pip install -c constraints.txt -e '.[bf16]'")


def adamw(group: dict[str, Any], lr: float, weight_decay: float, precision: str, fused: bool) -> torch.optim.Optimizer:
    """AdamW of one parameter group; others may join."""
    if precision == KAHAN:
        from optimi import AdamW  # Kahan summation wherever weights are in bfloat16

        return AdamW([group], lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay, foreach=False)
    return torch.optim.AdamW([group], lr=lr, weight_decay=weight_decay, fused=fused)


def to_bfloat16(module: torch.nn.Module) -> None:
    """Every weight in bfloat16."""
    for value in module.parameters():
        value.data = value.data.to(torch.bfloat16)
