"""Tables in Markdown with what their columns mean, for `study_page`.

Knows column names and how numbers are written.  Knows no run.
"""

from __future__ import annotations

import pandas as pd

from parallax_lib.analysis.readable import heading

RESAMPLED = "`low`, `high`: 95 % interval from resampling tasks, each with all its seeds."
FAMILY = "`families_low`, `families_high`: the same from resampling whole families."
FLAT = "Where no task differs it is [0, 0], and `mde` says what would have been seen."
SINGLE = "`low`, `high`: 95 % interval in which the seeds of one task are not taken as independent."
LEGEND = {
    "n": "judged programs, one a task and seed", "cost": "tokens forwarded for a task", "looked_at": "programs chosen among",
    "compiles": "compiles that the choice took", "validator_runs": "runs of the validator that it took",
    "unpaired": "tasks judged under one of the two methods only, left out", "rate_a": "guided's share", "rate_b": "the other method's",
    "wins": "tasks on which guided's share is higher (`ties`, `losses`: equal, lower)",
    "p_value": "exact sign test of wins and losses",
    "mde": "the smallest difference that so many tasks would have shown (power 0.8)",
    "gap": "oracle - unguided", "closed": "share of it that the method gains over unguided",
    "no_gap": "share of the resamples without a gap, left out",
    "built": "share at level 2 or more, it compiles", "ran": "at level 3 or more",
    "base_rate": "share of them whose expected reward is 0.5 or more",
    "groups": "an original and its branch-offs of one task and depth",
    "dropped": "groups in which no original or no branch-off was judged", "pairs": "siblings whose rewards differ",
    "best": "share of groups in which the pick is within 0.05 of the best reward",
    "gt": "in which it beats the original by more than 0.05", "ge": "in which it is not worse than the original by more than 0.05",
    "regret": "reward lost against the best sibling", "gain": "share of a perfect pick's gain over the original",
    "pairwise": "share of pairs ordered right", "moved": "share of groups that leave the original", "possible": "a perfect pick's gain",
}  # fmt: skip


def table(frame: pd.DataFrame, digits: int = 3) -> str:
    """The frame in Markdown; floats rounded, missing values empty, a small p-value as a bound."""

    def cell(name: str, value) -> str:
        if name == "p_value" and value < 0.001:
            return "<0.001"
        if isinstance(value, float):
            return "" if pd.isna(value) else f"{value:.{digits}f}".rstrip("0").rstrip(".")
        return str(value)

    rows = [list(map(cell, frame.columns, row)) for row in frame.itertuples(index=False)]
    lines = [list(map(heading, frame.columns)), ["---"] * frame.shape[1], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def captioned(text: str, frame: pd.DataFrame, **own: str) -> str:
    """What is to be said, what the columns mean (`own` before LEGEND), the table."""
    meanings = LEGEND | own
    legend = "; ".join(f"`{name}`: {meanings[name]}" for name in frame.columns if name in meanings)
    words = " ".join(filter(None, [text, legend and f"{legend}."]))
    return "\n\n".join(filter(None, [words, table(frame)]))
