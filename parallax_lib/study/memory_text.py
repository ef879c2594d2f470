"""What `size` prints: the table of a run's memory, sums by stage, and which GPUs hold them.

Knows `memory`'s figures and names of GPUs.  Computes no bytes of its own.
"""

from __future__ import annotations

import torch

from parallax_lib.core import hardware
from parallax_lib.core.hardware import GPU_GIB
from parallax_lib.core.settings import SMALL_PRMS, Params
from parallax_lib.prm import sharded
from parallax_lib.search import placement
from parallax_lib.study.memory import COUNTS, GIB, MOMENT, choices, describe, described_prm, kept_of, needed, on_each, table
from parallax_lib.translator import shapes

USUAL = "H100"  # where no GPU is named and none is here
WRITING = "a smaller decode.batch, or fewer executor.workers"


def text(params: Params) -> str:
    """The table, the stages' sums, and whether they fit the named GPUs or this machine's."""
    rows, count = table(params), hardware.gpus_asked(params.executor.gpu)[1]
    guess = "prompts are counted as a token for 3 bytes: the tokenizer is not on this disk"
    guessed = [guess] if shapes.known(params.translator.model) else []
    sums = needed(rows)
    lines = [rows.assign(gib=rows["gib"].round(1)).to_string(index=False), ""]
    for stage, size in sums.items():
        whose = f"on each of {count} GPUs" if count > 1 and stage in ("01", "04") else "a process"
        lines.append(f"stage {stage}: {size:.1f} GiB {whose}, {1 - 1 / MOMENT[stage]:.0%} of it for activations")
    fitting = f"executor.gpu that holds stages 01 and 04: {', '.join(choices(params)) or 'none; lower decode.batch or collect.resamples'}"
    return "\n".join([*lines, *_torchrun(params), *guessed, fitting, *_named(params, sums), _fits(params, sums)])


def _torchrun(params: Params) -> list[str]:
    """Stage 02 by several processes under torchrun, where the PRM is a language model."""
    kind = params.prm.kind
    if kind in SMALL_PRMS:
        return []
    name, _ = hardware.gpus_asked(params.executor.gpu)
    name = name if name in GPU_GIB else "" if torch.cuda.is_available() else USUAL
    room = GPU_GIB[name] * GIB if name else sharded.room_of("cuda")
    width = describe(params.translator).model.config.get_text_config().hidden_size
    config = described_prm(params, kind, width)
    each = {n: on_each(config, params.prm.precision, kept_of(params, kind), n, room) for n in COUNTS[1:]}
    parts = ", ".join(f"{gib:.1f} GiB over {n}" for n, gib in each.items())
    return [f"stage 02 by torchrun, on each {name or 'GPU of this machine'}, the PRM alone: {parts}"]


def _named(params: Params, sums: dict[str, float]) -> list[str]:
    """Whether the GPUs that `executor.gpu` names hold stages 01 and 04; nothing where it names none whose memory is known."""
    name, _ = hardware.gpus_asked(params.executor.gpu)
    if name not in GPU_GIB:
        return []
    room = placement.gpu_share(params) * GPU_GIB[name]
    over = [f"stage {stage} wants {sums[stage]:.0f}" for stage in ("01", "04") if sums[stage] > room]
    return [f"{params.executor.gpu}: {GPU_GIB[name]} GiB a GPU, {room:.0f} for translators: {', '.join(over) or 'it fits'}"]


def _fits(params: Params, sums: dict[str, float]) -> str:
    if not torch.cuda.is_available():
        return "this machine: torch sees no GPU"
    has = torch.cuda.get_device_properties(0).total_memory / GIB
    room = placement.gpu_share(params) * has  # of one process that writes programs; judged ones need the rest
    summary = f"this machine: {has:.0f} GiB a GPU, {room:.0f} for each process that writes programs"
    training = "a smaller prm.lora_rank" if params.prm.lora_rank else "prm.lora_rank, such as 16, for a language model as PRM"
    most = {"01": (room, WRITING), "02": (has, training), "03": (has, training), "04": (room, WRITING)}
    over = [f"stage {stage} wants {size:.0f}: {most[stage][1]} would help" for stage, size in sums.items() if size > most[stage][0]]
    return "\n".join([summary, *over]) if over else f"{summary}: it fits"
