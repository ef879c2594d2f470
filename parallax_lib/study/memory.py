"""How much GPU memory a run's models take at most, from their descriptions alone; no weight is read.

Knows parameters, bytes and rows in flight.  Measures nothing: for what one forward needs for a moment there is a share of
the rest, which `bench prm` holds against what it measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pandas as pd
import torch

from parallax_lib.core import hardware
from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError
from parallax_lib.core.hardware import GPU_GIB
from parallax_lib.core.settings import SMALL_PRMS, Params
from parallax_lib.core.settings import Translator as TranslatorParams
from parallax_lib.prm import model as prm_model
from parallax_lib.prm import sharded
from parallax_lib.prm.optimizer import bytes_of_weight
from parallax_lib.search import placement, program_rows, prompt_room, rollouts
from parallax_lib.study.training import prm_shape
from parallax_lib.tasks import suites
from parallax_lib.tasks.task import Task, tasks
from parallax_lib.translator import models, shapes, tensor_parallel
from parallax_lib.translator.engine import GROW

GIB = 2**30
ASKED = 200  # tokens of a prompt beside the source
MOMENT = {"01": 1.15, "02": 1.05, "03": 1.05, "04": 1.15}  # with what is not in the table; 1.10 on an H200 at 7B shapes in stage 04
CONTEXT = 0.6 * GIB  # CUDA context and what torch keeps
COUNTS = (1, 2, 4, 8)  # of GPUs, that are proposed


@dataclass(frozen=True)
class LM:
    """A causal language model on the meta device, its tokenizer (None where it would have to be fetched), precision, prompt style."""

    model: Any
    tokenizer: Any
    dtype: torch.dtype
    prompt: str = "short"
    gpus: int = 1  # that hold it together

    @property
    def bytes(self) -> int:
        """Weights on each GPU."""
        return tensor_parallel.held(self.model, self.gpus) * self.dtype.itemsize

    @property
    def column_bytes(self) -> int:
        """Keys and values of one token of one row on each GPU: 2 layers kv_heads d."""
        c = self.model.config.get_text_config()
        if rank := getattr(c, "kv_lora_rank", None):  # latent attention keeps one compressed vector and the rotated part of a key
            return c.num_hidden_layers * (rank + c.qk_rope_head_dim) * self.dtype.itemsize
        head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        heads = getattr(c, "num_key_value_heads", None) or c.num_attention_heads
        here = heads // self.gpus if tensor_parallel.cuts_keys(self.model) else heads
        return 2 * c.num_hidden_layers * here * head * self.dtype.itemsize


def describe(params: TranslatorParams, gpus: int = 1) -> LM:
    """The translator of those parameters without its weights.  Raises UserError in one line, also where so many GPUs cannot share it."""
    lm = replace(_described(params), gpus=gpus)
    if gpus > 1:
        tensor_parallel.check(lm.model, gpus)
    return lm


@cache
def _described(params: TranslatorParams) -> LM:
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if params.dtype == "auto" else getattr(torch, params.dtype)  # as on a GPU
    if params.model == "random":
        return LM(*models.random_model(width=models.RANDOM_WIDTH), dtype, params.prompt)
    folder = models.folder_of(params)
    with models.one_line(folder), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shapes.configuration(str(folder)))
        return LM(model, None if shapes.known(str(folder)) else models.load_tokenizer(params), dtype, params.prompt)


@cache
def prm_bytes(params: Params, kind: str, width: int) -> tuple[int, int]:
    """(while it scores, while it is trained) of a PRM of that kind over latents `width` wide."""
    return bytes_of(described_prm(params, kind, width), params.prm.precision)


def described_prm(params: Params, kind: str, width: int) -> prm_model.PRMConfig:
    """The description of a PRM of that kind over latents `width` wide."""
    shape = prm_shape(params, kind)
    latent_width = width * (2 if shape.reads == "both" else 1)
    return replace(shape, backbone=kind, latent_width=latent_width, steps=params.latent.steps)


def bytes_of(config: prm_model.PRMConfig, precision: str = "fp32") -> tuple[int, int]:
    """(while it scores, while it is trained with that `prm.precision`) of a PRM of that description."""
    scoring, beneath, values = _weights(config)
    return scoring, beneath + bytes_of_weight(precision) * values


def trained(config: prm_model.PRMConfig, precision: str) -> tuple[int, int]:
    """Bytes of (what lies beneath adapters, what is learned with its gradient and moments)."""
    _, beneath, values = _weights(config)
    return beneath, bytes_of_weight(precision) * values


def _weights(config: prm_model.PRMConfig) -> tuple[int, int, int]:
    """(bytes of all weights, of those beneath adapters, count of those that are learned)."""
    with models.one_line(config.backbone, "prm.kind"), torch.device("meta"):
        model = prm_model.unfilled(config)
    scoring = sum(v.nbytes for v in model.state_dict().values())
    own = prm_model.learned(model).values()
    return scoring, scoring - sum(v.nbytes for v in own), sum(v.numel() for v in own)


def activations(config: prm_model.PRMConfig, rows: int, precision: str, recompute: bool = False, compiled: bool = False) -> int:
    """Bytes that a language model keeps for the backward pass of `rows` trajectories in one forward.

    Of a token in a layer 11 vectors of the model's width and 4 of its inner one, compiled 4 and 4: as measured at the 7B shape with
    LoRA.  recompute: of one layer these, of the others what they read.
    """
    if config.backbone in SMALL_PRMS:
        return 0
    shape = shapes.configuration(config.backbone).get_text_config()
    tokens = rows * (config.steps * (2 if config.reads == "both" else 1) + (config.context == "pooled"))
    layer, layers = (4 if compiled else 11) * shape.hidden_size + 4 * shape.intermediate_size, shape.num_hidden_layers
    values = layer + layers * shape.hidden_size if recompute else layers * layer
    return tokens * values * (4 if precision == "fp32" else 2)


def dearest(lm: LM, params: Params) -> tuple[int, int, int]:
    """(rows, prompt tokens, most new tokens) of the batch that takes most; all of its rows are as long as its longest task."""
    pool = tasks(suites.load_suite(params.suite), params.suite.directions)
    sizes = prompt_sizes(lm, pool, params)
    pool = [t for t in pool if t.id in sizes]
    if not pool:
        raise UserError(prompt_room.none_left(params))
    one = params.model_copy(update={"search": params.search.model_copy(update={"seeds": (0,)})})
    together = max(
        len(rollouts.branches(params)), program_rows.thinking_rows(program_rows.plan_rows(pool[:1], one), one)
    )  # of one task, never cut
    batches = []
    for task in pool:
        rows = max(together, params.decode.batch // prompt_room.weight(task, params))
        batches.append((rows, sizes[task.id], prompt_room.token_limit(sizes[task.id], params)))
    return max(batches, key=lambda b: b[0] * (b[1] + b[2]))


def prompt_sizes(lm: LM, pool: list[Task], params: Params) -> dict[str, int]:
    """Prompt tokens of the tasks that the run keeps, by id; without a tokenizer 3 bytes count as one, and ASKED are added."""
    if lm.tokenizer is None:
        sizes = {task.id: ASKED + len(task.source_code.encode()) // 3 for task in pool}
        return {name: size for name, size in sizes.items() if size <= params.decode.max_prompt}
    long = prompt_room.too_long(pool, params)
    kept = [task for task in pool if task.id not in long]
    return {task.id: len(ids) for task, ids in zip(kept, rollouts.ask(lm, kept), strict=True)}


@cache
def _batch(params: Params) -> tuple[int, int, int]:
    return dearest(describe(params.translator), params)


def table(params: Params, gpus: int = 0) -> pd.DataFrame:
    """One row for each thing in a GPU's memory: stages, what, gib.  Every row of the batch as long as the longest task.

    gpus: over which the translator lies, instead of as many as `executor.gpu` names.
    """
    lm = describe(params.translator, gpus or hardware.gpus_asked(params.executor.gpu)[1])
    count, asked, new = _batch(params)
    columns = asked + params.latent.steps * max(2, params.search.branches) + new
    cache = count * lm.column_bytes * (columns + max(GROW, columns // 4))
    width = lm.model.config.get_text_config().hidden_size
    kinds = {kind: prm_bytes(params, kind, width) for kind in (params.prm.kind, *params.prm.baselines)}
    guide, guide_bytes, together = params.prm.kind, kinds[params.prm.kind][0], len(params.report.seeds) if params.prm.folds else 1
    if params.prm.checkpoint:
        given = prm_model.read_config(resolve(params.prm.checkpoint))
        guide, guide_bytes, together = given.backbone, bytes_of(given)[0], 1
    chooser = (f"PRM {params.prm.kind} and its optimiser", kinds[params.prm.kind][1]) if params.prm.folds else (f"PRM {guide}", guide_bytes)
    largest = max(kinds, key=lambda kind: kinds[kind][1])
    kept, trained_in = kept_of(params, largest), "02 03" if params.prm.folds else "02"
    size, precision = tensor_parallel.held(lm.model, 1), str(lm.dtype).removeprefix("torch.")
    part = f", one of {lm.gpus} parts" if lm.gpus > 1 else ""
    rows = [
        ("01 04", f"translator {params.translator.model}, {size / 1e9:.2f} B parameters, {precision}{part}", lm.bytes),
        ("01 04", f"cache of {count} rows of {asked:,} + {new:,} tokens, room to grow", cache),
        ("02", f"PRM {largest} and its optimiser", kinds[largest][1]),
        *([(trained_in, f"activations of {params.prm.device_batch} rollouts in one forward", kept)] if kept else []),
        ("03", *chooser),
        ("04", f"PRM {guide}" + (f", {together} of them" if together > 1 else ""), together * guide_bytes),
        ("01 02 03 04", "CUDA itself", CONTEXT),
    ]
    here = placement.executor_config(params).runs_here  # else the translator is asked where it is
    if here and (params.prm.reads != "states" or params.prm.context != "none"):  # stage 02 asks the translator what the PRM reads
        rows[0] = ("01 02 03 04" if params.prm.folds else "01 02 04", *rows[0][1:])
    return pd.DataFrame([(stages, what, size / GIB) for stages, what, size in rows], columns=["stages", "what", "gib"])


def kept_of(params: Params, kind: str) -> int:
    """`activations` of a forward of that kind of PRM in stage 02."""
    shape, prm = replace(prm_shape(params, kind), backbone=kind, steps=params.latent.steps), params.prm
    return activations(shape, prm.device_batch, prm.precision, prm.recompute, prm.compile)


def on_each(config: prm_model.PRMConfig, precision: str, kept: int, count: int, room: int) -> float:
    """GiB on each of `count` GPUs with `room` bytes that train a PRM of that description (`prm/sharded.py`); kept: `activations`."""
    beneath, learned = trained(config, precision)
    here = beneath if count == 1 or sharded.kept_whole(beneath, room) else beneath / count
    return MOMENT["02"] * (here + learned / count + kept + CONTEXT) / GIB


def needed(rows: pd.DataFrame) -> dict[str, float]:
    """Stage -> GiB of one process, what one forward needs for a moment included."""
    return {stage: more * float(rows.loc[rows["stages"].str.contains(stage), "gib"].sum()) for stage, more in MOMENT.items()}


def choices(params: Params, stages: Sequence[str] = ("01", "04")) -> list[str]:
    """What `executor.gpu` could name: of each GPU the fewest that hold what those stages need."""
    sums = {n: needed(table(params, n)) for n in COUNTS if _splits(params, n)}
    most = {n: max(each[stage] for stage in stages) for n, each in sums.items()}
    found = {gpu: next((n for n, gib in most.items() if gib <= placement.gpu_share(params, n) * has), 0) for gpu, has in GPU_GIB.items()}
    return [gpu if n == 1 else f"{gpu}:{n}" for gpu, n in found.items() if n]


def _splits(params: Params, gpus: int) -> bool:
    try:
        describe(params.translator, gpus)
    except UserError:
        return gpus == 1
    return True


def refuse(params: Params, stage: str) -> None:
    """UserError where the GPUs that `executor.gpu` names, or `gpu_else`, do not hold what a stage needs.  Nothing is loaded."""
    names = [name for name in (hardware.gpus_asked(params.executor.gpu)[0], *params.executor.gpu_else) if name in GPU_GIB]
    if not names:
        return
    name = min(names, key=GPU_GIB.get)
    rows, room = table(params), placement.gpu_share(params) * GPU_GIB[name]
    wanted = needed(rows)[stage]
    if wanted <= room:
        return
    parts = [f"{gib:.0f} GiB {what.split()[0]}" for _, what, gib in rows[rows["stages"].str.contains(stage)].itertuples(index=False)]
    fitting = [choice for choice in choices(params, [stage]) if choice.split(":")[0] == name] or choices(params, [stage])
    rest = f"{wanted:.0f} GiB with activations on each GPU; {name} has {GPU_GIB[name]}, {room:.0f} of them for translators"
    remedy = " or ".join(filter(None, [f"name {', '.join(fitting)}" if fitting else "", "lower decode.batch or collect.resamples"]))
    if name in params.executor.gpu_else:
        raise UserError(f"executor.gpu_else: {name}: stage {stage} needs {' + '.join(parts)}, {rest}; leave it out")
    raise UserError(f"executor.gpu: {params.executor.gpu}: stage {stage} needs {' + '.join(parts)}, {rest}; {remedy}")
