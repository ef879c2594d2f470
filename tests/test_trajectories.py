"""Figures of latent trajectories: what a program's latents decode to, and what became of the trajectories of a task."""

import pandas as pd
import pytest

from parallax_lib.analysis.figures import trajectories
from parallax_lib.core.errors import UserError

TASK = pd.DataFrame([
    {"branch_depth": -1, "resample": 0, "plan": "parallel none", "level": 4, "reason": "nondeterministic"},
    {"branch_depth": 0, "resample": 1, "plan": "<b>&", "level": 1, "reason": "compile_error"},
    {"branch_depth": 0, "resample": 0, "plan": "atomic none", "level": 5, "reason": "ok"},
])  # fmt: skip


def test_the_deciding_token_is_the_first_that_says_more_than_parallel():
    for plan, token in {"parallel none": "parallel", "none atomic serial": "atomic", "": "parallel"}.items():
        assert trajectories.deciding_token(plan) == token
    assert trajectories.deciding_token(None) == trajectories.deciding_token(float("nan")) == "parallel"


def test_the_shares_of_a_method_add_to_one_and_rare_tokens_are_other():
    plans = ["parallel", "atomic", "parallel none", *(f"word{i}" for i in range(20)), *["word0"] * 5]
    fig = trajectories.decoded_latents(pd.DataFrame({"arm": ["guided"] * len(plans), "plan": plans}))
    shares = {bar.name: bar.x[0] for bar in fig.data}
    assert sum(shares.values()) == pytest.approx(1) and list(shares)[0] == "parallel" and list(shares)[-1] == "other"
    assert shares["parallel"] == pytest.approx(2 / len(plans)) and shares["word0"] == pytest.approx(6 / len(plans))
    assert len(fig.data) == trajectories.SHOWN + 1


def test_a_task_shows_each_trajectory_once_with_the_rung_it_reached():
    fig = trajectories.task_trajectories(TASK)
    bars = {name: (level, bar.name) for bar in fig.data for name, level in zip(bar.y, bar.x, strict=True)}
    assert list(fig.layout.yaxis.categoryarray)[::-1] == sorted(bars)
    assert [level for _, (level, _) in sorted(bars.items())] == [4, 5, 1]  # the original, then its branch-offs by draw
    assert "&lt;b&gt;&amp;" in sorted(bars)[2] and bars[sorted(bars)[1]][1] == "validated"


def test_no_rows_are_an_empty_figure_and_a_missing_column_is_named():
    for draw in (trajectories.task_trajectories, trajectories.decoded_latents):
        assert not draw(pd.DataFrame()).data
        with pytest.raises(UserError, match="the table lacks .*plan"):
            draw(TASK.drop(columns="plan"))
