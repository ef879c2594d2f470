"""The real code model's study as it ships, one row a program: its methods, and the comparisons that were registered before the test run.

Knows the parts of the study (docs/REAL_MODEL.md) and the columns of their file.  Holds no chooser and no statistic of its own, and
reads no program text.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from parallax_lib.analysis import comparisons, frontier, metrics
from parallax_lib.analysis.comparisons import FLOOR, GUIDED
from parallax_lib.core.config import resolve
from parallax_lib.core.errors import UserError
from parallax_lib.search import arms
from parallax_lib.search.choosers import CHECKS, READ
from parallax_lib.verdict.reasons import UNKNOWN

FILE = "methods.csv.gz"
PARTS = {
    "guided": "T3: guided by steps, random and unguided, three draws",
    "sampled": "T3: programs sampled at 0.8, and decoded again at 0.7",
    "random": "T3: a noisy thought by chance and unguided, three draws of an earlier run",
    "eight": "T3: eight programs sampled at 0.8 of a few tasks, an earlier run",
    "thoughts": "T3: eight whole thoughts with noise",
    "picks": "what reward models on latents take among the thoughts, three trainings",
    "k12": "T3 with 12 latent steps",
    "t0": "T0: the model as it is, asked with rules",
    "t1": "T1: T0 with training-free latents",
    "t2": "T2: LoRA without latents",
    "t4": "T4: pauses instead of plans",
    "t5": "T5: T3's plan written as tokens",
    "fifth": "T3 on tasks that joined the split later: unguided, and two sampled at 0.8",
    "rs": "T3 trained on its own validated programs too",
    "rollouts": "training side, T3: thoughts with noise",
    "heat": "training side, T3: programs sampled at 0.8",
}
THOUGHTS, PICKS, NOISE, HEAT = "thoughts", "picks", "rollouts", "heat"
MAIN = ("guided", "sampled", "random", THOUGHTS)  # parts that T3 wrote with six latent steps: a method is of the first of them that has it
WHOLE = "guided, whole thoughts"
AT_COST = f"sampled:best_of_n{arms.AT_COST}"
REPAIR = "+repair"  # after a method's name: the round
REGISTERED = {  # name -> a, b of the comparison a - b; the first is the primary one
    "guided by steps - unguided": (GUIDED, FLOOR),
    "guided by steps - redecode": (GUIDED, "redecode"),
    "guided by steps - first sampled program": (GUIDED, arms.OF_SAMPLED),
    "guided by steps - untrained_rule": (GUIDED, "untrained_rule"),
    "guided by steps - plan_prm": (GUIDED, "plan_prm"),
    "guided by steps - sampled:best_of_n@cost": (GUIDED, AT_COST),
    "guided pick among whole thoughts - unguided": (WHOLE, FLOOR),
    "guided_filter - first_survivor": ("guided_filter", "first_survivor"),
}
PUBLISHED = 0.092  # gain of the published study, which the registered success asks for
AHEAD = ("untrained_rule", "plan_prm", AT_COST)  # what guided has to be ahead of for it
WHO = ("part", "side", "arm", "seed", "sample", "task", "kernel", "suite", "family", "direction", "program")
SPENT = ("prefill_tokens", "latent_steps", "prm_calls", "decode_tokens", "cost", "looked_at", *CHECKS)
COLUMNS = (*WHO, "level", "reason", "validated", "mean_logprob", "score", "suited", "agrees", "printed", *READ, *SPENT)
AGAINST = ("paired", "diff", "diff_low", "diff_high", "mde")
REACHED = ("arm", "tasks", "draws", "unjudged", "rate", "low", "high", *AGAINST)
PAID = ("arm", "looked_at", "decode_tokens", "cost", *CHECKS)
NEEDED = (*WHO, "level", "reason", "validated", "mean_logprob", *SPENT)


def read(folder: str | Path) -> pd.DataFrame:
    """The judged programs of every part that ships in the folder, columns of `COLUMNS`.  UserError where the file is not or lacks one."""
    path = resolve(folder) / FILE
    if not path.exists():
        raise UserError(f"{path}: no such file; make it with python scripts/real_methods.py --make")
    rows = pd.read_csv(path)
    if missing := [name for name in NEEDED if name not in rows]:
        raise UserError(f"{path}: no column {missing[0]!r}; make it again with python scripts/real_methods.py --make")
    return rows


def parts(programs: pd.DataFrame) -> pd.DataFrame:
    """Every part that the study has, and any other one: how many programs and tasks of it are there, and what it is.

    same: share of tasks whose unguided program, of the first draw, is that of the thoughts; small where another translator wrote.
    agree: share of these programs with the same outcome; below 1 where another version of the harness, or another machine, judged.
    """
    found = programs.groupby("part").agg(programs=("task", "size"), tasks=("task", "nunique"))
    plain = programs[programs["arm"] == FLOOR].drop_duplicates(["part", "task"])
    thoughts = plain.loc[plain["part"] == THOUGHTS, ["task", "program", "validated"]]
    both = plain.merge(thoughts, on="task", suffixes=("", "_thought"))
    same = both["program"].fillna("") == both["program_thought"].fillna("")
    agree = (both["validated"] == both["validated_thought"])[same]
    names = [*PARTS, *found.index.difference(list(PARTS))]
    shares = {"same": same.groupby(both["part"]).mean(), "agree": agree.groupby(both["part"]).mean()}
    return found.reindex(names, fill_value=0).assign(**shares, what=[PARTS.get(name, "") for name in names]).reset_index()


def methods(programs: pd.DataFrame) -> pd.DataFrame:
    """A row for each method, task and draw of the test side: the program that it takes and what that has cost.

    T3's methods keep their names.  Other parts go by theirs, `t0` for the unguided program; what reward models take among
    whole thoughts is `WHOLE`.  A program that nobody could judge is `unjudged`, and counts as not validated.  seen: whether the task
    is one of those that the first run wrote and that were looked at.
    """
    test = programs[programs["side"] == "test"]
    main, picks = _main(test), test[test["part"] == PICKS]
    others = [_named(part, rows) for part, rows in test.groupby("part", sort=False) if part not in (*MAIN, PICKS)]
    rows = pd.concat([_derived(main), *others, picks.replace({"arm": {GUIDED: WHOLE}})], ignore_index=True)
    rows = rows[~rows["arm"].str.contains(arms.AT_COST) | rows["arm"].eq(AT_COST)].reset_index(drop=True)
    seen = rows["task"].isin(test.loc[test["part"] == THOUGHTS, "task"]).map({True: "looked at before", False: "new"})
    unjudged = rows["reason"].isin(UNKNOWN)
    reason = rows["reason"].mask(unjudged, "unjudged")
    return rows.assign(seen=seen, unjudged=unjudged, reason=reason, validated=rows["validated"].eq(True))


def _main(test: pd.DataFrame) -> pd.DataFrame:
    """The programs of `MAIN`, each method and pool from the first part that has it."""
    kept = []
    for part in MAIN:
        known = {arm for rows in kept for arm in rows["arm"]}
        kept.append(test[(test["part"] == part) & ~test["arm"].isin(known)])
    return pd.concat(kept, ignore_index=True)


def _derived(rows: pd.DataFrame) -> pd.DataFrame:
    """The live methods that the rows have, those that choose from the pools that they have, and what repair rounds made of them."""
    have, repaired = set(rows["arm"]), rows["arm"].str.contains(REPAIR, regex=False)
    names = [name for name, arm in arms.ARMS.items() if (name if isinstance(arm, arms.Live) else arms.pool_of(name)) in have]
    if not names:
        return rows
    most, found = rows.groupby("arm")["sample"].max(), arms.derive(rows[~repaired], names)
    kept = {*arms.live(), arms.OF_SAMPLED, AT_COST}  # the others choose, and of one program a task there is nothing to choose
    idle = [name for name in found["arm"].unique() if name not in kept and most.get(arms.pool_of(name)) == 0]
    return pd.concat([found[~found["arm"].isin(idle)], rows[repaired]], ignore_index=True)


def _named(part: str, rows: pd.DataFrame) -> pd.DataFrame:
    found = _derived(rows)
    return found.assign(arm=[part if arm == FLOOR else f"{part}:{arm}" for arm in found["arm"]])


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Of `methods`, a row each, columns of `REACHED` and `PAID`.

    The interval of rate is `metrics.clustered`'s (Wilson's, draws of a task as one cluster), what was spent is the mean of a task,
    and diff is minus T3 unguided on the `paired` tasks of both, whole clusters resampled.
    """
    counted = rows.groupby("arm", sort=False).agg(tasks=("task", "nunique"), draws=("seed", "nunique"), unjudged=("unjudged", "sum"))
    found = counted.join(metrics.arm_table(rows.assign(repair=0)).set_index("arm").drop(columns="unjudged"))
    others = [arm for arm in found.index if arm != FLOOR] if FLOOR in found.index else []
    if others:
        against = comparisons.planned(rows, [(arm, FLOOR) for arm in others]).assign(arm=others).set_index("arm")
        found = found.join(against.rename(columns={"tasks": "paired", "low": "diff_low", "high": "diff_high"})[list(AGAINST)])
    return found.reset_index().reindex(columns=[*REACHED, *PAID[1:]])


def shares(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Validated share of every method within each direction, suite or whatever column `by` is, tasks counting alike."""
    return rows.pivot_table("validated", "arm", by, aggfunc="mean", sort=False).astype(float).reset_index().rename_axis(columns=None)


def planned(rows: pd.DataFrame) -> pd.DataFrame:
    """The comparisons of `REGISTERED`, as `comparisons.planned` has them; Holm's correction is over those that were run, the primary
    one among them.  One that lacks a method has no numbers, and its verdict is "not run".
    """
    known = set(rows["arm"])
    run = {name: pair for name, pair in REGISTERED.items() if known.issuperset(pair)}
    found = comparisons.planned(rows, list(run.values())).assign(comparison=list(run)) if run else pd.DataFrame(columns=["comparison"])
    found = found.set_index("comparison").reindex(list(REGISTERED))
    told = found["verdict"].str.split(";").str[0].fillna("not run") if run else "not run"
    return found.assign(verdict=told).reset_index()


def success(compared: pd.DataFrame) -> str:
    """What was registered as success, in a sentence: of `planned`."""
    rows = compared.set_index("comparison")
    primary = rows.loc[next(iter(REGISTERED))]
    beaten = [name for name, (a, b) in REGISTERED.items() if a == GUIDED and b in AHEAD]
    behind = [name for name in beaten if rows.loc[name, "verdict"] == "not run" or rows.loc[name, "diff"] <= 0]
    asked = "+9.2 points with the interval above 0, and ahead of the untrained rule, the text PRM and sampled best-of-N at its cost"
    if primary["verdict"] == "not run":
        return f"Success ({asked}): not known, the primary comparison was not run."
    reached = primary["diff"] >= PUBLISHED and primary["low"] > 0
    shown = f"{100 * primary['diff']:+.1f} points [{100 * primary['low']:+.1f}, {100 * primary['high']:+.1f}]"
    missed = f"; not ahead, or not run: {', '.join(behind)}" if behind else ""
    return f"Success ({asked}): {'reached' if reached and not behind else 'not reached'}. {shown}{missed}."


def costs(programs: pd.DataFrame) -> pd.DataFrame:
    """`frontier.table` of all methods, with every number of programs that those which choose from T3's pools may have written.

    Over the tasks that all of `MAIN` have, parts with fewer than half of the most tasks left out: they were cut short.
    """
    test = programs[programs["side"] == "test"]
    known = {part: set(rows["task"]) for part, rows in test.groupby("part")}
    most = max(map(len, known.values()))
    short = {part for part, tasks in known.items() if 2 * len(tasks) < most}
    main = _main(test[~test["part"].isin(short)])
    tasks = set.intersection(*(known[part] for part in main["part"].unique()))
    pools = [main[(main["arm"] == name) & main["task"].isin(tasks)] for name in (arms.POOL, arms.SAMPLED)]
    pools = [pool for pool in pools if (pool["sample"] > 0).any()]  # of one program a task there is nothing to choose
    rows = methods(programs[~programs["part"].isin(short)])
    return frontier.table(frontier.rows(rows[rows["task"].isin(tasks)], *pools))


def headroom(programs: pd.DataFrame) -> pd.DataFrame:
    """`comparisons.planned` of the training tasks that have both kinds of draws: the best of eight programs of noised latents and of
    eight sampled ones, each minus the unperturbed program and one minus the other.  Without one of the parts it is empty.
    """
    train = programs[(programs["side"] == "train") & programs["sample"].le(8)].assign(seed=0)
    best, plain = train[train["sample"] > 0], train[(train["sample"] == 0) & (train["part"] == NOISE)]
    named = {NOISE: "best of eight thoughts", HEAT: "best of eight sampled"}
    found = best.groupby(["part", "task", "family"], as_index=False)["validated"].max()
    rows = pd.concat([plain.assign(arm=FLOOR), found.assign(arm=found["part"].map(named))], ignore_index=True)
    known = set(found.loc[found["part"] == NOISE, "task"]) & set(found.loc[found["part"] == HEAT, "task"])
    pairs = [(named[NOISE], FLOOR), (named[HEAT], FLOOR), (named[NOISE], named[HEAT])]
    return comparisons.planned(rows[rows["task"].isin(known)], pairs, unjudged_fail=True) if known else pd.DataFrame()
