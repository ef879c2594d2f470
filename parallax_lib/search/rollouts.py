"""Generates rollouts: for every task one original and one continuation branching off at each latent index.

Knows the tree (task, branch depth, resample) and where rows are kept.  Knows no verdict and no reward.

B rows, K latent steps, D translator width, R resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from parallax_lib.core import fingerprint, tables
from parallax_lib.core.config import check, dump
from parallax_lib.core.errors import UserError
from parallax_lib.core.executors import run_map
from parallax_lib.core.progress import Inside, Meter, unheard
from parallax_lib.core.settings import Params
from parallax_lib.core.source import source_digest
from parallax_lib.core.storage import Journal, derive_seed, digest, read_vectors, slug, write_vectors
from parallax_lib.core.vector_format import narrow
from parallax_lib.search import methods, placement
from parallax_lib.search.prompt_room import longest_row, token_limit, weight
from parallax_lib.tasks import extraction, prompts
from parallax_lib.tasks.task import Task
from parallax_lib.translator import alignment, decoding, engine, latent_steps, models, vllm_decoder
from parallax_lib.translator.models import Translator, in_parts, leave_room, loaded_translator, use_idle_cores

ORIGINAL = -1


def branches(params: Params) -> list[tuple[int, int]]:
    """(branch depth v, resample r) of every rollout of one task; the original first."""
    c = params.collect
    depths = Counter(c.depths or range(params.latent.steps))
    if beyond := sorted(set(depths) - set(range(params.latent.steps))):
        raise UserError(f"collect.depths: {beyond[0]} is not a latent index; latent.steps is {params.latent.steps}")
    return [(ORIGINAL, 0)] + [(v, r) for v, times in sorted(depths.items()) for r in range(times * c.resamples)]


def capture_id(task: Task, params: Params, v: int, r: int) -> str:
    """Published naming: `<id>` for the original, `<id>_v{i}_r{j}` for a branch-off."""
    recipe = dump(params)
    inputs = [task.id, task.source_code, recipe["translator"]["model"], recipe["translator"]["adapter"], recipe["latent"], params.seed]
    root = slug(task.id, [*inputs, *(["onward"] if params.collect.onward else []), *_unusual(params), *fingerprint.weights(params)])
    return root if v == ORIGINAL else f"{root}_v{v}_r{r}"


def made_by(params: Params) -> str:
    """Digest of the code that writes rollouts; no part of their names: they are made anew under the names they had."""
    return source_digest(generate, models.load_translator, engine.prefill, *methods.members(params, "proposal", "align"))


def chunk_keys(tasks: list[Task], params: Params) -> list[str]:
    """What the journal, and the file of its latents, knows each chunk by: its rollouts' names and the code that writes them."""
    code = made_by(params)
    named = [[[capture_id(t, params, v, r) for v, r in branches(params)] for t in chunk] for chunk in chunked(tasks, params)]
    return [digest([names, code])[:16] for names in named]


def _unusual(params: Params) -> list:
    """Settings of decoding that can change a program, where they are not the defaults: names are the old ones where they are."""
    said = [(params.decode, name) for name in ("temperature", "max_new_tokens", "opening", "engine")]
    said += [(params.translator, name) for name in ("dtype", "prompt")]
    return [[name, getattr(part, name)] for part, name in said if getattr(part, name) != type(part).model_fields[name].default]


def chunked(tasks: list[Task], params: Params) -> list[list[Task]]:
    """The tasks in order, cut where a chunk's rollouts would be more than `decode.batch` rows, all padded to the longest."""
    size, chunks, heaviest = max(1, params.decode.batch // len(branches(params))), [], 0
    for task in tasks:
        heaviest = max(heaviest, weight(task, params))
        if not chunks or (len(chunks[-1]) + 1) * heaviest > size:
            chunks.append([])
            heaviest = weight(task, params)
        chunks[-1].append(task)
    return chunks


def ask(translator: Translator, tasks: list[Task]) -> list[list[int]]:
    """Prompt token ids of each task."""
    return [prompts.prompt_tokens(translator.tokenizer, t.source, t.target, t.source_code, None, translator.prompt) for t in tasks]


@torch.inference_mode()
def prompt_states(translator: Translator, rows: pd.DataFrame, batch: int = 16) -> np.ndarray:
    """Mean state of each row's prompt, float32 [n, D]; rows need task, direction, source_code."""
    asked = rows.drop_duplicates(["task", "source_code"])
    ids = [
        prompts.prompt_tokens(translator.tokenizer, *direction.split("-"), source, None, translator.prompt)
        for direction, source in zip(asked["direction"], asked["source_code"], strict=True)
    ]
    parts = [engine.prefill(translator, ids[i : i + batch]).pooled for i in range(0, len(ids), batch)]
    pooled = torch.cat(parts).cpu().numpy()
    where = {key: i for i, key in enumerate(zip(asked["task"], asked["source_code"], strict=True))}
    return pooled[[where[key] for key in zip(rows["task"], rows["source_code"], strict=True)]]


def write_answers(
    translator: Translator,
    trajectory: latent_steps.Trajectory,
    ids: list[list[int]],
    params: Params,
    temperatures: list[float],
    seeds: list[int],
    inside: Inside = unheard,
    limits: list[int] | None = None,
    tasks: Sequence[Task] = (),
) -> list[dict]:
    """Decode every row of a trajectory; code is None where the answer holds no program.  `limits`: most tokens of each.

    Where nothing opens the answer (`decode.opening: free`) its first words are those that the latents stand for.
    `tasks`: of each row; where one asks for a function, that is a program.
    """

    def decoded(tokens: int, most: int, ended: int) -> None:
        inside("decode", tokens, most, "tokens", f"{ended}/{len(ids)} programs ended", most=True)

    opening = prompts.STARTS[params.decode.opening]
    limits = limits or [token_limit(len(row), params) for row in ids]
    start = prompts.tokens(translator.tokenizer, opening) if opening else []
    thought = [[] for _ in ids] if opening else latent_steps.nearest(translator, trajectory.latents)
    how = {"limits": limits, "temperatures": temperatures, "seeds": seeds, "opened": params.decode.opening == "fence", "thought": thought}
    if params.decode.engine == "vllm":
        latents = alignment.aligner(translator, params.latent)(trajectory.latents) if params.latent.steps else trajectory.latents
        answers = vllm_decoder.decode(translator, ids, latents, start, most=longest_row(params), **how)
    else:
        answers = decoding.decode(translator, trajectory.state, ids, start, draft=params.decode.draft, progress=decoded, **how)
    whole = [not task.asks_function for task in tasks] or [True] * len(answers)
    said = [[*words, *answer.tokens] for words, answer in zip(thought, answers, strict=True)]
    texts = [opening + translator.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in said]
    return [_answer(*each) for each in zip(answers, texts, trajectory.tokens, whole, strict=True)]


def _answer(answer: decoding.Answer, text: str, plan: Sequence[str], needs_main: bool) -> dict:
    return {
        "plan": " ".join(plan),
        "code": extraction.extract(text, needs_main),
        "tokens": len(answer.tokens),
        "mean_logprob": answer.mean_logprob,
        "finished": answer.finished,
    }


@torch.inference_mode()
def generate(translator: Translator, tasks: list[Task], params: Params, inside: Inside = unheard) -> tuple[list[dict], np.ndarray]:
    """Rollout rows of some tasks and their latents, float16 [n, K, D].

    A branch-off takes a perturbed state at its depth v, and with `collect.onward` at every depth after it.
    """
    plan = branches(params)
    ids = ask(translator, tasks)
    inside("read prompts", 0, len(ids), "prompts")
    state = engine.prefill(translator, ids)
    inside("latent steps", 0)
    rows = torch.arange(len(tasks), device=translator.device).repeat_interleave(len(plan))
    tree = [(task, v, r) for task in tasks for v, r in plan]
    depth = torch.tensor([v for _, v, _ in tree], device=translator.device)
    seeds = [derive_seed(params.seed, task.id, v, r) for task, v, r in tree]
    trajectory = latent_steps.think(
        translator,
        engine.select(state, rows),
        alignment.aligner(translator, params.latent),
        params.latent,
        candidates=2,
        choose=lambda t, _: (((depth >= 0) & (depth <= t)) if params.collect.onward else depth == t).long(),
        row_seeds=seeds,
    )
    temperatures = [params.decode.temperature] * len(tree)
    asked = [ids[i] for i in rows.tolist()]
    answers = write_answers(translator, trajectory, asked, params, temperatures, seeds, inside, tasks=[task for task, _, _ in tree])
    out = [row_of(task, params, v, r) | answer for (task, v, r), answer in zip(tree, answers, strict=True)]
    return out, narrow(trajectory.latents.float().cpu().numpy())


def row_of(task: Task, params: Params, v: int, r: int) -> dict:
    return {
        "capture_id": capture_id(task, params, v, r),
        "root": capture_id(task, params, ORIGINAL, 0),
        "task": task.id,
        "kernel": task.kernel.name,
        "family": task.kernel.family,
        "direction": task.direction,
        "source_code": task.source_code,
        "branch_depth": v,
        "resample": r,
    }


def generate_item(item: dict[str, Any], shrink: int = 1) -> dict[str, Any]:
    """`generate` on plain data, so that it can run in another process or container.

    Tasks that do not fit the memory are cut in halves, here on one GPU, and in `shrink` parts after a process died of it.
    """
    params = check(item["params"], {}, Path("item"))
    tables.enter_own(item.get("own", b""))
    leave_room(item["gpu_share"])
    vllm_decoder.refuse(params.decode.engine, item.get("gpus", 1))
    inside = item.get("inside", unheard)
    inside("load the translator", 0)
    translator = loaded_translator(params.translator, item.get("gpus", 1))
    use_idle_cores(translator.device)
    parts = in_parts(lambda tasks: generate(translator, tasks, params, inside), item["tasks"], translator, shrink)
    return {"rows": [row for rows, _ in parts for row in rows], "vectors": np.concatenate([vectors for _, vectors in parts])}


def generate_one(task: Task, params: Params) -> list[dict]:
    """Rollout rows of one task, written where programs are written; nothing is kept."""
    item = {"params": dump(params), "own": placement.own_methods(params), "tasks": [task]} | placement.gpus(params)
    ((_, made),) = run_map(generate_item, [item], placement.executor_config(params))
    if isinstance(made, Exception):
        raise made
    return made["rows"]


def collect(
    tasks: list[Task],
    params: Params,
    journal: Journal,
    folder: Path,
    progress: Meter,
    written: Callable[[list[dict]], Any] = lambda rows: None,
    *,
    proposal: methods.Given = None,
    align: methods.Given = None,
) -> Params:
    """Rollouts of all tasks into the journal (kind "rollout") and vector shards; finished chunks are skipped.

    `written(rows)` is called after every chunk that is new.  proposal, align: names or functions instead of the settings; the
    parameters that hold them are returned.

    Chunks depend on the task list and on what a row may take, and a chunk's rows are written in one transaction after its
    shard: kill -9 at any moment loses at most the chunk in hand and doubles nothing.  A chunk whose shard is gone is made anew.
    """
    params = methods.using(params, proposal=proposal, align=align)
    methods.check(params, "proposal", "align")
    chunks, keys = chunked(tasks, params), chunk_keys(tasks, params)
    stored = [journal.get("chunk", key) is not None and (folder / f"{key}.safetensors").exists() for key in keys]
    todo = [i for i, done in enumerate(stored) if not done]
    journal.forget("chunk", [keys[i] for i in todo])  # a lost shard's is done again only when all of it is
    sizes = [len(chunk) * len(branches(params)) for chunk in chunks]
    left, every, tokens = sum(sizes[i] for i in todo), sum(sizes), 0
    progress("collect", every - left, every, "programs")
    shared = {"params": dump(params), "own": placement.own_methods(params)} | placement.gpus(params)
    items = [shared | placement.heard(params, progress) | {"tasks": chunks[i]} for i in todo]
    for index, result in run_map(generate_item, items, placement.executor_config(params), say=placement.said(progress)):
        if isinstance(result, Exception):
            raise result
        key = keys[todo[index]]
        write_vectors(folder / f"{key}.safetensors", result["vectors"])
        rows = [(f"{key}/{i}", row | {"shard": key, "row": i}) for i, row in enumerate(result["rows"])]
        journal.put_many("rollout", rows, replace=True)  # those of a chunk whose shard was lost are there
        journal.put("chunk", key, {"rollouts": len(rows)})
        written(result["rows"])
        left -= sizes[todo[index]]
        tokens += sum(row["tokens"] for row in result["rows"])
        progress("collect", every - left, every, "programs", f"{tokens:,} tokens")
    return params


def load_rollouts(journal: Journal, folder: Path, keys: Collection[str] | None = None):
    """(frame of the journal's rollouts, their latents float16 [n, K, D]), row by row; `keys`: only those of these `chunk_keys`."""
    rows = [r for r in journal.rows("rollout").values() if keys is None or r["shard"] in keys]
    if not rows:
        raise UserError("no rollouts in this run; raise collect.limit or name collect.shipped")
    frame = pd.DataFrame(rows).sort_values(["task", "branch_depth", "resample"], ignore_index=True)
    shards = {name: read_vectors(folder / f"{name}.safetensors") for name in frame["shard"].unique()}
    vectors = np.stack([shards[s][i] for s, i in zip(frame["shard"], frame["row"], strict=True)])
    return frame.drop(columns=["shard", "row"]), vectors
