"""Who chooses among a task's programs, and what the choice costs: one table of choosers for methods, stage 03 and filters.

Knows how programs look: a table of their verdicts, likelihoods, scores and tokens.  Knows no model, no run and no file.

A chooser is a function of that table, `looks`, and says how it goes about it (`Choice`); `choose` does the rest.  Looks has a
row a program, its index 0..n-1, and the columns

    group         one for each task, seed and root: a chooser takes one program of every group
    place         order in which the programs were drawn; 0 is the unperturbed one
    chance        true for the program of each group that a random pick takes
    level, reason, validated, mean_logprob, score, suited     NaN where a program has none
    agrees, printed               of its runs on inputs made for its task: 1 where it prints what the source program prints, 0 where
                                  not, NaN where nobody knows; a digest of what it prints.  A table without them has no such runs
    latent_steps, prm_calls, think_cost, score_cost           of its trajectory; costs in tokens of the translator
    decode_tokens, prompt                                     of its answer, and of the prompt, which a group pays once
    score_plan, score_program                                 optional: by PRMs that read text, NaN where one has read nothing
    cost_plan, cost_program                                   optional: of that reading, in tokens of the translator
    prior                                                     of its plan (`search.plan_prior`); a table may lack it

**Ties have one rule**: of programs that look alike to a chooser the one that it has written first is taken, and of trajectories that
look alike the one that was drawn first is written first.

n programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import pandas as pd

from parallax_lib.core.errors import UserError, nearest
from parallax_lib.verdict.reasons import BY_ITS_RUNS, UNKNOWN

CHECKS = {"compiles": 1, "validator_runs": 2}  # level from which a check is made: there is a program; it compiles
THINKING = ("latent_steps", "think_cost")
SCORING = ("prm_calls", "score_cost")
READ = ("score_plan", "score_program", "cost_plan", "cost_program")  # columns that `score-text` adds


class Choice(NamedTuple):
    """How a chooser goes about it; every series is [n], by program.

    before: what happens to all trajectories before a program is written; otherwise a trajectory is made when its program is.
    first: trajectories with the highest value are written first, those without one never; None: as drawn.
    most: so many programs are written at most, for each group.
    until: none is written after one of these.
    better: of what was written the highest is taken, by the first series, then by the next.
    checks: of `CHECKS`, what is done to every program that is written, and counted.
    reading: what a PRM's reading costs, of each trajectory that is made before, else of each program that is written.
    vote: a label of each program, NaN for none: of what was written, those of the most frequent label come before the `better` ones.
    made: every written program that survives is run once more, on inputs made for its task: "vote"; "source": the source program too,
    which is one more compile and one more run for each group.
    """

    before: Literal["", "trajectories", "scores"] = ""
    first: pd.Series | None = None
    most: int | None = None
    until: pd.Series | None = None
    better: Sequence[pd.Series] = ()
    checks: tuple[str, ...] = ()
    reading: pd.Series | None = None
    vote: pd.Series | None = None
    made: Literal["", "vote", "source"] = ""


Chooser = Callable[[pd.DataFrame], Choice]


# how a program looks


def compiles(looks: pd.DataFrame) -> pd.Series:
    return looks["level"] >= 2


def survives(looks: pd.DataFrame) -> pd.Series:
    """Which programs nothing speaks against but the reference: they compile, end in order, and their runs agree.

    Taken from full verdicts, which stop at the first input that comes out wrong: what later inputs would have shown of a
    wrong program is not known, and it passes here.
    """
    return (looks["level"] >= 3) & ~looks["reason"].isin(BY_ITS_RUNS)


def agrees(looks: pd.DataFrame) -> pd.Series:
    """Which programs print what their task's source program prints, on inputs made for it."""
    return survives(looks) & (_made(looks, "agrees") == 1)


def known_made(looks: pd.DataFrame, value: pd.Series | float = 0.0) -> pd.Series:
    """`value` where the table tells of runs on made inputs, else NaN: choosers that need them find nothing to choose from."""
    measured = _made(looks, "agrees").notna().any() or _made(looks, "printed").notna().any()
    return pd.Series(value if measured else float("nan"), index=looks.index)


def _made(looks: pd.DataFrame, name: str) -> pd.Series:
    return looks[name] if name in looks else pd.Series(float("nan"), index=looks.index)


def known_best(looks: pd.DataFrame) -> pd.Series:
    """How good each program is known to be: 2 validated, 1 not judged, 0 known to be wrong.

    Where none is validated and one was not judged, nobody knows whether there is a right program: the oracle is not judged.
    """
    return 2 * looks["validated"].astype(int) + looks["reason"].isin(UNKNOWN)


# choosers that have one program written


def unguided(looks: pd.DataFrame) -> Choice:
    """The unperturbed program."""
    return Choice(most=1)


def random(looks: pd.DataFrame) -> Choice:
    """Any of them."""
    return Choice(first=looks["chance"].astype(int), most=1)


def guided(looks: pd.DataFrame) -> Choice:
    """The trajectory that the PRM scores highest."""
    return Choice("scores", looks["score"], most=1)


def untrained_rule(looks: pd.DataFrame) -> Choice:
    """The trajectory whose decoded tokens suit most of the source's functions (`search.untrained_rule`)."""
    return Choice("trajectories", looks["suited"], most=1)


# choosers that have several written


def best_of_n(looks: pd.DataFrame) -> Choice:
    """The program with the highest mean log-probability."""
    return Choice(better=[looks["mean_logprob"]])


def prior_corrected(looks: pd.DataFrame) -> Choice:
    """The program whose mean log-probability is highest above that of other tasks' programs with its plan (`search.plan_prior`)."""
    gain = looks["mean_logprob"] - looks["prior"] if "prior" in looks else pd.Series(float("nan"), index=looks.index)
    return Choice(first=gain.where(gain.isna(), 0.0), better=[gain])


def compile_filter(looks: pd.DataFrame) -> Choice:
    """The likeliest that compiles, or where none does the likeliest."""
    return Choice(better=[compiles(looks), looks["mean_logprob"]], checks=("compiles",))


def execution_filter(looks: pd.DataFrame) -> Choice:
    """All are written and run; the likeliest that survives, or where none does the likeliest."""
    return Choice(better=[survives(looks), looks["mean_logprob"]], checks=tuple(CHECKS))


def first_survivor(looks: pd.DataFrame) -> Choice:
    """Programs are written as drawn, each is run, and the first that survives ends it; the unperturbed one where none does."""
    return Choice(until=survives(looks), better=[survives(looks)], checks=tuple(CHECKS))


def guided_filter(looks: pd.DataFrame) -> Choice:
    """`first_survivor` in the order of the PRM's scores; the best-scored where none survives."""
    return first_survivor(looks)._replace(before="scores", first=looks["score"])


def majority(looks: pd.DataFrame) -> Choice:
    """All are written and run; the likeliest of the largest group of survivors that print the same on inputs made for the task."""
    label = _made(looks, "printed").where(survives(looks))
    return Choice(first=known_made(looks), better=[survives(looks), looks["mean_logprob"]], checks=tuple(CHECKS), vote=label, made="vote")


def agreement_filter(looks: pd.DataFrame) -> Choice:
    """All are written and run; the likeliest that prints what the source program prints, or where none does that survives."""
    better = [agrees(looks), survives(looks), looks["mean_logprob"]]
    return Choice(first=known_made(looks), better=better, checks=tuple(CHECKS), made="source")


def first_agreeing(looks: pd.DataFrame) -> Choice:
    """Programs are written as drawn, and the first that prints what the source program prints ends it; else the first survivor."""
    better = [agrees(looks), survives(looks)]
    return Choice(first=known_made(looks), until=agrees(looks), better=better, checks=tuple(CHECKS), made="source")


def guided_agreeing(looks: pd.DataFrame) -> Choice:
    """`first_agreeing` in the order of the PRM's scores."""
    return first_agreeing(looks)._replace(before="scores", first=known_made(looks, looks["score"]))


def oracle(looks: pd.DataFrame) -> Choice:
    """A validated program if there is one, else one that nobody could judge; the likeliest of these.  It is the ceiling."""
    return Choice(better=[known_best(looks), looks["mean_logprob"]], checks=tuple(CHECKS))


# choosers by PRMs that read text


def plan_prm(looks: pd.DataFrame) -> Choice:
    """The trajectory whose decoded tokens a PRM that reads them scores highest."""
    return Choice("trajectories", optional(looks, "score_plan"), most=1, reading=optional(looks, "cost_plan"))


def program_prm(looks: pd.DataFrame) -> Choice:
    """All are written and none is run; the program that a PRM which reads it scores highest."""
    score = optional(looks, "score_program")
    known = score.groupby(looks["group"]).transform("count") > 0
    return Choice(first=known.map({True: 0.0, False: float("nan")}), better=[score], reading=optional(looks, "cost_program"))


def optional(looks: pd.DataFrame, column: str) -> pd.Series:
    """[n] an optional column; NaN without it."""
    return looks[column] if column in looks else pd.Series(float("nan"), index=looks.index)


ONE = (unguided, random, guided, untrained_rule, plan_prm)
BY_MADE = (majority, agreement_filter, first_agreeing, guided_agreeing)  # they need runs on made inputs: `validation.agree`
SEVERAL = (best_of_n, prior_corrected, compile_filter, execution_filter, first_survivor, guided_filter, *BY_MADE, oracle, program_prm)
CHOOSERS: dict[str, Chooser] = {chooser.__name__: chooser for chooser in (*ONE, *SEVERAL)}
FILTERS = ("execution_filter", "first_survivor", "guided_filter")  # they run what they have written, and see no reference


def named(choosers: Iterable[str | Chooser], known: Mapping[str, Chooser] = CHOOSERS) -> dict[str, Chooser]:
    """Choosers by name: a name of `known`, or a function of one's own, which goes by its own name.  UserError for an unknown name."""
    found = {}
    for each in choosers:
        if isinstance(each, str) and each not in known:
            raise UserError(f"{each!r} is no chooser{nearest(each, known)}")
        found[each if isinstance(each, str) else each.__name__] = known[each] if isinstance(each, str) else each
    return found


def choose(looks: pd.DataFrame, chooser: Chooser, most: int | None = None) -> pd.DataFrame:
    """A row a group, under the index of the row of `looks` that is taken: `group` and what the choice has cost.

    Costs: looked_at (programs written), latent_steps, prm_calls, decode_tokens, compiles, validator_runs, and `cost`, the tokens
    forwarded for all of it.  most: at most so many programs.  A group none of whose trajectories can be written has no row.
    """
    how = chooser(looks)
    first = 0 if how.first is None else how.first
    rows = looks.assign(_reading=0.0 if how.reading is None else how.reading.fillna(0))
    rows = rows.assign(_first=first, _stop=False if how.until is None else how.until, **{f"_{i}": v for i, v in enumerate(how.better)})
    rows = rows.assign(_again=survives(looks) & bool(how.made), _vote=float("nan") if how.vote is None else how.vote)
    rows = rows.dropna(subset="_first").sort_values(["group", "_first", "place"], ascending=[True, False, True])
    written = rows[_written(rows, how.most, most)]
    worth = ["_votes", *(f"_{i}" for i in range(len(how.better)))]
    votes = written.groupby(["group", "_vote"])["place"].transform("size").fillna(0)
    best = written.assign(_turn=range(len(written)), _votes=votes).sort_values(
        ["group", *worth, "_turn"], ascending=[True, *[False] * len(worth), True], na_position="last"
    )
    taken = best.drop_duplicates("group")[["group"]]
    return taken.join(_spent(rows if how.before else written, written, how), on="group")


def _written(rows: pd.DataFrame, *limits: int | None) -> pd.Series:
    """Which rows, in the order of their turns, are written before a limit or a stop."""
    groups = rows.groupby("group")
    stopped = groups["_stop"].cumsum() - rows["_stop"]  # by a program before this one
    least = min((limit for limit in limits if limit is not None), default=len(rows))
    return (stopped == 0) & (groups.cumcount() < least)


def _spent(trajectory: pd.DataFrame, written: pd.DataFrame, how: Choice) -> pd.DataFrame:
    """Costs of each group: of the trajectories that were made (and scored), and of the programs that were written."""
    scored = 1 if how.before == "scores" else 0
    thinking = trajectory.assign(**{name: scored * trajectory[name] for name in SCORING})
    thinking = thinking.groupby("group")[[*THINKING, *SCORING, "_reading"]].sum()
    done = {name: (written["level"] >= least) & (name in how.checks) for name, least in CHECKS.items()}
    groups = written.assign(**done).groupby("group")
    spent = groups[["decode_tokens", *CHECKS]].sum()
    spent["validator_runs"] += groups["_again"].sum()
    spent[list(CHECKS)] += int(how.made == "source")
    cost = groups["prompt"].first() + thinking["think_cost"] + thinking["score_cost"] + thinking["_reading"] + spent["decode_tokens"]
    return thinking[["latent_steps", "prm_calls"]].join(spent).assign(cost=cost, looked_at=groups.size())


def by_count(looks: pd.DataFrame, choosers: Mapping[str, Chooser], least: int = 1) -> pd.DataFrame:
    """`choose` with at most N programs, for every N from `least` to the group's size: with columns `arm` and `N`.

    Choosers that have one program written whatever N is are left out, and so are those that find nothing to choose from.
    """
    size, chosen = looks.groupby("group").size(), []
    for name, chooser in choosers.items():
        for n in range(least, size.max() + 1) if len(size) and chooser(looks).most != 1 else ():
            found = choose(looks, chooser, n)
            chosen.append(found[found["group"].map(size) >= n].assign(arm=name, N=n))
    return pd.concat(chosen) if chosen else pd.DataFrame(columns=["group", "arm", "N"])
