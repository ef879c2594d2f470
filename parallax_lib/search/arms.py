"""The methods: which are written live, which choose among a pool of programs; what a failed attempt is told.

Knows the columns of verdicts and costs.  Knows no model and writes no program; how a chooser chooses stands in `choosers`.

`cost` is what a method forwards to arrive at its program, in tokens of the translator; runs of the validator and compiles
have columns of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params
from parallax_lib.search import choosers as table
from parallax_lib.search.choosers import CHECKS, CHOOSERS, READ, Chooser, by_count, choose, named
from parallax_lib.verdict.reasons import REASONS, UNKNOWN

ENDED = ("crash", "timeout", "memory_limit", "process_limit", "output_limit", "incomplete", "cuda_error")
TOLD = ("compile_error", "compile_limit", *ENDED, "race")
SPENT = ("prefill_tokens", "latent_steps", "prm_calls", "decode_tokens", "cost")
AT_COST = "@cost"  # marks a method held to the guided method's mean cost
POOL, SAMPLED = "pool", "sampled_pool"  # programs of latents under noise; of unperturbed ones, decoded by sampling
OF_SAMPLED = "sampled"  # a method of this name, or with it before a colon, chooses from the sampled pool
Policy = Literal["original", "random", "guided"]


@dataclass(frozen=True)
class Live:
    """A method that has one program of its own written for each task and seed.

    policy: how its latents are chosen.  sample: the program of the pool whose random draws it takes.  redecode: it is decoded at
    `decode.redecode_temperature`, with draws of its own.
    """

    policy: Policy
    sample: int = 0
    redecode: bool = False


LIVE = {
    "unguided": Live("original"),
    "random": Live("random", sample=1),
    "guided": Live("guided"),
    "redecode": Live("original", redecode=True),
}
# Every method by name, in the order of tables and figures.  A function among them chooses from the pool of `search.samples` programs,
# or by its name from that of `search.sampled`.
ARMS: dict[str, Live | Chooser] = LIVE | {name: chooser for name, chooser in CHOOSERS.items() if name not in LIVE}
OF_LATENTS = (table.guided_filter, table.guided_agreeing, table.prior_corrected)  # a task's sampled programs have one trajectory
ARMS[OF_SAMPLED] = table.unguided  # the first sampled program
ARMS |= {f"{OF_SAMPLED}:{each.__name__}": each for each in table.SEVERAL if each not in OF_LATENTS}
RANKED = "guided_filter"
BY_SCORE = (RANKED, "guided_agreeing")  # they need the scores of the pool's trajectories, and the PRM guides their repair rounds


def of_pool(arms: Iterable[str | Chooser] = (), which: str = POOL) -> dict[str, Chooser]:
    """Those of the methods (none named: of all) that choose from a pool, by name and in the order of `ARMS`; own functions last.

    which: POOL, from which functions of one's own choose too, or SAMPLED.
    """
    pool = {name: arm for name, arm in ARMS.items() if not isinstance(arm, Live) and pool_of(name) == which}
    asked = list(arms) or list(pool)
    own = [each for each in asked if callable(each) and which == POOL]
    return named([*(name for name in pool if name in asked), *own], pool)


def pool_of(arm: str) -> str:
    """The pool that a method of this name chooses from."""
    return SAMPLED if arm.split(AT_COST)[0].split(":")[0] == OF_SAMPLED else POOL


def live(arms: Iterable[str] = ()) -> list[str]:
    """Those of the methods (none named: of all) that have an own program written, in the order of `ARMS`."""
    asked = list(arms) or list(ARMS)
    return [name for name, arm in ARMS.items() if isinstance(arm, Live) and name in asked]


def check(params: Params) -> None:
    """UserError, in one line, if `search.arms` names one that cannot be made."""
    s = params.search
    ranked = next((name for name in BY_SCORE if name in s.arms), "")
    if ranked and (s.choose != "trajectories" or "guided" not in s.arms or s.samples < s.branches or s.margin):
        needed = "the arm guided, search.choose trajectories, search.samples of at least search.branches and no margin"
        raise UserError(f"search.arms: {ranked} needs {needed}; set them, or leave it out")
    sampled = next((name for name in s.arms if pool_of(name) == SAMPLED), "")
    if sampled and not s.sampled:
        raise UserError(f"search.arms: {sampled} needs search.sampled of at least 1; set it, or leave the arm out")
    agreeing = next((name for name in s.arms if ARMS.get(name) in table.BY_MADE), "")
    if agreeing and not params.validation.agree:
        raise UserError(f"search.arms: {agreeing} needs validation.agree: true; set it, or leave the arm out")


def derive(results: pd.DataFrame, arms: Iterable[str | Chooser] = ()) -> pd.DataFrame:
    """The validated rows plus the methods that choose from the pool; each carries the cost of all that it looked at.

    arms: names of `ARMS`, or functions like those of `choosers`; none: every method.  One that finds nothing to choose from (no
    scores of the pool's trajectories, no decoded latents) has no rows.  `best_of_n@cost` and so on: the same among the first
    programs of the pool, as many as the guided method's mean cost pays for.
    """
    arms = list(arms)
    results = results.assign(repair=0, compiles=0, validator_runs=0, looked_at=1)
    parts = [results[results["arm"].isin(live(arms))]]
    for which in (POOL, SAMPLED):
        pool, affordable = results[results["arm"] == which], equal_cost(results, which)
        looks, choosers = pool_looks(pool, results), of_pool(arms, which) if which == POOL or len(pool) else {}
        parts += [_taken(pool, looks, chooser, name) for name, chooser in choosers.items()]
        in_order = {name: chooser for name, chooser in choosers.items() if affordable and not chooser(looks).before and name != OF_SAMPLED}
        parts += [_taken(pool, looks, chooser, name + AT_COST, affordable) for name, chooser in in_order.items()]
    return pd.concat([parts[0], *(part for part in parts[1:] if len(part))], ignore_index=True)


def pool_looks(pool: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """How the pool's programs look, for `choosers`.  A scored trajectory's share of the PRM's cost is read off the guided method's row."""
    pool = pool.reset_index(drop=True)
    keys, absent = ["seed", "task"], pd.Series(float("nan"), index=pool.index)
    guided = results[results["arm"] == "guided"].drop_duplicates(keys)
    guided = guided.assign(scoring=guided["cost"] - guided["prefill_tokens"] - guided["decode_tokens"] - guided["latent_steps"])
    paid = pool[keys].merge(guided[[*keys, "prm_calls", "scoring"]], on=keys, how="left")
    score = pool.get("score", absent).where(paid["scoring"].notna())
    scored = score.groupby([pool[key] for key in keys]).transform("count")
    return pool[["level", "reason", "validated", "mean_logprob", "decode_tokens"]].assign(
        group=pool.groupby(keys).ngroup(),
        place=pool["sample"],
        chance=pool["sample"] == 1,
        score=score,
        suited=pool.get("suited", absent),
        agrees=pool.get("agrees", absent),
        printed=pool.get("printed", absent),
        prior=pool.get("prior", absent),
        prompt=pool["prefill_tokens"],
        latent_steps=pool.get("latent_steps", 0),
        think_cost=pool["cost"] - pool["prefill_tokens"] - pool["decode_tokens"],
        prm_calls=(paid["prm_calls"] / scored).where(score.notna(), 0).round().astype(int),
        score_cost=(paid["scoring"] / scored).where(score.notna(), 0),
        **{name: pool[name] for name in READ if name in pool},
    )


def _taken(pool: pd.DataFrame, looks: pd.DataFrame, chooser: Chooser, arm: str, most: int | None = None) -> pd.DataFrame:
    """The pool's rows that a chooser takes, under the method's name and with the cost of all that it looked at."""
    found = choose(looks, chooser, most).sort_index().drop(columns="group")
    rows = pool.reset_index(drop=True).loc[found.index]
    return rows.assign(arm=arm, **found)


def counted(pool: pd.DataFrame, results: pd.DataFrame, least: int = 1, arms: Iterable[str | Chooser] = ()) -> pd.DataFrame:
    """What each chooser takes if it may have N programs written, for every N from `least`: its rows, with N and what that has cost.

    results: rows of the guided method of the same tasks.
    """
    which = SAMPLED if len(pool) and (pool["arm"] == SAMPLED).all() else POOL
    found = by_count(pool_looks(pool, results), of_pool(arms, which), least)
    return pool.reset_index(drop=True).loc[found.index].assign(**found.drop(columns="group")).reset_index(drop=True)


def drawn(pool: pd.DataFrame) -> pd.DataFrame:
    """The pool without its first program, which is the unperturbed one under every seed."""
    return pool[pool["sample"] > 0]


def equal_cost(results: pd.DataFrame, which: str = POOL) -> int:
    """Most programs of a pool whose mean cost is within the guided method's, at least 1; 0 without guided rows or pool."""
    guided, pool = (results[results["arm"] == arm] for arm in ("guided", which))
    if guided.empty or pool.empty:
        return 0
    costs = [pool_cost(pool[pool["sample"] <= i]) for i in sorted(pool["sample"].unique())]
    return max(1, sum(cost <= guided["cost"].mean() for cost in costs))


def pool_cost(pool: pd.DataFrame) -> float:
    """Mean cost of one task and seed when all these programs are written: the prompt is read once."""
    tasks = pool.assign(rest=pool["cost"] - pool["prefill_tokens"]).groupby(["seed", "task"])
    return float((tasks["prefill_tokens"].first() + tasks["rest"].sum()).mean())


# repair rounds


def feedback(reason: str, log: str) -> str:
    """What an attempt is told of its failure: the compiler's or the run's own log, else only what kind of failure it was.

    The log of a comparison holds the reference's numbers: it is never passed on.
    """
    text = REASONS[reason]
    return f"{text}\n{log}" if reason in TOLD and log else text


def failing(rows: pd.DataFrame) -> pd.Series:
    """Which rows a repair round tries again: those whose verdict says that they failed."""
    return ~rows["validated"].astype(bool) & ~rows["reason"].isin(UNKNOWN)


def next_round(before: pd.DataFrame, attempts: pd.DataFrame, number: int) -> pd.DataFrame:
    """Where every method stands after repair round `number`: a new attempt where the last one failed, all else as it was.

    `attempts` are judged new programs of rows of `before[failing(before)]`, under the same index; each row carries what its
    method has spent so far.  The round begins with a check of every program that is new and was not checked before: one
    compile if the answer holds a program, and one run of the validator if that compiles.
    """
    tried = before.index.isin(attempts.index)
    assert failing(before)[tried].all() and tried.sum() == len(attempts), (int(tried.sum()), len(attempts))
    new = (before["attempt"] == number - 1) & ~before["reason"].isin(UNKNOWN)
    known = {name: (number == 1) & (before[name] > 0) for name in CHECKS}  # the pool's choosers have looked already
    looked = before.assign(
        compiles=before["compiles"] + (new & (before["level"] >= 1) & ~known["compiles"]),
        validator_runs=before["validator_runs"] + (new & (before["level"] >= 2) & ~known["validator_runs"]),
    )
    redone = attempts.loc[before.index[tried]]
    for name in SPENT:
        redone[name] = redone[name] + looked.loc[tried, name]
    redone[list(CHECKS)] = looked.loc[tried, list(CHECKS)]
    redone["looked_at"] = looked.loc[tried, "looked_at"] + 1
    return pd.concat([looked[~tried], redone]).loc[before.index].assign(repair=number)
