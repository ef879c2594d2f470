"""What a PRM reads beside the latents, asked of the translator where the translator is: words they are aligned to, states of prompts.

Knows latents and prompts as plain data that other processes and machines take.  Knows no PRM, and keeps nothing.

n rollouts, K latent steps, D translator width, m prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from parallax_lib.core import tables
from parallax_lib.core.config import check, dump
from parallax_lib.core.executors import run_map
from parallax_lib.core.progress import Meter
from parallax_lib.core.settings import Params
from parallax_lib.core.vector_format import narrow
from parallax_lib.search import placement, rollouts
from parallax_lib.translator import alignment
from parallax_lib.translator.models import Translator, in_parts, loaded_translator, use_idle_cores

ROLLOUTS, PROMPTS = 256, 16  # of one call, at most
PIECE = 8 << 20  # bytes of latents in one call, at most


def aligned(params: Params, vectors: np.ndarray, progress: Meter) -> np.ndarray:
    """What a PRM with `prm.reads` other than states reads of latents float16 [n, K, D]: [n, K, D], or with both [n, K, 2 D].

    A soft alignment multiplies each latent by the whole vocabulary twice: minutes on a CPU.
    """
    size = max(1, min(ROLLOUTS, PIECE // max(1, vectors[:1].nbytes)))
    parts = [vectors[at : at + size] for at in range(0, len(vectors), size)]
    return np.concatenate(_asked(aligned_item, [{"vectors": part} for part in parts], params, progress, "align latents", "rollouts"))


def prompt_states(params: Params, rows: pd.DataFrame, progress: Meter) -> np.ndarray:
    """Mean state of the prompt of each row (task, direction, source_code), float32 [n, D]; equal ones are asked for once."""
    rows = rows[["task", "direction", "source_code"]].reset_index(drop=True)
    asked = rows.drop_duplicates(["task", "source_code"])
    parts = [asked.iloc[at : at + PROMPTS] for at in range(0, len(asked), PROMPTS)]
    pooled = _asked(prompts_item, [{"rows": part.to_dict("records")} for part in parts], params, progress, "read prompts", "prompts")
    where = {key: i for i, key in enumerate(zip(asked["task"], asked["source_code"], strict=True))}
    return np.concatenate(pooled)[[where[key] for key in zip(rows["task"], rows["source_code"], strict=True)]]


def aligned_item(item: dict[str, Any], shrink: int = 1) -> np.ndarray:
    """`aligned` of one item on plain data, so that it can run in another process or container."""
    params, translator = _opened(item)
    read = alignment.reader(alignment.aligner(translator, params.latent), params.prm.reads)
    return np.concatenate(in_parts(partial(_align, translator, read), item["vectors"], translator, shrink))


def prompts_item(item: dict[str, Any], shrink: int = 1) -> np.ndarray:
    """Mean states of the prompts of one item's rows, float32 [m, D]."""
    _, translator = _opened(item)
    return np.concatenate(in_parts(lambda rows: rollouts.prompt_states(translator, pd.DataFrame(rows)), item["rows"], translator, shrink))


@torch.inference_mode()
def _align(translator: Translator, read: Callable, vectors: Sequence[np.ndarray]) -> np.ndarray:
    part = torch.from_numpy(np.stack(vectors)).to(translator.device, translator.model.dtype)
    return narrow(read(part).float().cpu().numpy())


def _opened(item: dict[str, Any]) -> tuple[Params, Translator]:
    """No part of the GPU is left to judged programs: none run beside a PRM's training, which needs the rest here."""
    params = check(item["params"], {}, Path("item"))
    tables.enter_own(item["own"])
    translator = loaded_translator(params.translator, item["gpus"])
    use_idle_cores(translator.device)
    return params, translator


def _asked(fn: Callable, items: list[dict], params: Params, progress: Meter, what: str, unit: str) -> list[np.ndarray]:
    """The items' results in order, made where programs are written."""
    shared = {"params": dump(params), "own": placement.own_methods(params)} | placement.gpus(params)
    sizes, done, out = [len(next(iter(item.values()))) for item in items], 0, {}
    progress(what, 0, sum(sizes), unit)
    for i, result in run_map(fn, [shared | item for item in items], placement.executor_config(params), say=placement.said(progress)):
        if isinstance(result, Exception):
            raise result
        out[i], done = result, done + sizes[i]
        progress(what, done, sum(sizes), unit)
    return [out[i] for i in range(len(items))]
