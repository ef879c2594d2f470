"""From judged programs to arms: who chooses among a pool, what a failed attempt is told, what every choice has cost.

Knows the columns of verdicts and costs.  Knows no model and writes no program.

`cost` is what an arm forwards to arrive at its program, in tokens of the translator; runs of the validator and compiles
have columns of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from parallax_lib.verdict.reasons import BY_ITS_RUNS, REASONS, UNKNOWN

ENDED = ("crash", "timeout", "memory_limit", "process_limit", "output_limit", "incomplete", "cuda_error")
TOLD = ("compile_error", "compile_limit", *ENDED, "race")
PER_PROGRAM = ("latent_steps", "prm_calls", "decode_tokens")  # a pool pays these for each program, its prompt once
SPENT = ("prefill_tokens", *PER_PROGRAM, "cost")
POOL_ARMS = ("best_of_n", "compile_filter", "run_filter", "guided_filter", "oracle")  # choose among the pool's `search.samples` programs
RANKED = "guided_filter"  # takes the pool's programs in the order of the PRM's scores
AT_COST = "@cost"  # marks an arm held to the guided arm's mean cost
CHECKS = ("compiles", "validator_runs")


def derive(results: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """The validated rows plus the arms that choose from the pool; each carries the cost of all that it looked at.

    best_of_n: highest mean log-probability.  compile_filter: the same among programs that compile.  run_filter: the same
    among programs that `runs_alone`.  guided_filter: among those the one whose thought the PRM scores highest; there is
    none where the guided arm did not score the pool's thoughts (`search.scores_pool`).  oracle: a validated program if the
    pool holds one, told by the reference's output on the hidden inputs, else one that nobody could judge; it is the
    ceiling.  `best_of_n@cost` and so on: the same among the first programs of the pool, as many as the guided arm's mean
    cost pays for.  `looked_at`: how many.
    """
    results = results.assign(repair=0, compiles=0, validator_runs=0, looked_at=1)
    live = results[results["arm"] != "pool"]
    parts = [live[live["arm"].isin(arms)]]
    pool, affordable = results[results["arm"] == "pool"], equal_cost(results)
    for arm in (arm for arm in POOL_ARMS if arm in arms):
        parts.append(_taken(queue(pool, arm, results), arm))
    for arm in (arm for arm in POOL_ARMS if arm in arms and arm != RANKED and affordable):
        parts.append(_taken(pool[pool["sample"] < affordable].assign(turn=0), arm, AT_COST))
    return pd.concat([parts[0], *(part for part in parts[1:] if len(part))], ignore_index=True)


def runs_alone(rows: pd.DataFrame) -> pd.Series:
    """Which programs nothing speaks against but the reference: they compile, end in order, and their runs agree.

    Taken from full verdicts, which stop at the first input that comes out wrong: what later inputs would have shown of a
    wrong program is not known, and it passes here.
    """
    return (rows["level"] >= 3) & ~rows["reason"].isin(BY_ITS_RUNS)


def known_best(rows: pd.DataFrame) -> pd.Series:
    """How good each program is known to be: 2 validated, 1 not judged, 0 known to be wrong.

    Where none is validated and one was not judged, nobody knows whether the pool holds a right program: its oracle is not judged.
    """
    return 2 * rows["validated"].astype(int) + rows["reason"].isin(UNKNOWN)


def drawn(pool: pd.DataFrame) -> pd.DataFrame:
    """The pool without its first program, which is the unperturbed one under every seed."""
    return pool[pool["sample"] > 0]


def equal_cost(results: pd.DataFrame) -> int:
    """Most programs of a pool whose mean cost is within the guided arm's, at least 1; 0 without guided rows or pool."""
    guided, pool = (results[results["arm"] == arm] for arm in ("guided", "pool"))
    if guided.empty or pool.empty:
        return 0
    costs = [pool_cost(pool[pool["sample"] <= i]) for i in sorted(pool["sample"].unique())]
    return max(1, sum(cost <= guided["cost"].mean() for cost in costs))


def pool_cost(pool: pd.DataFrame) -> float:
    """Mean cost of one task and seed when all these programs are written: the prompt is read once."""
    tasks = pool.assign(rest=pool["cost"] - pool["prefill_tokens"]).groupby(["seed", "task"])
    return float((tasks["prefill_tokens"].first() + tasks["rest"].sum()).mean())


STANDING = {  # how good a program looks to a chooser, and which checks it makes of all; the likeliest of the best is taken
    "best_of_n": (lambda rows: rows["level"] >= 0, ()),
    "compile_filter": (lambda rows: rows["level"] >= 2, ("compiles",)),
    "run_filter": (runs_alone, CHECKS),
    "guided_filter": (runs_alone, CHECKS),  # the best-scored instead
    "oracle": (known_best, CHECKS),
}


def queue(pool: pd.DataFrame, arm: str, results: pd.DataFrame) -> pd.DataFrame:
    """The pool's rows with their `turn`, 0 for the program of a task and seed that the arm has written first.

    guided_filter has the best-scored written first, and pays for all of the guided arm's thinking then; programs without a
    score are left out.  All others take the pool as it was drawn.
    """
    if arm != RANKED:
        return pool.assign(turn=pool["sample"])
    keys, thinking = ["seed", "task"], ["latent_steps", "prm_calls", "cost"]
    guided = results[results["arm"] == "guided"]
    guided = guided.assign(cost=guided["cost"] - guided["prefill_tokens"] - guided["decode_tokens"])
    rows = pool.dropna(subset="score").sort_values(["score", "sample"], ascending=[False, True])
    paid = rows[keys].merge(guided[keys + thinking], on=keys, how="left").set_axis(rows.index)
    turn = rows.groupby(keys).cumcount()
    rows = rows.assign(turn=turn, **{name: paid[name].where(turn == 0, 0) for name in thinking})
    return rows.assign(cost=rows["cost"] + rows["prefill_tokens"] + rows["decode_tokens"])[paid["cost"].notna()]


def choose(queued: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The row that an arm takes of the `queue`, for each seed and task."""
    by = "score" if arm == RANKED else "mean_logprob"
    ranked = queued.assign(standing=STANDING[arm][0](queued)).sort_values(["standing", by, "sample"], ascending=[False, False, True])
    return ranked.drop_duplicates(["seed", "task"]).drop(columns=["standing", "turn"])


def _taken(queued: pd.DataFrame, arm: str, suffix: str = "") -> pd.DataFrame:
    """`choose`, under the arm's name and with the cost of all that it looked at."""
    facts = queued.assign(
        rest=queued["cost"] - queued["prefill_tokens"], compiles=queued["level"] >= 1, validator_runs=queued["level"] >= 2
    )
    tasks = facts.groupby(["seed", "task"])
    spent = tasks[[*PER_PROGRAM, *STANDING[arm][1]]].sum()
    spent = spent.assign(cost=tasks["prefill_tokens"].first() + tasks["rest"].sum(), looked_at=tasks.size())
    return choose(queued, arm).assign(arm=arm + suffix).drop(columns=list(spent)).join(spent, on=["seed", "task"])


def by_count(pool: pd.DataFrame, results: pd.DataFrame, least: int = 1) -> pd.DataFrame:
    """What each chooser takes among the first N programs of its `queue`, for every N from `least`: its rows with `looked_at` N.

    results: rows of the guided arm of the same tasks.  `cost` is that of a task with N programs, the mean over tasks.
    """
    made = []
    for arm in POOL_ARMS:
        queued = queue(pool, arm, results)
        for n in range(least, int(queued["turn"].max()) + 2) if len(queued) else ():
            first = queued[queued["turn"] < n]
            made.append(choose(first, arm).assign(arm=arm, looked_at=n, cost=pool_cost(first)))
    return pd.concat(made, ignore_index=True) if made else pool.iloc[:0]


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
    """Where every arm stands after repair round `number`: a new attempt where the last one failed, all else as it was.

    `attempts` are judged new programs of rows of `before[failing(before)]`, under the same index; each row carries what its
    arm has spent so far.  The round begins with a check of every program that is new and was not checked before: one
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
