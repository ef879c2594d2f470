"""The score of every trajectory at one latent step, as a figure: the picture of what `view`'s page of scores shows.

Knows the columns of rollouts and scores.  Draws every row and leaves none out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from parallax_lib.analysis.figures import theme
from parallax_lib.analysis.figures.escape import label

CROWD = 2000  # points; more of them are drawn smaller and see-through
CERTAIN = 1e-6  # nats a token: what is likelier is drawn here, on a logarithmic axis


def score_map(rollouts: pd.DataFrame, scores: pd.DataFrame, model: str = "", depth: int = -1) -> go.Figure:
    """Score against the code's mean negative log-probability, a trace a class of verdicts.  model "": the first; depth -1: the last."""
    title = "PRM scores"
    theme.need(rollouts, ["capture_id", "reason", "mean_logprob"], "score_map rollouts")
    theme.need(scores, ["capture_id", "depth", "score", "model"], "score_map scores")
    if rollouts.empty or scores.empty:
        return theme.empty(title, "no rollout has a score here")
    model = model or theme.ordered(scores["model"], theme.MODEL_COLOURS)[0]
    depth = int(scores["depth"].max()) if depth < 0 else depth
    here = scores[(scores["model"] == model) & (scores["depth"] == depth)][["capture_id", "score"]]
    points = rollouts[["capture_id", "reason", "mean_logprob"]].merge(here, on="capture_id")
    kinds = points["reason"].map(theme.failure_class)
    size, opacity = (9, 0.8) if len(points) <= CROWD else (5, 0.3)
    fig = go.Figure()
    for name in theme.FAILURE_CLASSES:
        part = points[kinds == name]
        marker = dict(color=theme.CLASS_COLOURS[name], symbol=theme.CLASS_SYMBOLS[name], size=size, opacity=opacity)
        x = np.maximum(-part["mean_logprob"], CERTAIN)
        fig.add_scattergl(x=x, y=part["score"], mode="markers", marker=marker, name=f"{name} ({len(part)})")
    sub = f"{len(points):,} trajectories after latent step {depth + 1}, scored by {label(model)}"
    axis = dict(type="log", exponentformat="power")
    return theme.finish(fig, title, sub, x="mean negative log-probability of the code (nats a token; likelier to the left)", y="PRM score",
                        xaxis=axis, yaxis=dict(range=[-0.03, 1.03]), height=440)  # fmt: skip
