"""Does a score order the programs of one task, or only tell easy tasks from hard ones?  One row of measures for each score.

Knows judged rollouts and scores of their latent prefixes.  Knows nothing of models, losses or how a score came about.
Branch-offs at the first latent are equally noisy; any other pair of siblings can be told by the noise alone.

n rollouts, K latent steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from parallax_lib.analysis import cluster_tests, comparisons, metrics
from parallax_lib.analysis.comparisons import FLOOR
from parallax_lib.analysis.metrics import Estimate

BASE = "bce"  # the loss whose picks the others are held against


def table(rows: pd.DataFrame, scores: Mapping[str, Sequence[np.ndarray]], controls: Mapping[str, str]) -> pd.DataFrame:
    """A row for each of `scores`, lists of [n, K] by training seed; measures are means over seeds, intervals resample families.

    rows [n]: judged; task, family, direction, branch_depth (-1: the unperturbed one), resample, plan, reward in 0/1.
    auroc            over all programs, by the last latent
    order            share of pairs of one task with different rewards that the last latent's score orders right, ties half
    first            the same of the unperturbed program and the branch-offs at the first latent, by the first latent's score
    equal_first      the same of these branch-offs alone
    equal_last       the same by the last latent's score; `pairs` and `clusters` count these, `order_mde` could have been seen there
    over_control     equal_last minus that of the score's control in `controls`
    pick             validated share of the best-scored program of each task; diff: minus the unperturbed program's; p_holm: over the
                     scores that have a control; mde; over_base: minus the pick of `bce`
    pick_first       the same among the unperturbed program and the branch-offs at the first latent, by the first latent; diff_first
    word_<target>    the first word that pick_first takes most often, its share, and the entropy of its first words in bits
    """
    rows = rows.sort_values(["task", "branch_depth", "resample"], kind="stable")  # of equal scores the unperturbed one, then as drawn
    scores = {name: [score[rows.index] for score in each] for name, each in scores.items()}
    rows = rows.reset_index(drop=True)
    depth, found = rows["branch_depth"].to_numpy(), []
    ordered = {name: right(rows, each, depth == 0, -1) for name, each in scores.items()}
    for name, each in scores.items():
        family, equal = ordered[name]
        row = {"score": name} | _columns("auroc", auroc(rows, [score[:, -1] for score in each]))
        for measure, among, step in (("order", depth < np.inf, -1), ("first", depth <= 0, 0), ("equal_first", depth == 0, 0)):
            row |= _columns(measure, _share(*right(rows, each, among, step)))
        row |= _columns("equal_last", _share(family, equal)) | {"pairs": len(equal), "clusters": family.nunique()}
        row |= {"order_mde": cluster_tests.mde(equal, np.full(len(equal), 0.5), family)}
        if name in controls:
            row |= _columns("over_control", metrics.cluster_bootstrap(equal, ordered[controls[name]][1], family))
        found.append(row | favourites(rows[depth <= 0], [score[depth <= 0, 0] for score in each]))
    return pd.DataFrame(found).merge(picked(rows, scores, list(controls)), on="score")


def right(rows: pd.DataFrame, scores: Sequence[np.ndarray], among: np.ndarray, step: int) -> tuple[pd.Series, np.ndarray]:
    """(family, share of seeds in which the better one has the higher score) of each pair of one task with different rewards."""
    here = rows[["task", "reward"]].assign(at=np.arange(len(rows)))[among]
    both = here[here["reward"] == 1].merge(here[here["reward"] == 0], on="task", suffixes=("", "_worse"))
    good, bad = both["at"].to_numpy(), both["at_worse"].to_numpy()
    votes = [np.sign(score[good, step] - score[bad, step]) / 2 + 0.5 for score in scores]
    return rows["family"].iloc[good], np.mean(votes, axis=0)


def auroc(rows: pd.DataFrame, scores: Sequence[np.ndarray], draws: int = 10_000) -> Estimate:
    """Mean AUROC of scores [n] by seed; the interval resamples families, with pairs within a family and between two."""
    good, family = rows["reward"].to_numpy() == 1, pd.get_dummies(rows["family"]).to_numpy(float)  # (n, families)
    above = sum(np.sign(s[good][:, None] - s[~good][None]) / 2 + 0.5 for s in scores) / len(scores)
    wins, pairs = (family[good].T @ each @ family[~good] for each in (above, np.ones_like(above)))
    times = metrics.resamples(family.shape[1], draws, 0).astype(float)
    drawn = [((times @ each) * times).sum(1) for each in (wins, pairs)]
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return Estimate(float(wins.sum() / pairs.sum()), float(low), float(high))


def best(rows: pd.DataFrame, score: np.ndarray) -> pd.DataFrame:
    """The best-scored row of each task, of equal ones the first."""
    return rows.assign(_score=score).sort_values("_score", ascending=False, kind="stable").drop_duplicates("task")


def picked(rows: pd.DataFrame, scores: Mapping[str, Sequence[np.ndarray]], together: list[str]) -> pd.DataFrame:
    """Columns pick to diff_first of `table`; together: the scores that Holm's correction is over."""
    start = rows["branch_depth"].to_numpy() <= 0
    whole = _taken(rows, {name: [score[:, -1] for score in each] for name, each in scores.items()})
    first = _taken(rows[start], {name: [score[start, 0] for score in each] for name, each in scores.items()})
    over_floor, at_first = _minus(whole, list(scores), FLOOR), _minus(first, list(scores), FLOOR)
    over_base = _minus(whole, [name for name in scores if name != BASE], BASE)
    found = over_floor[["rate_a", "diff", "low", "high", "p_value", "mde"]].set_axis(
        ["pick", "diff", "diff_low", "diff_high", "p_value", "mde"], axis=1
    )
    found["p_holm"] = pd.Series(cluster_tests.holm(found.loc[together, "p_value"]), together)
    found["pick_first"] = at_first["rate_a"]
    for name, part in (("over_base", over_base), ("diff_first", at_first)):
        found[[name, f"{name}_low", f"{name}_high"]] = part[["diff", "low", "high"]]
    return found.rename_axis("score").reset_index()


def _minus(results: pd.DataFrame, names: list[str], other: str) -> pd.DataFrame:
    """`comparisons.planned` of each name and one other, a row for each name."""
    return comparisons.planned(results, [(name, other) for name in names]).set_axis(names)


def _taken(rows: pd.DataFrame, scores: Mapping[str, Sequence[np.ndarray]]) -> pd.DataFrame:
    """What each score picks under each seed beside the unperturbed programs, as a table of results."""
    parts = [best(rows, score).assign(arm=name, seed=seed) for name, each in scores.items() for seed, score in enumerate(each)]
    taken = pd.concat([rows[rows["branch_depth"] < 0].assign(arm=FLOOR, seed=0), *parts], ignore_index=True)
    return taken.assign(validated=taken["reward"] == 1, reason="")


def favourites(rows: pd.DataFrame, scores: Sequence[np.ndarray]) -> dict:
    """By target API: the commonest first word of the picks, its share, and the entropy of their first words in bits."""
    taken, out = pd.concat([best(rows, score) for score in scores]), {}
    for api, words in first_word(taken).groupby(target(taken)):
        share = words.value_counts(normalize=True)
        out |= {f"word_{api}": share.index[0], f"share_{api}": share.iloc[0], f"bits_{api}": float(-(share * np.log2(share)).sum())}
    return out


def first_word(rows: pd.DataFrame) -> pd.Series:
    """The first word of each plan, "" of an empty one."""
    return rows["plan"].str.split().str[0].fillna("")


def target(rows: pd.DataFrame) -> pd.Series:
    """The API that each task is translated to."""
    return rows["direction"].str.split("-").str[1]


def _share(family: pd.Series, share: np.ndarray) -> Estimate:
    return metrics.cluster_bootstrap(share, np.zeros(len(share)), family)


def _columns(name: str, estimate: Estimate) -> dict:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
