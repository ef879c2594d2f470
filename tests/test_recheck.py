"""The recheck list against hand-made rows."""

import pandas as pd

from parallax_lib.analysis import recheck

ROWS = pd.DataFrame(
    [
        {"arm": "a", "validated": True, "score": 0.9, "level": 5, "reason": "ok", "parallel": "yes"},
        {"arm": "a", "validated": False, "score": 0.9, "level": 4, "reason": "wrong_output", "parallel": "unknown"},
        {"arm": "b", "validated": True, "score": 0.1, "level": 5, "reason": "ok", "parallel": "yes"},
        {"arm": "b", "validated": False, "score": None, "level": 1, "reason": "compile_error", "parallel": "unknown"},
        {"arm": "b", "validated": False, "score": None, "level": 2, "reason": "not_checkable", "parallel": "unknown"},
    ]
).assign(task=list("xyxyz"))


def test_disagreement_comes_first_and_a_row_is_listed_once():
    queue = recheck.queue(ROWS)
    assert queue["row"].tolist() == [1, 2, 4]
    assert queue["why"].tolist()[0] == "the PRM likes it, the verdict does not"


def test_both_rates_count_decisions_over_verdicts():
    table = recheck.both_rates(ROWS, {1: "accept", 2: "unsure", 4: "accept"}).set_index("arm")
    assert table["automatic"].to_dict() == {"a": 0.5, "b": 0.5}  # the unjudged row counts nowhere
    assert table["rechecked"].to_dict() == {"a": 1.0, "b": 0.667}  # until a person decides it
