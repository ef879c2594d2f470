"""The sentences of a run's last lines: each number is the one that the tables give by hand."""

import pandas as pd
import pytest

from parallax_lib.analysis.findings import agreement, findings
from parallax_lib.study.agreement import sample

TASKS = 40


def chosen():
    """Forty tasks of four families: guided validates 30 of them, unguided 20, the rule 34."""
    good = {"unguided": 20, "guided": 30, "random": 16, "untrained_rule": 34, "first_survivor": 36, "oracle": 38}
    rows = [{"task": f"t{i}", "family": f"f{i % 4}", "arm": arm, "validated": i < n} for arm, n in good.items() for i in range(TASKS)]
    table = pd.DataFrame(rows).assign(seed=0, reason="ok", level=5)
    return table.assign(looked_at=1 + 2 * (table["arm"] == "first_survivor"))


def again(same: int, n: int):
    rows = [{"task": f"t{i // 2}", "chosen": i % 2 == 0, "was": True, "validated": i < same} for i in range(n)]
    return pd.DataFrame(rows).assign(was_reason="ok", reason="ok")


def test_the_gain_stands_first_and_what_is_better_stands_beside_it():
    said = dict(findings(chosen(), pd.DataFrame(), pd.DataFrame(), overuses=True))
    assert list(said) == ["Found", "Beside it", "Not shown"]
    assert "75.0 % of 40 tasks of 4 kernel families" in said["Found"] and "validated on 50.0 %: +25.0 points [+" in said["Found"]
    assert "untrained rule 85.0 %, a random sibling 40.0 %" in said["Beside it"] and "90.0 % (3.0 programs" in said["Beside it"]
    assert "guided minus the untrained rule is -10.0 points [-" in said["Not shown"] and "another training seed" in said["Not shown"]
    assert "overuses `parallel`" in said["Not shown"]


def test_an_interval_over_families_that_holds_zero_is_called_no_difference():
    rows = chosen()
    where = {"guided": "f0", "unguided": "f1"}
    flat = rows.assign(validated=rows["family"] == rows["arm"].map(where))
    assert "resampled by family this is no difference" in dict(findings(flat, pd.DataFrame(), pd.DataFrame()))["Found"]
    assert "no difference" not in dict(findings(rows, pd.DataFrame(), pd.DataFrame()))["Found"]


def test_agreement_counts_equal_verdicts_and_leaves_unjudged_ones_out():
    table = again(57, 60)
    table.loc[0, ["validated", "reason"]] = [False, "infra_error"]
    told = agreement(table)
    assert (told["programs"], told["same"], told["unjudged"], told["tasks"]) == (59, 56, 1, 30)
    assert told["share"] == pytest.approx(56 / 59) and 0.80 < told["low"] < 56 / 59 < told["high"] < 1
    said = dict(findings(pd.DataFrame(), table, pd.DataFrame()))["It rests on"]
    assert "30 chosen and 30 other programs of 30 tasks" in said and "56 of 59 (94.9 %" in said and "1 could not be judged" in said


def test_a_few_live_tasks_are_an_illustration_and_many_are_not():
    rows = pd.DataFrame([{"task": f"t{i}", "arm": arm, "validated": i < 2} for arm in ("guided", "unguided") for i in range(3)])
    rows = rows.assign(reason="ok")
    said = dict(findings(pd.DataFrame(), pd.DataFrame(), rows))
    assert said == {"Illustration": "3 tasks translated live, programs validated: guided 2, unguided 2; too few tasks for a rate."}
    many = pd.concat([rows.assign(task=rows["task"] + str(i)) for i in range(10)])
    assert [each.label for each in findings(pd.DataFrame(), pd.DataFrame(), many)] == ["Live"]


def test_the_sample_has_the_chosen_program_and_another_of_each_task():
    rows = [{"capture_id": f"t{t}_{i}", "task": f"t{t}", "arm": ("unguided", "guided", "", "")[i]} for t in range(20) for i in range(4)]
    rollouts = pd.DataFrame(rows).drop(columns="arm").assign(reward=1.0, validated=True, reason="ok")
    taken = pd.DataFrame(rows).query("arm != ''")
    found = sample(taken, rollouts, 8)
    assert found["task"].nunique() == 8 and len(found) == 16 and found["was"].all()
    place = found["capture_id"].str[-1]
    assert set(place[found["chosen"]]) == {"1"} and "1" not in set(place[~found["chosen"]])
    pd.testing.assert_frame_equal(found, sample(taken.iloc[::-1], rollouts.iloc[::-1], 8))
    assert set(found["task"]) < set(sample(taken, rollouts, 12)["task"])  # a larger sample holds the smaller one
