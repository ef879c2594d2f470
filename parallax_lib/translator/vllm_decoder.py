"""Decodes with vLLM, where it is installed: input embeddings of prompt, latents and opening go in, tokens come out.

Knows vLLM's offline interface.  Takes no hidden state from vLLM: its states are not the engine's, and none of them is ever a latent
or read by a PRM.  Knows no task.

B rows, L columns of a row, D translator width.
"""

from __future__ import annotations

import importlib.util
import math
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from parallax_lib.core.errors import UserError
from parallax_lib.translator.answer_rows import Answer
from parallax_lib.translator.language_model import Translator
from parallax_lib.translator.stopping import Stops, stops_of

ABSENT = "decode.engine: vllm is not installed where programs are written; install it there or set decode.engine: own"
WHOLE = "decode.engine: vllm decodes on one GPU; executor.gpu asks for {}, set decode.engine: own"
SHARE = 0.4  # of a GPU's memory for vLLM's weights and cache: the engine's translator is there too


def refuse(engine: str, gpus: int) -> None:
    """UserError, before anything is loaded, where a run asks for vLLM and this process cannot use it."""
    if engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise UserError(ABSENT)
    if engine == "vllm" and gpus > 1:
        raise UserError(WHOLE.format(gpus))


@torch.inference_mode()
def decode(
    translator: Translator,
    prompts: list[list[int]],
    latents: torch.Tensor,
    start: list[int],
    *,
    limits: list[int],
    temperatures: list[float],
    seeds: list[int],
    most: int,
    opened: bool = True,
    thought: Sequence[list[int]] = (),
) -> list[Answer]:
    """`decoding.decode` from prompts, their aligned latents (B, K, D) and `start`; greedy tokens are the engine's but for rounding.

    most: tokens that a prompt, its latents and its answer may have together.
    """
    from vllm import SamplingParams

    stops = stops_of(translator, opened)
    asked = [
        SamplingParams(
            temperature=heat, max_tokens=limit, min_tokens=0 if start else 1, seed=seed % (1 << 63), logprobs=0,
            stop_token_ids=sorted(stops.ends), stop=["\n```"] if opened else None, include_stop_str_in_output=True,
            skip_special_tokens=False,
        )
        for heat, limit, seed in zip(temperatures, limits, seeds, strict=True)
    ]  # fmt: skip
    rows = [{"prompt_embeds": _embeds(translator, ids, path, start)} for ids, path in zip(prompts, latents, strict=True)]
    written = _opened(translator, most).generate(rows, asked, use_tqdm=False)
    before = thought or [[] for _ in written]
    return [_answer(each.outputs[0], stops, bool(start), words) for each, words in zip(written, before, strict=True)]


def _embeds(translator: Translator, ids: list[int], path: torch.Tensor, start: list[int]) -> torch.Tensor:
    """What the model reads of one row, (L, D)."""
    words = [translator.embed(torch.tensor(each, dtype=torch.long, device=translator.device)) for each in (ids, start)]
    return torch.cat([words[0], path.to(words[0].dtype), words[1]])


def _answer(written: Any, stops: Stops, begun: bool, thought: list[int]) -> Answer:
    """vLLM's tokens up to the first that ends an answer; the first of one that nothing began does not.  thought: as `decoding.decode`'s."""
    answer = Answer()
    for token, said in zip(written.token_ids, written.logprobs, strict=True):
        answer.tokens.append(token)
        answer.logprob += said[token].logprob if math.isfinite(said[token].logprob) else 0.0
        if (begun or len(answer.tokens) > 1) and stops([*thought, *answer.tokens]):
            answer.finished = True
            break
    return answer


@cache
def _opened(translator: Translator, most: int) -> Any:
    """vLLM's own copy of the translator, its adapter merged in; in this process, which a killed parent then takes along."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from vllm import LLM

    with tempfile.TemporaryDirectory() as folder:
        translator.model.save_pretrained(folder)
        translator.tokenizer.save_pretrained(folder)
        more = {"gpu_memory_utilization": SHARE} if translator.device.type == "cuda" else {}
        dtype = str(translator.model.dtype).removeprefix("torch.")
        return LLM(model=folder, enable_prompt_embeds=True, enforce_eager=True, dtype=dtype, max_model_len=most, **more)
