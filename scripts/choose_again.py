"""Works out again, without a model or a GPU, what choosers take in a folder of tables that ship, by today's choosers and names.

    python scripts/choose_again.py data/study

Methods that choose from the pool are derived from `pool` and the live methods in `results`; stage 03's choosers that need no PRM from the
collected rollouts (data/rollouts).  What a PRM chose, in `cross_validation` and `cross_validation_filtered`, is kept as it was measured; of
guided_filter's programs it is told how many were written before one survived, which follows from what it took at every N.
`pool` gets its decoded latents (`plan`) where a row of `results` holds the same program: the others were not kept when it was made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from study_page import SMALL, TEXTS

from parallax_lib.analysis import comparisons
from parallax_lib.core.storage import read_table, write_atomic
from parallax_lib.search import arms
from parallax_lib.search.choosers import survives
from parallax_lib.search.rollout_files import read_rollouts
from parallax_lib.study import cross_validation
from parallax_lib.tasks.synthetic import generator

PROGRAM = ["seed", "task", "sample"]  # of the pool
TEXT = ["plan", *(name for name in TEXTS if name != "source_code")]


def known_texts(results: pd.DataFrame, pool: pd.DataFrame) -> pd.DataFrame:
    """Texts of the pool's programs that some row of the results holds, by `PROGRAM`."""
    own = results[~results["arm"].isin(["guided", "redecode"])]
    own = own.assign(sample=own["sample"].where(own["arm"] != "random", arms.LIVE["random"].sample))
    same = [*PROGRAM[:2], "picks", "decode_tokens"]  # what a trajectory of the guided method and a program of the pool have in common
    theirs = pool[[*PROGRAM, "picks", "decode_tokens"]].merge(results.loc[results["arm"] == "guided", [*same, *TEXT]], on=same)
    return pd.concat([own, theirs])[[*PROGRAM, *TEXT]].drop_duplicates(PROGRAM).dropna(subset="code").set_index(PROGRAM)


def pool_arms(results: pd.DataFrame, pool: pd.DataFrame) -> pd.DataFrame:
    """The results with every method that can be derived from the pool, and the texts that are known."""
    texts, live = known_texts(results, pool), results[results["arm"].isin(arms.LIVE)]
    derived = arms.derive(pd.concat([live, pool.drop(columns=TEXT, errors="ignore")]))
    chosen = ~derived["arm"].isin(arms.LIVE)
    found = texts.reindex(pd.MultiIndex.from_frame(derived.loc[chosen, PROGRAM])).set_index(derived.index[chosen])
    derived.loc[chosen, TEXT] = found
    return derived[list(results)]


def stage_03(chosen: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Stage 03's choices with those of choosers that need no PRM and are not there yet, under every seed."""
    steps = int(chosen.loc[chosen["arm"] == "unguided", "latent_steps"].iloc[0])
    rows = rows[rows["task"].isin(chosen["task"])]
    tables = []
    for seed in chosen["seed"].unique():
        free = [name for name in ("untrained_rule", "first_survivor") if name not in set(chosen["arm"])]
        tables += [cross_validation.choices(rows, np.zeros(len(rows)), seed, steps, free).assign(score=np.nan)] if free else []
    split = chosen.drop_duplicates("family").set_index("family")["split"]
    tables = [part.assign(split=part["family"].map(split)) for part in tables]
    return in_order(pd.concat([chosen, *(part[[name for name in chosen if name in part]] for part in tables)], ignore_index=True))


def in_order(chosen: pd.DataFrame) -> pd.DataFrame:
    """Rows whose methods stand in the order of the table of choosers, others last."""
    place = {name: i for i, name in enumerate(cross_validation.CHOOSERS)}
    return chosen.assign(_at=chosen["arm"].map(place).fillna(len(place))).sort_values("_at", kind="stable").drop(columns="_at")


def stage_03_filters(taken: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """What filters take of N collected programs: guided_filter's as measured, the others' worked out again."""
    rows = rows[rows["task"].isin(taken["task"])]
    free = cross_validation.filtered(rows, np.zeros(len(rows)), filters=["execution_filter", "first_survivor"])
    ranked = taken[taken["arm"] == "guided_filter"]
    return pd.concat([free, ranked.assign(looked_at=programs_written(ranked, rows))], ignore_index=True)[list(free)]


def programs_written(ranked: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """How many programs guided_filter had written when it stopped: with all programs it takes a survivor if there is one, and with
    fewer the same one from the moment that it is written."""
    any_survives = survives(rows).groupby(rows["task"]).any()
    last = ranked.sort_values("N").groupby("task")[["validated", "reason"]].transform("last")
    ends = (ranked[["validated", "reason"]] == last.loc[ranked.index]).all(axis=1) & ranked["task"].map(any_survives)
    first = ranked["N"].where(ends).groupby(ranked["task"]).transform("min")
    return ranked["N"].where(first.isna(), np.minimum(ranked["N"], first.fillna(0))).astype(int)


def remade(folder: Path, rollouts: str) -> dict[str, pd.DataFrame]:
    """The folder's tables that depend on choosers, by name."""
    names = ("results", "pool", "cross_validation", "cross_validation_filtered")
    results, pool, chosen, taken = (read_table(folder, name) for name in names)
    rows = read_rollouts(rollouts)[0]
    rows = rows[~rows["family"].isin(generator.SEEN_FAMILIES)].dropna(subset=["reward"]).reset_index(drop=True)
    chosen = stage_03(chosen, rows)
    plans = known_texts(results, pool)["plan"].reindex(pd.MultiIndex.from_frame(pool[PROGRAM]))
    return {
        "results": pool_arms(results, pool),
        "pool": pool.assign(plan=plans.to_numpy()),
        "cross_validation": chosen,
        "cross_validation_differences": comparisons.differences(chosen),
        "cross_validation_gaps": comparisons.gap_closed(chosen),
        "cross_validation_families": comparisons.by_family(chosen),
        "cross_validation_filtered": stage_03_filters(taken, rows),
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path, help="a folder that study_page.py --ship made")
    ask.add_argument("--rollouts", default="data/rollouts", help="the rollouts that its stage 03 chose among")
    args = ask.parse_args()
    for name, rows in remade(args.folder, args.rollouts).items():
        write_atomic(args.folder / f"{name}.parquet", rows.to_parquet(index=False, **SMALL))


if __name__ == "__main__":
    main()
