"""The study's rows from more than one side: by suite, direction, family or setting, and what the verdicts left open.

Knows the tables of a run or of a study that ships.  Draws nothing, and computes no interval of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from parallax_lib.analysis import comparisons, metrics
from parallax_lib.analysis.comparisons import CEILING, FLOOR, GUIDED
from parallax_lib.search.arms import AT_COST, counted
from parallax_lib.search.choosers import CHECKS
from parallax_lib.tasks import suites
from parallax_lib.tasks.hecbench import checkout, masked

HAND, MADE, HECBENCH = "hand-written", "generated", "HeCBench"
NOTES = "notes.json"
TOGETHER = "guided_mean"  # picks by the mean score of all trainings


def read_notes(folder: Path) -> dict[str, str]:
    """What is to be said of the folder's tables, by table or by section; nothing where no notes lie there."""
    path = folder / NOTES
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def with_suite(rows: pd.DataFrame) -> pd.DataFrame:
    """`suite` of every row: the bundled kernels are hand-written; a generated one's name ends in its seed; HeCBench's are those of its
    manifest; what is left, such as tasks of a file, is "other"."""
    kernels = rows["kernel"]
    bundled = kernels.isin({kernel.name for kernel in suites.read_folder(suites.MINIBENCH, "minibench")})
    published = kernels.str.removesuffix(masked.TWIN).isin(checkout.read_manifest(checkout.MANIFEST))
    cases = [bundled, published, kernels.str.contains(r"_\d+$")]
    return rows.assign(suite=np.select(cases, [HAND, HECBENCH, MADE], "other"))


def same(rows: pd.DataFrame, arm: str, other: str) -> bool:
    """Whether two methods hold the same rows but for the checks that the choice took."""
    keys = [key for key in ("repair", "seed", "task") if key in rows]
    parts = (rows[rows["arm"] == name].drop(columns=["arm", *CHECKS], errors="ignore") for name in (arm, other))
    a, b = (part.sort_values(keys, ignore_index=True) for part in parts)
    return a.equals(b)


def without_equal_cost(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows without the `@cost` methods that are the unguided method again, and a sentence that names them."""
    gone = [arm for arm in rows["arm"].unique() if arm.endswith(AT_COST) and same(rows, arm, FLOOR)]
    names = ", ".join(f"`{arm}`" for arm in gone)
    why = f"{names} (only as many programs as guided's mean cost pays for) are `{FLOOR}` again, row by row, and left out."
    return rows[~rows["arm"].isin(gone)], why if gone else ""


def parts(results: pd.DataFrame, by: str) -> pd.DataFrame:
    """Guided minus unguided within each suite or direction, beside what a random pick and the oracle reach there."""
    rows = []
    for name, inside in results.groupby(by):
        shares = comparisons.task_values(inside).mean()
        row = {by: name, "families": inside["family"].nunique()} | {arm: shares.get(arm) for arm in (FLOOR, "random", GUIDED, CEILING)}
        rows.append(row | metrics.paired(inside, GUIDED, FLOOR))
    return pd.DataFrame(rows).drop(columns=["rate_a", "rate_b"])


def tried(results: pd.DataFrame) -> pd.DataFrame:
    """How many different tasks, kernels and families there are of each suite and direction."""
    counts = {"tasks": "task", "kernels": "kernel", "families": "family"}
    return results.groupby(["suite", "direction"]).agg(**{name: (of, "nunique") for name, of in counts.items()}).reset_index()


def families(results: pd.DataFrame) -> pd.DataFrame:
    """`comparisons.by_family` with the suite of every family: one that stands in several has a row in each."""
    parts = [comparisons.by_family(inside).assign(suite=name) for name, inside in results.groupby("suite")]
    return pd.concat(parts).sort_values("family", kind="stable", ignore_index=True)


def bought(pool: pd.DataFrame, results: pd.DataFrame, least: int = 2) -> pd.DataFrame:
    """Choosers that may have N programs of the pool written: how many they have, tokens of a task, validated share, guided minus it."""
    guided, rows = results[results["arm"] == GUIDED], []
    for (arm, n), part in counted(pool, guided, least).groupby(["arm", "N"], sort=False):
        both = pd.concat([guided, part])
        against = metrics.paired(both, GUIDED, arm)
        row = {"arm": arm, "N": n, "looked_at": part["looked_at"].mean(), "cost": part["cost"].mean(), "rate": against["rate_b"]}
        row |= {name: against[name] for name in ("diff", "low", "high")}
        if "family" in both:
            whole = comparisons.over_families(both, GUIDED, arm)
            row |= {"families_low": whole.low, "families_high": whole.high}
        rows.append(row)
    return pd.DataFrame(rows)


def beside_readers(readers: pd.DataFrame, chosen: pd.DataFrame | None = None) -> pd.DataFrame:
    """Choosers that see no latent minus the original, and the PRMs' pick among collected trajectories (`chosen`) minus each of them."""
    arms, rows = [arm for arm in readers["arm"].unique() if arm != FLOOR], []
    pairs = [(readers, arm, FLOOR) for arm in arms]
    if chosen is not None:
        best = TOGETHER if TOGETHER in set(chosen["arm"]) else GUIDED
        pairs += [(pd.concat([chosen[chosen["arm"] == best], readers]), best, arm) for arm in arms]
    for both, arm, other in pairs:
        whole = comparisons.over_families(both, arm, other)
        rows.append(metrics.paired(both, arm, other) | {"families_low": whole.low, "families_high": whole.high})
    return pd.DataFrame(rows).drop(columns="unpaired")


def levels(results: pd.DataFrame) -> pd.DataFrame:
    """Judged programs of every method by level, and the shares that compile and that run."""
    known = metrics.judged(results)
    far = known.assign(built=known["level"] >= 2, ran=known["level"] >= 3).groupby("arm", sort=False)[["built", "ran"]].mean()
    return far.join(pd.crosstab(known["arm"], known["level"]).add_prefix("level ")).reset_index()


def shown_parallel(results: pd.DataFrame) -> pd.DataFrame:
    """Validated programs of each target by whether they were shown to be parallel."""
    known = metrics.judged(results)
    good = known[known["validated"].astype(bool)]
    counts = pd.crosstab(good["direction"].str.split("-").str[1].rename("target"), good["parallel"])
    counts = counts.reindex(columns=["yes", "unknown"], fill_value=0)
    return counts.assign(**{"share of yes": counts["yes"] / counts.sum(axis=1)}).reset_index()


def unchecked(results: pd.DataFrame) -> str:
    """What the verdicts leave open, in a sentence."""
    races, speed = (int((results[name] != "not checked").sum()) for name in ("race_free", "faster"))
    if races or speed:
        return f"Of {len(results):,} programs {races:,} were checked for races and {speed:,} were timed."
    return (
        "**Races and speed were not judged** (`params/study.yaml`: `races: off`; `timing` is off where nothing is said): "
        "a validated program can hold a race that no run showed, and can be slower than its source."
    )


def finding(kernels: str, rows: pd.DataFrame) -> str:
    """A gain is one where every interval lies above zero; where the oracle gains less than could be seen, nothing can be told."""
    if (rows["low"] > 0).all():
        return f"gains on {kernels} kernels"
    if (rows[CEILING] - rows[FLOOR] < rows["mde"]).all():
        return f"cannot be judged on {kernels} kernels, where the oracle itself gains less than so few tasks could show"
    return f"{'gains nothing' if (rows['diff'] <= 0).all() else 'shows no sure gain'} on {kernels} kernels"


def verdict(suites: pd.DataFrame) -> str:
    """On which kernels guidance gains and on which it does not, in a sentence; the rows of one suite are told together."""
    return f"Guidance {'; it '.join(finding(name, part) for name, part in suites.groupby('suite'))}."


def by_setting(variations: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds and the range, per study and setting, in the order of the plan."""
    keys = variations.groupby(["study", "setting"], sort=False)
    out = keys.agg(seeds=("seed", "nunique"), train_tasks=("train_tasks", "mean"), train_rows=("train_rows", "mean"))
    for name in ("auroc", "brier", "ece", "pairwise", "gain"):
        out[name] = keys[name].mean()
    out["auroc_low"], out["auroc_high"] = keys["auroc"].min(), keys["auroc"].max()
    return out.reset_index()
