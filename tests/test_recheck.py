"""The recheck list and the file of decisions against hand-made rows."""

import json
from concurrent.futures import ThreadPoolExecutor

import frames
import pandas as pd
import pytest

from parallax_lib.analysis import closeness, recheck
from parallax_lib.analysis.decisions import decide, program_key, read_decisions, rows_decided
from parallax_lib.core.errors import UserError
from parallax_lib.verdict.reference import HARNESS_VERSION

OFF = "input 1: line 2 (phase), number 1: got {}, expected 100.0"
ROWS = pd.DataFrame(
    [
        {"task": "x", "code": "a", "arm": "a", "validated": True, "score": 0.9, "level": 5, "reason": "ok", "parallel": "yes"},
        {"task": "y", "code": "b", "arm": "a", "validated": False, "score": 0.7, "level": 4, "reason": "wrong_output", "parallel": "yes"},
        {"task": "x", "code": "c", "arm": "b", "validated": True, "score": 0.1, "level": 5, "reason": "ok", "parallel": "yes"},
        {"task": "y", "code": "d", "arm": "b", "validated": False, "score": None, "level": 1, "reason": "compile_error", "parallel": "no"},
        {"task": "z", "code": "e", "arm": "b", "validated": False, "score": None, "level": 2, "reason": "not_checkable", "parallel": "no"},
        {"task": "z", "code": "e", "arm": "c", "validated": False, "score": None, "level": 2, "reason": "not_checkable", "parallel": "no"},
        {"task": "w", "code": "f", "arm": "c", "validated": False, "score": None, "level": 4, "reason": "wrong_output", "parallel": "yes"},
        {"task": "w", "code": "g", "arm": "c", "validated": False, "score": None, "level": 4, "reason": "wrong_output", "parallel": "yes"},
    ]
).assign(log=["", "", "", "", "", "", OFF.format(100.01), OFF.format(200.0)], kernel=list("xyxyzzww"))


def listed(**more) -> dict[int, tuple[str, int]]:
    queue = recheck.queue(ROWS, **more)
    return {int(row.row): (row.why, int(row.rows)) for row in queue.itertuples()}


def test_each_program_is_listed_once_with_its_rows_and_the_most_doubtful_first():
    queue = listed()
    assert list(queue) == [2, 6, 4, 1]  # scores beyond the threshold by 0.8 and 0.4 of what is possible; off by 1e-4: 4/6; not judged: 0.6
    assert queue[6] == ("its output is close to the reference", 1) and queue[4] == ("could not be checked here", 2)
    assert [queue[row][0] for row in (2, 1)] == ["the verdict likes it, the PRM does not", "the PRM likes it, the verdict does not"]


def test_weak_oracles_other_judges_new_measurements_and_marks_enter_the_queue():
    keys = [program_key(row) for row in ROWS.to_dict("records")]
    assert listed(weakness={"x": 0.9})[0] == ("passes, its oracle is weak", 1)
    assert listed(other_judge={keys[0]})[0] == ("another judge says otherwise", 1)
    assert list(listed(measured={keys[7]: 2e-6}))[0] == 7  # its log says that it is off by 1
    assert list(listed(marked={keys[3]}).items())[0] == (3, ("a person marked it", 1))
    otherwise = ROWS.assign(validated=[*ROWS["validated"][:5], True, *ROWS["validated"][6:]])
    assert recheck.queue(otherwise)["why"][0] == "equal programs have different verdicts"


def test_closeness_is_the_relative_difference_that_the_log_names():
    said = pd.Series([OFF.format(100.01), OFF.format("nan"), OFF.format(1e9), "crashed", None, "input 1: line 1: got 3, expected 0"])
    found = closeness.of_logs(said)
    assert found[:3] == pytest.approx([1e-4, 10, 10]) and all(found[3:5] != found[3:5]) and found[5] == 10


def test_outputs_name_the_first_line_that_differs_and_count_numbers():
    told = closeness.outputs("sum 1.0\nmax 2.0 3\nend", "sum 1.0000000001\nmax 2.5 3\nend")
    assert told["first"] == 1 and [row[2] for row in told["rows"]] == [False, True, False]
    assert (told["numbers"], told["agree"], told["largest"], told["same_shape"]) == (3, 2, 0.25, True)
    short = closeness.outputs("a 1\nb 2", "a 1")
    assert short["first"] == 1 and short["rows"][1] == ["b 2", None, True] and not short["same_shape"]


def test_both_rates_count_decisions_over_verdicts():
    table = recheck.both_rates(ROWS, {1: "accept", 2: "unsure", 4: "accept"}).set_index("arm")
    assert table["automatic"].to_dict() == {"a": 0.5, "b": 0.5, "c": 0.0}  # rows that could not be judged count nowhere
    assert table["rechecked"].to_dict() == {"a": 1.0, "b": 0.667, "c": 0.0}  # until a person decides them
    assert recheck.both_rates(ROWS.drop(columns="arm"), {})["n"].tolist() == [6]


def test_a_decision_keeps_who_when_the_verdict_then_and_the_harness(tmp_path):
    decide(tmp_path / "d.json", ROWS.loc[1].to_dict(), "accept", "rounding", "an expert")
    [kept] = read_decisions(tmp_path / "d.json").values()
    assert (kept["choice"], kept["note"], kept["reviewer"], kept["harness"]) == ("accept", "rounding", "an expert", HARNESS_VERSION)
    assert kept["verdict"]["reason"] == "wrong_output" and kept["verdict"]["level"] == 4 and kept["time"].endswith("+00:00")
    decide(tmp_path / "d.json", ROWS.loc[1].to_dict(), None)
    assert read_decisions(tmp_path / "d.json") == {}


def test_a_decision_holds_for_the_program_not_for_the_row(tmp_path):
    path, results = tmp_path / "decisions.json", frames.results()
    decide(path, results.loc[3].to_dict(), "reject")
    shuffled = results.iloc[::-1].reset_index(drop=True)
    assert rows_decided(shuffled, path) == {len(results) - 1 - 3: "reject"}
    assert rows_decided(results.assign(code=results["code"] + " "), path) == {}
    assert program_key(results.loc[3]) != program_key(results.loc[3].to_dict() | {"code": None})


def test_writers_at_once_lose_no_decision(tmp_path):
    path = tmp_path / "new" / "decisions.json"

    def write(who):
        for i in range(20):
            decide(path, {"task": f"{who}-{i}", "code": "c"}, "accept")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(read_decisions(path)) == 80


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": {}}', '{"a": 1}'])
def test_a_damaged_file_is_refused_and_kept(tmp_path, text):
    path = tmp_path / "decisions.json"
    path.write_text(text)
    with pytest.raises(UserError, match="restore it or move it away"):
        decide(path, ROWS.loc[0].to_dict(), "accept")
    assert path.read_text() == text


def test_an_unknown_choice_is_refused(tmp_path):
    with pytest.raises(UserError, match="choose one of accept, reject, unsure, recheck"):
        decide(tmp_path / "d.json", ROWS.loc[0].to_dict(), "maybe")
    (tmp_path / "d.json").write_text(json.dumps({"k": {"choice": "maybe"}}))
    with pytest.raises(UserError, match="k: choice is 'maybe'"):
        read_decisions(tmp_path / "d.json")
