"""Every callback of the explorers without a browser: the widgets hold what a user would see, files what they keep."""

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import frames
import pandas as pd
import pytest
from test_plots import Tags

from parallax_lib.analysis import recheck
from parallax_lib.analysis.decisions import decide, program_key, read_decisions, rows_decided
from parallax_lib.analysis.figures import explorers, theme
from parallax_lib.analysis.figures.explorers import Adjudicator, FailureExplorer, ScoreExplorer
from parallax_lib.analysis.figures.widgets import Details, to_csv
from parallax_lib.core.errors import UserError

ROLLOUTS, RESULTS = frames.rollouts(), frames.results()
SCORES = frames.scores(ROLLOUTS)
QUEUE = recheck.queue(RESULTS)
ALLOWED = {"div", "span", "table", "thead", "tbody", "tr", "th", "td", "p"}


def clicked(*places) -> SimpleNamespace:
    return SimpleNamespace(point_inds=list(places))


def shown(details: Details) -> str:
    return details.head.value + "".join(pane.value for pane in details.panes.values())


# scores


@pytest.fixture
def scores() -> ScoreExplorer:
    explorer = ScoreExplorer(ROLLOUTS, SCORES)
    assert explorer.widget is explorer.widget
    return explorer


def drawn(explorer: ScoreExplorer) -> pd.DataFrame:
    """What is on screen: row, x, y of every point."""
    rows = [(int(row), x, y) for trace in explorer.fig.data
            for (row,), x, y in zip(trace.customdata, trace.x, trace.y, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["row", "x", "y"]).set_index("row").sort_index()


def expected(model: str, depth: int) -> pd.Series:
    rows = SCORES[(SCORES["model"] == model) & (SCORES["depth"] == depth)].set_index("capture_id")["score"]
    return rows.loc[ROLLOUTS["capture_id"]].reset_index(drop=True)


def test_points_are_the_scores_of_the_last_step(scores):
    points = drawn(scores)
    assert points["y"].tolist() == expected("transformer", 2).tolist()
    assert points["x"].tolist() == (-ROLLOUTS["mean_logprob"]).tolist()


def test_points_are_coloured_by_their_verdict(scores):
    for name, trace in zip(theme.FAILURE_CLASSES, scores.fig.data, strict=True):
        reasons = {ROLLOUTS["reason"][int(row)] for (row,) in trace.customdata}
        assert reasons <= set(theme.FAILURE_CLASSES[name]) and trace.name == f"{name} ({len(trace.x)})"


def test_a_crowd_is_drawn_smaller_until_a_filter_thins_it(scores, monkeypatch):
    few = [(trace.marker.size, trace.marker.opacity) for trace in scores.fig.data]
    monkeypatch.setattr(explorers, "CROWD", int((ROLLOUTS["direction"] == "omp-cuda").sum()))
    scores.redraw()
    assert all(trace.marker.size < size and trace.marker.opacity < seen for trace, (size, seen) in zip(scores.fig.data, few, strict=True))
    scores.filters.boxes["direction"].value = "omp-cuda"
    assert [(trace.marker.size, trace.marker.opacity) for trace in scores.fig.data] == few


def test_slider_model_and_axis_redraw(scores):
    scores.depth.value, scores.model.value, scores.axis.value = 0, "ridge", "target"
    points = drawn(scores)
    assert points["y"].tolist() == expected("ridge", 0).tolist()
    assert points["x"].tolist() == ROLLOUTS["reward"].fillna(0).tolist()
    assert "latent step 1, ridge" in scores.fig.layout.title.text and "reward" in scores.fig.layout.xaxis.title.text
    assert scores.fig.layout.xaxis.type == "linear"


def test_log_probabilities_have_a_logarithmic_axis_that_shows_every_point():
    certain = ROLLOUTS.assign(mean_logprob=[0.0, *ROLLOUTS["mean_logprob"][1:]])
    explorer = ScoreExplorer(certain, SCORES)
    fig = explorer.figure()
    assert fig.layout.xaxis.type == "log"
    assert sum(len(trace.x) for trace in fig.data) == len(ROLLOUTS) and min(min(trace.x) for trace in fig.data if len(trace.x)) > 0


@pytest.mark.parametrize("column,value", [("direction", "omp-cuda"), ("kernel", "histo"), ("verdict", "validated")])
def test_a_filter_leaves_its_rows(scores, column, value):
    scores.filters.boxes[column].value = value
    assert drawn(scores).index.tolist() == scores.frame.index[scores.frame[column] == value].tolist()
    scores.filters.boxes[column].value = "all"
    assert len(drawn(scores)) == len(ROLLOUTS)


def test_a_click_shows_the_program_behind_the_point(scores):
    scores.filters.choose(direction="cuda-omp", kernel="dotprod")
    trace = next(trace for trace in scores.fig.data if len(trace.x) > 1)
    scores.on_click(trace, clicked(1), None)
    row = ROLLOUTS.loc[int(trace.customdata[1][0])]
    assert scores.selected == row.name
    assert row["task"] in scores.details.head.value and f"{trace.y[1]:.3f}" in scores.details.head.value
    page = shown(scores.details)
    assert "saxpy" in page and "px-add" in page and row["reason"] in page and "bwrap" in page


def test_a_click_beside_the_points_changes_nothing(scores):
    scores.on_click(scores.fig.data[0], clicked(), None)
    assert scores.selected is None


def test_hostile_programs_stay_text(scores):
    for row in ROLLOUTS.index:
        scores.select(row)
        found = Tags(shown(scores.details))
        assert set(found.tags) <= ALLOWED and not found.handlers
    scores.select(0)
    assert "&lt;script&gt;" in shown(scores.details) and "⟨U+202E⟩" in shown(scores.details)


def test_static_needs_no_widget_and_bad_input_is_named():
    assert len(ScoreExplorer(ROLLOUTS, SCORES).static().data) == len(theme.FAILURE_CLASSES)
    assert "no rollout" in ScoreExplorer(ROLLOUTS, SCORES.iloc[:0]).static().layout.annotations[0].text
    with pytest.raises(UserError, match="x is 'speed', must be one of mean_logprob, tokens, target"):
        ScoreExplorer(ROLLOUTS, SCORES, x="speed")
    with pytest.raises(UserError, match="lacks score"):
        ScoreExplorer(ROLLOUTS, SCORES.drop(columns="score"))


# failures


@pytest.fixture
def failures(tmp_path) -> FailureExplorer:
    explorer = FailureExplorer(RESULTS, tmp_path / "decisions.json")
    assert explorer.widget is explorer.widget
    explorer.path.value = str(tmp_path / "out" / "selection.csv")
    return explorer


def listed(explorer) -> list[int]:
    return [row for _, row in explorer.list.select.options]


def test_a_click_on_a_cell_lists_its_programs(failures):
    cells = failures.fig.data[0]
    at, column = list(cells.y).index("ok"), list(cells.x).index("guided")
    failures.on_click(cells, clicked([at, column]), None)
    wanted = RESULTS[(RESULTS["reason"] == "ok") & (RESULTS["arm"] == "guided")]
    assert listed(failures) == wanted.index.tolist() and failures.selected == wanted.index[0]
    failures.on_click(cells, clicked(at * len(cells.x) + column), None)
    assert listed(failures) == wanted.index.tolist()


def test_the_map_keeps_its_axes_while_a_cell_is_chosen(failures):
    before = [list(row) for row in failures.fig.data[0].text]
    failures.choose_cell("ok", "guided")
    assert [list(row) for row in failures.fig.data[0].text] == before
    failures.filters.choose(direction="serial-omp")
    assert sum(int(n or 0) for row in failures.fig.data[0].text for n in row) == (
        RESULTS["direction"] == "serial-omp"
    ).sum()


def test_columns_of_the_map_can_be_changed(failures):
    failures.by.value = "family"
    assert list(failures.fig.data[0].x) == sorted(set(frames.KERNELS.values()))
    assert failures.fig.layout.xaxis.title.text == "family"
    failures.choose_cell("ok", "map")
    assert set(RESULTS.loc[listed(failures), "family"]) == {"map"}


def test_next_and_previous_walk_the_list_and_stop_at_its_ends(failures):
    failures.filters.choose(arm="guided", kernel="saxpy")
    rows = listed(failures)
    walked = [failures.selected]
    for _ in range(len(rows) + 2):
        failures.list.next.click()
        walked.append(failures.selected)
    assert walked == [*rows, rows[-1], rows[-1], rows[-1]]
    failures.list.previous.click()
    assert failures.selected == rows[-2] and RESULTS["task"][rows[-2]] in failures.details.head.value


def test_filters_that_leave_nothing_say_so_and_come_back(failures):
    failures.filters.choose(kernel="saxpy", family="histogram")
    assert listed(failures) == [] and failures.selected is None and "No program" in failures.details.head.value
    assert len(failures.fig.data[0].z) == 0
    failures.mark()
    failures.filters.choose(family="all")
    assert len(listed(failures)) == (RESULTS["kernel"] == "saxpy").sum()
    assert sum(int(n or 0) for row in failures.fig.data[0].text for n in row) == len(listed(failures))


def test_export_writes_the_selection(failures):
    failures.choose_cell("ok", "guided")
    path = failures.export()
    back = pd.read_csv(path)
    assert back["task"].tolist() == RESULTS.loc[listed(failures), "task"].tolist()
    assert f"{len(back)} rows written" in failures.status.value


def test_exported_text_starts_no_formula():
    rows = pd.DataFrame({"log": ["=HYPERLINK(1)", " @x", "-1+1", "fine", None], "score": [-1.0, 2, 3, 4, 5]})
    text = to_csv(rows)
    assert text.splitlines()[1:] == ["'=HYPERLINK(1),-1.0", "' @x,2.0", "'-1+1,3.0", "fine,4.0", ",5.0"]


def test_a_mark_is_kept_with_its_note_and_can_be_removed(failures):
    failures.note.value = "tolerance? <b>"
    failures.mark()
    kept = list(json.loads(failures.notes.read_text()).values())
    assert kept == [{"choice": "recheck", "note": "tolerance? <b>", "task": RESULTS["task"][failures.selected]}]
    again = FailureExplorer(RESULTS, failures.notes)
    assert again.note.value == "tolerance? <b>" and "recheck" in again.status.value
    failures.unmark()
    assert json.loads(failures.notes.read_text()) == {}


def test_without_a_file_nothing_is_kept_and_the_user_is_told():
    explorer = FailureExplorer(RESULTS)
    explorer.mark()
    assert "Nothing kept" in explorer.status.value


def test_hostile_results_stay_text(failures):
    for row in RESULTS.index:
        failures.select(row)
        assert set(Tags(shown(failures.details)).tags) <= ALLOWED


def test_rollouts_can_be_explored_too_and_an_empty_table_opens():
    assert FailureExplorer(ROLLOUTS).by.value == "direction"
    for explorer in (FailureExplorer(RESULTS.iloc[:0]), ScoreExplorer(ROLLOUTS.iloc[:0], SCORES.iloc[:0])):
        assert explorer.widget and explorer.static().layout.annotations
    explorer = FailureExplorer(RESULTS.iloc[:0])
    assert explorer.widget and explorer.selected is None
    explorer.refresh()


# decisions


@pytest.fixture
def desk(tmp_path) -> Adjudicator:
    desk = Adjudicator(QUEUE, tmp_path / "decisions.json", RESULTS)
    assert desk.widget is desk.widget
    return desk


def test_a_decision_is_kept_shown_and_followed_by_the_next(desk):
    desk.note.value = "by hand"
    desk.buttons["accept"].click()
    assert desk.decisions == {int(QUEUE["row"][0]): "accept"} and desk.selected == 1
    assert desk.list.select.options[0][0].startswith("✓") and f"1 of {len(QUEUE)}" in desk.progress.value
    desk.list.previous.click()
    assert "Decided: accept" in desk.details.head.value and desk.note.value == "by hand"
    desk.undo.click()
    assert desk.decisions == {} and desk.selected == 0


def test_both_rates_move_with_a_decision(desk):
    failed = next(i for i, row in QUEUE.iterrows() if not row["validated"])
    arm = QUEUE["arm"][failed]
    before = desk.rates().set_index("arm").loc[arm]
    desk.select(failed)
    desk.decide("accept")
    after = desk.rates().set_index("arm").loc[arm]
    assert after["automatic"] == before["automatic"] == before["rechecked"]
    assert after["rechecked"] == pytest.approx(before["rechecked"] + 1 / before["n"], abs=1e-3)
    assert str(after["rechecked"]) in desk.rates_table.value
    desk.select(failed)
    desk.decide("unsure")
    assert desk.rates().set_index("arm").loc[arm]["rechecked"] == before["rechecked"]


def test_reasons_to_look_can_be_filtered(desk):
    why = QUEUE["why"].iloc[-1]
    desk.filters.choose(why=why)
    assert listed(desk) == QUEUE.index[QUEUE["why"] == why].tolist()


def test_nothing_to_recheck_is_no_error(tmp_path):
    desk = Adjudicator(QUEUE.iloc[:0], tmp_path / "decisions.json")
    assert desk.widget and desk.decisions == {} and desk.rates().empty
    desk.decide("accept")
    assert not (tmp_path / "decisions.json").exists() and "Nothing needs" in desk.details.head.value
    assert desk.static().layout.annotations


def test_a_decision_holds_for_the_program_not_for_the_row(tmp_path):
    path = tmp_path / "decisions.json"
    decide(path, RESULTS.loc[3].to_dict(), "reject")
    shuffled = RESULTS.iloc[::-1].reset_index(drop=True)
    assert rows_decided(shuffled, path) == {len(RESULTS) - 1 - 3: "reject"}
    changed = RESULTS.assign(code=RESULTS["code"] + " ")
    assert rows_decided(changed, path) == {}
    assert program_key(RESULTS.loc[3]) != program_key(RESULTS.loc[3].to_dict() | {"code": None})


def test_two_notebooks_keep_each_others_decisions(tmp_path):
    path = tmp_path / "decisions.json"
    first, second = Adjudicator(QUEUE, path), Adjudicator(QUEUE, path)
    first.decide("accept")
    second.select(1)
    second.decide("reject")
    assert sorted(value["choice"] for value in read_decisions(path).values()) == ["accept", "reject"]


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
        Adjudicator(QUEUE, path)
    assert path.read_text() == text


def test_an_unknown_choice_is_refused(tmp_path):
    with pytest.raises(UserError, match="choose one of accept, reject, unsure, recheck"):
        decide(tmp_path / "d.json", RESULTS.loc[0].to_dict(), "maybe")
    (tmp_path / "d.json").write_text('{"k": {"choice": "maybe"}}')
    with pytest.raises(UserError, match="k: choice is 'maybe'"):
        read_decisions(tmp_path / "d.json")
