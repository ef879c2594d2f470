"""The arms: one latent loop, guided or not, over a batch of rows that may belong to different arms.

Knows the PRM only as a scorer of candidates.  Knows no compiler: what a failed attempt is told comes with its row, and
arms that need verdicts are derived afterwards, in `arms`.

B rows, N candidates, K latent steps, D translator width.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from parallax_lib import engine, latents, prm, prompts, scoring
from parallax_lib.collect import ask, token_limit, write_answers
from parallax_lib.kernels import Task
from parallax_lib.models import Translator, loaded_translator
from parallax_lib.params import Params, check, dump
from parallax_lib.store import derive_seed

LIVE_ARMS = ("unguided", "random", "guided", "redecode")  # decoded one program a task
POOL_ARMS = ("best_of_n", "compile_filter", "oracle")  # chosen among `samples` programs of the pool


@dataclass(frozen=True)
class Row:
    """One program to write: which task, by which arm, which sample of it, how its latents are chosen.

    In a repair round, `past` is the (program, feedback) that failed.
    """

    task: Task
    arm: str
    sample: int
    seed: int
    round: int = 0
    past: tuple[str, str] | None = None

    @property
    def policy(self) -> str:
        if self.arm == "guided":
            return "guided"
        return "random" if self.arm == "random" or (self.arm == "pool" and self.sample > 0) else "original"

    @property
    def draw(self) -> int:
        """Seed of the latent draws; the random arm draws as the pool's second program does."""
        if self.round:
            return derive_seed(self.seed, self.task.id, "repair", self.round)
        return derive_seed(self.seed, self.task.id, "pool", 1 if self.arm == "random" else self.sample)

    @property
    def identity(self) -> tuple:
        """What the journal knows the row by."""
        return self.task.id, self.task.source_code, self.arm, self.sample, self.seed, self.round, self.past

    @property
    def prompt(self) -> tuple:
        return self.task.id, self.past

    @property
    def program(self) -> tuple:
        """Rows with equal values are the same program: it is written once."""
        return *self.prompt, self.seed, self.policy, self.draw, self.arm == "redecode"


def plan_rows(tasks: Sequence[Task], params: Params) -> list[Row]:
    """Every program that the arms need; the pool reuses the unguided and the random program as its first two."""
    rows = []
    for seed in params.search.seeds:
        for task in tasks:
            rows += [Row(task, arm, 0, seed) for arm in LIVE_ARMS if arm in params.search.arms]
            if set(POOL_ARMS) & set(params.search.arms):
                rows += [Row(task, "pool", i, seed) for i in range(params.search.samples)]
    return rows


def grouped(rows: Sequence[Row], size: int) -> list[list[Row]]:
    """The rows in order, cut where a group would hold over `size` distinct programs; a task's rows of one seed stay together."""
    groups: list[list[Row]] = []
    programs: set[tuple] = set()
    for _, same in itertools.groupby(rows, key=lambda r: (r.seed, r.task.id)):
        bundle = list(same)
        mine = {r.program for r in bundle}
        if not groups or len(programs | mine) > size:
            groups.append([])
            programs = set()
        groups[-1] += bundle
        programs |= mine
    return groups


def recipe(params: Params) -> dict:
    """The settings that can change a program, and no others: a translation is kept while these are the same."""
    values = dump(params)
    wanted = {name: values["search"][name] for name in ("branches", "margin")}
    return {name: values[name] for name in ("translator", "latent", "decode")} | {"search": wanted}


def chooser(rows: Sequence[Row], scorer, margin: float, device) -> tuple[Callable, list[torch.Tensor]]:
    """(choose for `latents.think`, the list it fills with each step's winning scores (G,)).

    original: row 0.  random: uniform over the N candidates.  guided: best score; a gain under `margin` goes to row 0.
    """
    guided = torch.tensor([r.policy == "guided" for r in rows], device=device)
    scores: list[torch.Tensor] = []

    def choose(step: int, candidates: torch.Tensor) -> torch.Tensor:
        N = candidates.shape[1]
        drawn = [derive_seed(r.draw, "pick", step) % N if r.policy == "random" else 0 for r in rows]
        pick = torch.tensor(drawn, device=device)
        if guided.any():
            mine = candidates[guided]
            values = scorer.score_next(mine)  # (G, N)
            best = select(values, margin)
            scores.append(values.gather(1, best[:, None])[:, 0])
            scorer.commit(mine[torch.arange(len(mine), device=device), best])
            pick[guided] = best
        return pick

    return choose, scores


def select(values: torch.Tensor, margin: float) -> torch.Tensor:
    """Index (B,) of the best of values (B, N); ties and gains under `margin` go to row 0."""
    best = values.argmax(dim=1)
    gain = values.gather(1, best[:, None])[:, 0] - values[:, 0]
    return torch.where(gain > margin, best, torch.zeros_like(best))


def translate(translator: Translator, model, rows: Sequence[Row], params: Params, progress: Callable | None = None) -> list[dict]:
    """One result row per program: its plan, code, PRM score and what it cost.  `model` scores; None without guided rows.

    The pool's first two programs are the unguided and the random arm's: such twins are written once.
    """
    once = list({row.program: row for row in rows}.values())
    written = dict(zip([r.program for r in once], _write(translator, model, once, params, progress), strict=True))
    weight = prm.size(model) / translator.size if model is not None else 0.0
    return [_result(row, written[row.program], params, weight) for row in rows]


@torch.inference_mode()
def _write(translator: Translator, model, rows: Sequence[Row], params: Params, progress: Callable | None) -> list[dict]:
    order = list({r.prompt: r for r in rows}.values())
    where = {r.prompt: i for i, r in enumerate(order)}
    ids = [ask_row(translator, r) for r in order]
    device = translator.device
    index = [where[r.prompt] for r in rows]
    state = engine.select(engine.prefill(translator, ids), torch.tensor(index, device=device))
    count = sum(r.policy == "guided" for r in rows)
    choose, scores = chooser(rows, scoring.start(model, count) if count else None, params.search.margin, device)
    thought = latents.think(
        translator,
        state,
        latents.aligner(translator, params.latent),
        params.latent,
        candidates=params.search.branches,
        choose=choose,
        row_seeds=[r.draw for r in rows],
    )
    heat = [params.decode.redecode_temperature if r.arm == "redecode" else params.decode.temperature for r in rows]
    seeds = [derive_seed(r.seed, r.task.id, r.arm, "decode", *([r.round] if r.round else [])) for r in rows]
    most = [token_limit(len(row), params) for row in ask(translator, [r.task for r in order])]  # of the task, not of a repair's prompt
    answers = write_answers(translator, thought, [ids[i] for i in index], params, heat, seeds, progress, [most[i] for i in index])
    final = iter(scores[-1].tolist() if scores else [])
    for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        answer["score"] = next(final) if row.policy == "guided" else float("nan")
        answer["picks"] = " ".join(map(str, thought.picks[i].tolist()))
        answer["prefill_tokens"] = len(ids[index[i]])
    return answers


def ask_row(translator: Translator, row: Row) -> list[int]:
    """Prompt token ids of a row: the task, and in a repair round the failed attempt and what is told of it."""
    task = row.task
    return translator.tokenizer(prompts.prompt(translator.tokenizer, task.source, task.target, task.source_code, row.past)).input_ids


def translate_item(item: dict) -> list[dict]:
    """`translate` on plain data, so that it can run in another process or container."""
    params = check(item["params"], {}, Path("item"))
    with tempfile.TemporaryDirectory() as folder:
        for name, data in item["prm"].items():
            (Path(folder) / name).write_bytes(data)
        model = prm.load(folder) if item["prm"] else None
    return translate(loaded_translator(params.translator), model, item["rows"], params)


def packed_prm(folder: Path) -> dict[str, bytes]:
    """The files of a PRM's folder, to travel with an item."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors")}


def _result(row: Row, answer: dict, params: Params, weight: float) -> dict:
    """`cost` counts in tokens that the translator forwards; a PRM call is `weight` of one: their parameters' ratio."""
    K, N = params.latent.steps, params.search.branches
    spent = {"latent_steps": K, "prm_calls": K * N if row.policy == "guided" else 0, "decode_tokens": answer["tokens"]}
    who = {"task": row.task.id, "kernel": row.task.kernel.name, "family": row.task.kernel.family, "direction": row.task.direction}
    who |= {"seed": row.seed, "arm": row.arm, "sample": row.sample, "attempt": row.round}
    cost = answer["prefill_tokens"] + K + answer["tokens"] + weight * spent["prm_calls"]
    return who | spent | {"cost": cost} | {k: v for k, v in answer.items() if k != "tokens"}
