"""The methods: one latent loop, guided or not, over a batch of rows that may belong to different methods.

Knows the PRM only as a scorer of candidates.  Knows no compiler: what a failed attempt is told comes with its row, and
methods that need verdicts are derived afterwards, in `arms`.

B rows, G of them guided, W prefixes kept a guided row, N candidates, K latent steps, D translator width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from parallax_lib.core import fingerprint, tables
from parallax_lib.core.config import check, dump
from parallax_lib.core.progress import Inside, unheard
from parallax_lib.core.settings import Params
from parallax_lib.core.source import source_digest
from parallax_lib.core.tables import find
from parallax_lib.prm import engine_states, incremental_scoring, packed
from parallax_lib.prm import model as prm_model
from parallax_lib.search import arms, methods, policies
from parallax_lib.search.program_rows import Row, bundled, slots, thinking_cost, thinking_rows
from parallax_lib.search.prompt_room import token_limit
from parallax_lib.search.rollouts import ask, write_answers
from parallax_lib.search.untrained_rule import suits
from parallax_lib.tasks import prompts
from parallax_lib.translator import alignment, engine, latent_steps, vllm_decoder
from parallax_lib.translator.models import Translator, in_parts, leave_room, load_translator, loaded_translator, use_idle_cores


def recipe(params: Params, sampled: bool = False) -> dict:
    """The settings that can change a program, of the sampled pool or not, and no others: a translation is kept while these are the same."""
    values = dump(params)
    heat = {"sample_temperature": values["decode"].pop("sample_temperature")}
    choice = {name: values["search"][name] for name in ("branches", "choose", "margin", "lookahead", "beam")}
    values["decode"].pop("max_prompt")  # which tasks, not how
    if params.decode.engine == "own":
        values["decode"].pop("engine")  # what was written before there was another
    drawn = {"draws": "by trajectory"} if params.decode.temperature else {}  # they were all one stream once
    marks = {"weights": found} if (found := fingerprint.weights(params)) else {}
    marks |= {"pool": "scored"} if scores_pool(params) else {}  # it was not once
    marks |= heat if sampled else {}
    return {name: values[name] for name in ("translator", "latent", "decode")} | {"search": choice} | drawn | marks


def made_by(params: Params) -> str:
    """Digest of the code that writes a translation: a changed method is run, not remembered."""
    chosen = methods.members(params, "proposal", "align", "policy")
    return source_digest(translate, prm_model.load, load_translator, engine.prefill, *chosen)


def scores_pool(params: Params) -> bool:
    """Whether all trajectories that the guided method ranks, and it ranks by nothing but the score, are those of the pool's programs."""
    s = params.search
    return s.choose == "trajectories" and s.samples >= s.branches and not s.margin and "guided" in arms.live(s.arms)


def is_read(row: Row, params: Params) -> bool:
    """Whether a PRM reads the row's latents; a program that none reads is the same whichever PRM the run has."""
    return not row.sampled and (row.policy == "guided" or scores_pool(params))


def translate(
    translator: Translator,
    models: Sequence,
    rows: Sequence[Row],
    params: Params,
    inside: Inside = unheard,
    **own: methods.Given,
) -> list[dict]:
    """One result row per program: its plan, code, PRM score and what it cost.  The mean score of `models`, PRMs or modules of
    one's own, decides; none are needed without guided rows.  own: `methods.using`, such as proposal=f.

    The pool's first two programs are the unguided and the random method's: such twins are written once.
    """
    params, models = methods.using(params, **own), [prm_model.as_prm(m) for m in models]
    once = list({row.program: row for row in rows}.values())
    written = dict(zip([r.program for r in once], _write(translator, models, once, params, inside), strict=True))
    weights = [prm_model.size(m) / translator.size for m in models]
    results = [_result(row, written[row.program], params, weights) for row in rows]
    if scores_pool(params):
        read = {(row.prompt, row.seed): written[row.program]["scores"] for row in rows if row.arm == "guided"}
        for row, result in zip(rows, results, strict=True):
            if row.arm == "pool" and (row.prompt, row.seed) in read and row.sample < params.search.branches:
                result["score"] = read[row.prompt, row.seed][row.sample]
    return results


@torch.inference_mode()
def _write(translator: Translator, models: Sequence, rows: Sequence[Row], params: Params, inside: Inside) -> list[dict]:
    order = list({r.prompt: r for r in rows}.values())
    where = {r.prompt: i for i, r in enumerate(order)}
    ids = [ask_row(translator, r) for r in order]
    index = [where[r.prompt] for r in rows]
    inside("read prompts", 0, len(ids), "prompts")
    state = engine.prefill(translator, ids)
    inside("latent steps", 0, 0, "", f"{thinking_rows(rows, params)} trajectories")
    trajectory, read, slot = think_rows(translator, models, rows, state, index, params)
    heat = [r.heat(params.decode) for r in rows]
    seeds = [r.decode_draw(s, params.search.choose) for r, s in zip(rows, slot, strict=True)]
    most = [token_limit(len(row), params) for row in ask(translator, [r.task for r in order])]  # of the task, not of a repair's prompt
    limits, tasks = [most[i] for i in index], [row.task for row in rows]
    answers = write_answers(translator, trajectory, [ids[i] for i in index], params, heat, seeds, inside, limits, tasks)
    for i, answer in enumerate(answers):
        answer["scores"], answer["slot"] = read[i], slot[i]
        answer["picks"] = " ".join(map(str, trajectory.picks[i].tolist()))
        answer["prefill_tokens"] = len(ids[index[i]])
    return answers


def think_rows(
    translator: Translator, models: Sequence, rows: Sequence[Row], prompts: engine.State, index: list[int], params: Params
) -> tuple:
    """(the trajectory of every row, a guided one's final scores by slot, which of its slots each row took).

    index: which of the prefilled prompts a row reads.
    """
    search = params.search
    spots = [(i, s) for i, r in enumerate(rows) for s in range(slots(r, search))]
    state = engine.select(prompts, torch.tensor([index[i] for i, _ in spots], device=translator.device))
    guided = [j for j, (i, _) in enumerate(spots) if rows[i].policy == "guided"]
    align, scorer = alignment.aligner(translator, params.latent), None
    if guided:
        scorer = start_scorer(models, len(guided), state.pooled[guided], align)
    choose, scores = find(policies.POLICIES, search.choose, "search.choose")([rows[i] for i, _ in spots], scorer, search, translator.device)
    trajectory = latent_steps.think(
        translator,
        state,
        align,
        params.latent,
        candidates=search.branches,
        choose=choose,
        row_seeds=[rows[i].slot_draw(s, search.choose) if rows[i].policy == "guided" else rows[i].draw for i, s in spots],
        lookahead=bool(search.lookahead and guided),
    )
    thinkers = sum(r.policy == "guided" for r in rows)
    final = scores[-1].view(thinkers, -1) if scores else torch.zeros(0, 1)  # a whole trajectory's score each, or the chosen path's
    best, read = iter(translator.agreed(policies.select(final, search.margin)).tolist()), iter(final.tolist())
    picks = [next(best) if r.policy == "guided" else 0 for r in rows]
    if len(spots) > len(rows):
        trajectory = latent_steps.take(trajectory, [j for j, (i, s) in enumerate(spots) if s == picks[i]])
    return trajectory, [next(read) if r.policy == "guided" else [] for r in rows], picks


def start_scorer(models: Sequence, rows: int, pooled: torch.Tensor, align: alignment.Align):
    """One scorer of all models; each reads the latents, and the prompt's mean state `pooled` (rows, D), as it was trained to."""
    scorers = [
        incremental_scoring.start(
            m, rows, pooled if m.config.context == "pooled" else None, read=alignment.reader(align, m.config.reads)
        )
        for m in models
    ]
    return scorers[0] if len(scorers) == 1 else incremental_scoring.Together(scorers)


def ask_row(translator: Translator, row: Row) -> list[int]:
    """Prompt token ids of a row: the task, and in a repair round the failed attempt and what is told of it."""
    task = row.task
    return prompts.prompt_tokens(translator.tokenizer, task.source, task.target, task.source_code, row.past, translator.prompt)


def translate_item(item: dict, shrink: int = 1) -> list[dict]:
    """`translate` on plain data, so that it can run in another process or container.

    A batch that does not fit the memory is cut in halves, here on one GPU, and in `shrink` parts after a process died of it.
    """
    params, rows = check(item["params"], {}, Path("item")), item["rows"]
    tables.enter_own(item.get("own", b""))
    leave_room(item["gpu_share"])
    vllm_decoder.refuse(params.decode.engine, item.get("gpus", 1))
    inside = item.get("inside", unheard)
    inside("load the translator", 0)
    translator = loaded_translator(params.translator, item.get("gpus", 1))
    use_idle_cores(translator.device)
    models = packed.unpack(item["prms"], translator.device)
    for model, given in zip(models, item["prms"], strict=True):
        if params.prm.compile and "module" not in given:  # a module of one's own stays as it is
            engine_states.fuse(model)

    def write(bundles: list[list[Row]]) -> list[dict]:
        return translate(translator, models, [row for bundle in bundles for row in bundle], params, inside)

    return [result for part in in_parts(write, bundled(rows), translator, shrink) for result in part]


def _result(row: Row, answer: dict, params: Params, weights: Sequence[float]) -> dict:
    """`cost` counts in tokens that the translator forwards; a call of a PRM is its weight of one: their parameters' ratio.

    All programs of the sampled pool have the same latents: the first one pays for them.
    """
    fed, calls = (0, 0) if row.sampled and row.sample else thinking_cost(row, params)
    spent = {"latent_steps": fed, "prm_calls": calls * len(weights), "decode_tokens": answer["tokens"]}
    who = {"task": row.task.id, "kernel": row.task.kernel.name, "family": row.task.kernel.family, "direction": row.task.direction}
    who |= {"seed": row.seed, "arm": row.arm, "sample": row.sample, "attempt": row.round}
    cost = answer["prefill_tokens"] + fed + answer["tokens"] + sum(weights) * calls
    score = answer["scores"][answer["slot"]] if answer["scores"] else float("nan")
    fields = {k: v for k, v in answer.items() if k not in ("tokens", "scores", "slot")}
    return who | spent | {"cost": cost} | fields | {"score": score, "suited": suits(answer["plan"], row.task.source_code)}
