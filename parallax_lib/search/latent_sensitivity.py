"""Do the latents decide anything?  Programs written under noise of several sizes, beside a re-decode-only control.

Knows tasks and latents.  Knows no verdict: counting distinct programs and changed outcomes is `metrics.latent_sensitivity`.
Run this before training any PRM: where noise changes no outcome, no reward model can help.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from parallax_lib.core import tables
from parallax_lib.core.config import check
from parallax_lib.core.progress import Inside, Meter, unheard
from parallax_lib.core.settings import Params
from parallax_lib.core.storage import derive_seed
from parallax_lib.search.rollouts import ask, weight, write_answers
from parallax_lib.tasks.task import Task
from parallax_lib.translator import alignment, engine, latent_steps, vllm_decoder
from parallax_lib.translator.models import Translator, leave_room, loaded_translator, use_idle_cores

CONTROL = "re-decode"


def probe_rows(tasks: Sequence[Task], params: Params) -> list[tuple[Task, str, float, int]]:
    """(task, kind, sigma, branch): one unperturbed, then `sensitivity_branches` per sigma and as many re-decodes."""
    c = params.collect
    rows = []
    for task in tasks:
        rows.append((task, "unperturbed", 0.0, 0))
        rows += [(task, "noise", s, b) for s in c.sensitivity_sigmas if s > 0 for b in range(c.sensitivity_branches)]
        rows += [(task, CONTROL, 0.0, b) for b in range(c.sensitivity_branches)]
    return rows


@torch.inference_mode()
def probe(translator: Translator, tasks: Sequence[Task], params: Params, progress: Meter | None = None) -> list[dict]:
    """One row a program: task, direction, kind, sigma, branch, plan, code, tokens.  Noise is added at every latent step."""
    rows = probe_rows(tasks, params)
    size = max(1, params.decode.batch // max((weight(task, params) for task in tasks), default=1))
    out: list[dict] = []
    for at in range(0, len(rows), size):
        if progress:
            progress("latent_sensitivity", len(out), len(rows), "programs")
        out += _write(translator, rows[at : at + size], params, progress.inside if isinstance(progress, Meter) else unheard)
    return out


def probe_item(item: dict) -> list[dict]:
    """`probe` on plain data, so that it can run in another process or container."""
    params = check(item["params"], {}, Path("item"))
    tables.enter_own(item.get("own", b""))
    vllm_decoder.refuse(params.decode.engine, item["gpus"])
    leave_room(item["gpu_share"])
    translator = loaded_translator(params.translator, item["gpus"])
    use_idle_cores(translator.device)
    return probe(translator, item["tasks"], params, item.get("progress"))


def _write(translator: Translator, rows: list, params: Params, inside: Inside) -> list[dict]:
    order = list({task.id: task for task, *_ in rows}.values())
    ids = ask(translator, order)
    where = {task.id: i for i, task in enumerate(order)}
    prompts = [ids[where[task.id]] for task, *_ in rows]
    device = translator.device
    state = engine.select(engine.prefill(translator, ids), torch.tensor([where[task.id] for task, *_ in rows], device=device))
    seeds = [derive_seed(params.seed, "influence", task.id, sigma, branch) for task, _, sigma, branch in rows]
    noisy = torch.tensor([kind == "noise" for _, kind, _, _ in rows], device=device).long()
    trajectory = latent_steps.think(
        translator,
        state,
        alignment.aligner(translator, params.latent),
        params.latent,
        candidates=2,
        choose=lambda t, _: noisy,
        row_seeds=seeds,
        sigmas=torch.tensor([sigma for _, _, sigma, _ in rows]),
    )
    decode = params.decode
    heat = [decode.redecode_temperature if kind == CONTROL else decode.temperature for _, kind, _, _ in rows]
    answers = write_answers(translator, trajectory, prompts, params, heat, seeds, inside, tasks=[task for task, *_ in rows])
    return [
        {"task": task.id, "direction": task.direction, "kind": kind, "sigma": sigma, "branch": branch} | answer
        for (task, kind, sigma, branch), answer in zip(rows, answers, strict=True)
    ]
