"""Tables as readers see them: names of columns, methods and models in words, and a frame as aligned text.

Knows names and digits.  Knows no run and what no column means.
"""

from __future__ import annotations

import re

import pandas as pd

HEADINGS = {"arm": "method"}  # column -> what readers see
METHODS = {
    "unguided": "Unguided", "random": "Random branch", "guided": "PRM-guided", "guided_mean": "PRM-guided (mean of trainings)",
    "redecode": "Re-decoding only", "untrained_rule": "Untrained rule", "best_of_n": "Best-of-N (likelihood)",
    "compile_filter": "Compile filter (likelihood)", "execution_filter": "Execution filter (likelihood)",
    "first_survivor": "Execution filter (first survivor)", "guided_filter": "Execution filter (PRM order)",
    "majority": "Majority vote", "agreement_filter": "Agreement filter (likelihood)", "first_agreeing": "Agreement filter (first)",
    "guided_agreeing": "Agreement filter (PRM order)", "prior_corrected": "Best-of-N (prior-corrected)", "plan_prm": "Text PRM on plans",
    "program_prm": "Text PRM on programs", "sampled": "Sampled program", "oracle": "Oracle upper bound",
    "guided, whole thoughts": "PRM-guided (whole thoughts)", "t0": "T0, zero-shot", "t1": "T1, zero-shot with latents",
    "t2": "T2, no latents", "t4": "T4, pauses", "t5": "T5, plan as text", "k12": "T3, 12 latent steps",
}  # fmt: skip
MODELS = {"prm": "PRM", "transformer": "PRM (transformer)", "ridge": "Ridge probe", "gru": "PRM (GRU)"}


def heading(column: object) -> str:
    """The name that readers see of a column."""
    return HEADINGS.get(str(column), str(column))


def method(name: object) -> str:
    """The name of a method in figures, as papers have it; one that is not known keeps its own.

    `guided+repair2` is PRM-guided, 2 repair rounds; `sampled:oracle` the oracle of the sampled pool; `oracle@cost` at equal cost.
    """
    base, cost, _ = re.sub(r"\+repair\d+$", "", str(name)).partition("@cost")
    pool, of, chooser = base.partition(":")
    said = METHODS.get(base) or (f"{METHODS.get(chooser, chooser)}, {pool} pool" if of else base)
    rounds = re.search(r"\+repair(\d+)$", str(name))
    return said + (", equal cost" if cost else "") + (f", {rounds[1]} repair round{'s' * (rounds[1] != '1')}" if rounds else "")


def versus(comparison: object) -> str:
    """`guided - unguided` with both methods in words."""
    return " − ".join(method(side) for side in str(comparison).split(" - "))


def model(name: object) -> str:
    """The name of a reward model in figures."""
    return MODELS.get(str(name), str(name))


def as_text(table: pd.DataFrame | pd.Series, digits: int = 3) -> str:
    """The table as aligned text, floats rounded; an index is shown where it has a name."""
    named = any(name is not None for name in table.index.names)
    shown = table.rename(columns=HEADINGS) if isinstance(table, pd.DataFrame) else table
    return (shown.rename_axis(index=HEADINGS) if named else shown).round(digits).to_string(index=named)
