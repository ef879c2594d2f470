"""Figures hold the numbers of their tables; hostile text stays text; an empty table gives a figure that says so."""

import base64
import json
import re
from html.parser import HTMLParser

import frames
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from plotly.offline import get_plotlyjs

from parallax_lib.analysis import branch_selection, comparisons, frontier, metrics, recheck
from parallax_lib.analysis.figures import escape, html_report, run_report, theme
from parallax_lib.analysis.figures import frontier as frontier_figures
from parallax_lib.analysis.figures import report_card as report_figures
from parallax_lib.analysis.figures import training as figures
from parallax_lib.analysis.figures.score_map import score_map
from parallax_lib.analysis.findings import Finding
from parallax_lib.analysis.readable import method
from parallax_lib.core.errors import UserError

ROLLOUTS, RESULTS = frames.rollouts(), frames.results()
SCORES = frames.scores(ROLLOUTS)
ARMS = metrics.arm_table(RESULTS)


def paired() -> pd.DataFrame:
    rows = [metrics.paired(RESULTS, "guided", other, draws=200) for other in ("unguided", "random")]
    return pd.DataFrame(rows)


def branches() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = [{"group": f"{task['task']}@{depth}", "task": task["task"], "direction": task["direction"], "depth": depth,
             "capture_id": f"c{i}", "is_original": i == 0, "score": rng.random(), "reward": float(rng.random() > 0.5)}
            for task in frames.tasks() for depth in (0, 1) for i in range(3)]  # fmt: skip
    return pd.DataFrame(rows)


def latent_sensitivity() -> pd.DataFrame:
    rows = [(0.0, 1.0, 0.0, 0.4, False), (0.5, 2.0, 0.1, 0.5, False),
            (1.0, 3.0, 0.3, 0.6, False), (0.0, 1.5, 0.2, 0.4, True)]
    return pd.DataFrame(rows, columns=["sigma", "distinct_programs", "changed_outcomes", "oracle_rate", "control"])


def history() -> pd.DataFrame:
    valid = [np.nan, 0.5, np.nan, 0.3, np.nan, 0.4]
    return pd.DataFrame({"step": range(1, 7), "phase": [1, 1, 1, 2, 2, 2], "train_loss": np.linspace(1, 0.5, 6),
                         "valid_loss": valid})  # fmt: skip


def variations() -> pd.DataFrame:
    rows = [("loss", "mse", 0.6), ("loss", "rank", 0.65), ("share", "0.5", 0.55), ("share", "1", 0.6), ("split", "rows <b>", 0.9)]
    frame = pd.DataFrame(rows, columns=["study", "setting", "auroc"])
    return frame.assign(auroc_low=frame["auroc"] - 0.02, auroc_high=frame["auroc"] + 0.02)


def costs() -> pd.DataFrame:
    """A frontier of a few methods."""
    spent = dict.fromkeys(("looked_at", "compiles", "validator_runs", "cost"), 1.0)
    return frontier.table(RESULTS.assign(N=1, **spent))


FIGURES = {
    "frontier": (frontier_figures.frontier, costs()),
    "gap_closed": (report_figures.gap_closed, pd.DataFrame({"arm": ["guided"], "gap": 0.2, "closed": 0.4, "low": -0.1, "high": 0.9})),
    "families": (report_figures.families, comparisons.by_family(RESULTS).assign(suite=["generated", "hand-written", "generated"])),
    "breadth": (report_figures.breadth, comparisons.breadth(branches())),
    "margins": (report_figures.margins, comparisons.margin_sweep(branches(), (0.0, 0.2))),
    "repair": (report_figures.repair, pd.concat([ARMS.assign(repair=r) for r in range(2)])),
    "variations": (report_figures.variations, variations()),
    "collected": (figures.collected, ROLLOUTS),
    "ladder": (figures.ladder, ROLLOUTS),
    "latent_sensitivity": (figures.latent_sensitivity, latent_sensitivity()),
    "loss_curve": (figures.loss_curve, history()),
    "score_distributions": (figures.score_distributions, SCORES),
    "calibration": (figures.calibration, metrics.calibration_by(SCORES, bins=5)),
    "auroc_by_depth": (figures.auroc_by_depth, metrics.scores_by_depth(SCORES)),
    "branch_selection": (figures.branch_selection, branch_selection.branch_selection(branches())),
    "arms": (figures.arms, ARMS),
    "paired_diff": (figures.paired_diff, paired()),
    "tokens_vs_rate": (figures.tokens_vs_rate, ARMS),
    "reason_by": (figures.reason_by, RESULTS),
    "recheck_ranking": (figures.recheck_ranking, recheck.queue(RESULTS)),
}


def test_every_figure_has_a_title_and_data_and_survives_json():
    for name in FIGURES:
        make, table = FIGURES[name]
        fig = make(table)
        assert theme.title_of(fig) and len(fig.data)
        assert len(json.loads(fig.to_json())["data"]) == len(fig.data)


def test_an_empty_table_gives_a_figure_that_says_so():
    for name in FIGURES:
        make, table = FIGURES[name]
        for nothing in (table.iloc[:0], pd.DataFrame()):
            fig = make(nothing)
            assert len(fig.data) == 0 and len(fig.layout.annotations) == 1 and theme.title_of(fig)


def test_a_table_without_its_columns_is_refused_in_one_line():
    for name in FIGURES:
        make, table = FIGURES[name]
        with pytest.raises(UserError, match="lacks .*it has nothing") as error:
            make(pd.DataFrame({"nothing": [1]}))
        assert "\n" not in str(error.value)


def test_collected_counts_every_program_once():
    fig = figures.collected(ROLLOUTS)
    for bar in fig.data:
        for direction, count in zip(bar.y, bar.x, strict=True):
            wanted = (ROLLOUTS["direction"] == direction) & (ROLLOUTS["reason"] == bar.name)
            assert count == wanted.sum()
    assert sum(sum(bar.x) for bar in fig.data) == len(ROLLOUTS)


def test_ladder_leaves_unjudged_programs_out():
    rows = pd.DataFrame({"direction": "serial-omp", "level": [0, 2, 5, 5, 2], "reason": [
        "no_code", "crash", "ok", "ok", "not_checkable"]})  # fmt: skip
    assert list(figures.ladder(rows).data[0].y) == [0.75, 0.75, 0.5, 0.5, 0.5]


def test_latent_sensitivity_draws_noise_as_lines_and_the_control_as_a_level():
    noise, control = figures.latent_sensitivity(latent_sensitivity()).data[:2]
    assert list(noise.x) == [0.0, 0.5, 1.0] and list(noise.y) == [1.0, 2.0, 3.0]
    assert list(control.y) == [1.5, 1.5]


def test_latent_map_spreads_along_the_direction_of_most_variance():
    latents = np.random.default_rng(0).normal(size=(len(ROLLOUTS), 3, 5)) * 0.01
    latents[:, -1, 2] += np.arange(len(ROLLOUTS))
    fig = figures.latent_map(latents.astype(np.float16), ROLLOUTS)
    drawn = {row: x for trace in fig.data for row, x in zip(trace.customdata, trace.x, strict=True)}
    line = np.array([drawn[row] for row in range(len(ROLLOUTS))])
    assert abs(np.corrcoef(line, np.arange(len(ROLLOUTS)))[0, 1]) > 0.999
    assert len(fig.data[0].x) == ROLLOUTS["reward"].isna().sum()
    with pytest.raises(UserError, match="47 latents for 48 rollouts"):
        figures.latent_map(latents[1:], ROLLOUTS)


def test_the_loss_of_a_ridge_probe_is_shown_by_its_penalties():
    told = pd.DataFrame({"step": range(3), "alpha": [0.1, 1.0, 10.0], "train_loss": [1.0, 2.0, 3.0], "valid_loss": [4.0, 2.5, 3.5],
                         "chosen": [False, True, False]})  # fmt: skip
    fig = figures.loss_curve(told)
    assert fig.layout.xaxis.type == "log" and list(fig.data[1].x) == [0.1, 1.0, 10.0] and list(fig.data[1].y) == [4.0, 2.5, 3.5]
    assert "chosen is 1 with a validation loss of 2.5000" in fig.layout.title.text


def test_loss_curve_marks_the_step_at_which_the_backbone_joins():
    fig = figures.loss_curve(history())
    assert fig.layout.shapes[0].x0 == 4
    assert list(fig.data[1].y) == [0.5, 0.3, 0.4]
    assert "0.3000 at step 4" in fig.layout.title.text


def test_score_distributions_split_at_the_threshold():
    fig = figures.score_distributions(SCORES, depth=0)
    failing, passing = fig.data[:2]
    rows = SCORES[(SCORES["model"] == "transformer") & (SCORES["depth"] == 0)]
    assert sorted(passing.x) == sorted(rows.loc[rows["target"] >= 0.5, "score"])
    assert len(failing.x) + len(passing.x) == len(rows)


def test_calibration_shows_the_bins():
    bins = metrics.calibration_by(SCORES, bins=5)
    fig = figures.calibration(bins)
    ridge = bins[bins["model"] == "ridge"]
    line = next(trace for trace in fig.data if trace.name == "Ridge probe" and trace.mode == "lines+markers")
    assert list(line.y) == list(ridge["target"]) and list(line.customdata) == list(ridge["count"])


def test_branch_selection_lines_are_the_table_rows():
    table = branch_selection.branch_selection(branches())
    fig = figures.branch_selection(table, "ge")
    original = next(trace for trace in fig.data if trace.name == "always the original")
    assert {y for y in original.y if y is not None} == {1.0}
    bar = next(trace for trace in fig.data if trace.type == "bar")
    assert list(bar.y) == list(table.loc[table["picker"] == "prm", "ge"])


def test_interval_bars_equal_the_table():
    fig = figures.arms(ARMS)
    assert [trace.x[0] for trace in fig.data] == sorted(ARMS["rate"])
    for trace in fig.data:
        arm = re.search("<b>(.*)</b>", trace.y[0]).group(1)
        [row] = ARMS[ARMS["arm"].map(method) == arm].to_dict("records")
        low, high = trace.x[0] - trace.error_x.arrayminus[0], trace.x[0] + trace.error_x.array[0]
        assert (low, high) == pytest.approx((row["low"], row["high"]))
        assert trace.marker.color == theme.ARM_COLOURS[row["arm"]]


def test_paired_diff_is_in_percentage_points():
    table = paired()
    fig = figures.paired_diff(table)
    assert [trace.x[0] for trace in fig.data] == pytest.approx([100 * d for d in reversed(table["diff"])])
    low = fig.data[0].x[0] - fig.data[0].error_x.arrayminus[0]
    assert low == pytest.approx(100 * table["low"].iloc[-1])


def test_every_family_has_a_dot_at_its_difference_and_of_its_tasks():
    table = comparisons.by_family(RESULTS)
    fig = report_figures.families(table.assign(suite=["generated", "hand-written", "generated"]))
    dots = [trace for trace in fig.data if trace.mode == "markers+text"]
    assert {trace.name for trace in dots} == {"generated", "hand-written"}
    at = [(x, size) for trace in dots for x, size in zip(trace.x, trace.marker.size, strict=True)]
    wanted = [(100 * (row.guided - row.unguided), row.tasks) for row in table.itertuples()]
    np.testing.assert_allclose(sorted(at), sorted(wanted))
    names = [text.split(" ")[0] for text in fig.layout.yaxis.ticktext]
    assert names == list(table.assign(gain=table["guided"] - table["unguided"]).sort_values(["gain", "family"])["family"])
    assert len(report_figures.families(table).data) == 3 and not report_figures.families(table).layout.showlegend


def test_no_line_at_zero_runs_through_a_number():
    rows = pd.concat([paired().head(1)] * 4).assign(diff=[0.2, 0.004, 0.0, -0.004], low=-0.01, high=0.25)
    assert [trace.textposition for trace in figures.paired_diff(rows).data[::-1]] == ["top center", "top right", "top right", "top left"]


def test_arms_of_equal_cost_are_fanned_out_around_it():
    fig = figures.tokens_vs_rate(ARMS.assign(decode_tokens=600.0))
    places = sorted(trace.x[0] for trace in fig.data)
    assert len(set(places)) == len(ARMS) and np.mean(places) == pytest.approx(600)
    assert {trace.customdata[0] for trace in fig.data} == {600.0}


def test_heat_map_cells_are_counts_and_know_what_they_filter():
    cells = figures.reason_by(RESULTS, "direction").data[0]
    for i, reason in enumerate(cells.y):
        for j, direction in enumerate(cells.x):
            count = ((RESULTS["reason"] == reason) & (RESULTS["direction"] == direction)).sum()
            assert cells.text[i][j] == str(count or "") and tuple(cells.customdata[i][j]) == (reason, direction)
    assert np.asarray(cells.z).sum(axis=0) == pytest.approx(np.ones(4))


def test_rounds_of_repair_are_arms_of_their_own():
    rounds = pd.concat([ARMS.assign(repair=r, rate=ARMS["rate"] * (1 + r / 9)) for r in range(3)])
    fig = figures.arms(rounds)
    names = [y for trace in fig.data for y in trace.y]
    assert len(set(names)) == len(rounds) and sum("<b>PRM-guided, 2 repair rounds" in name for name in names) == 1


def test_repair_arms_keep_the_colour_of_their_arm():
    assert theme.arm_colour("guided+repair2") == theme.ARM_COLOURS["guided"]


def test_every_reason_has_a_class_and_classes_look_different():
    listed = [reason for reasons in theme.FAILURE_CLASSES.values() for reason in reasons]
    assert sorted(listed) == sorted(theme.REASONS)
    for looks in (theme.CLASS_COLOURS, theme.CLASS_SYMBOLS):
        assert len(set(looks.values())) == len(theme.FAILURE_CLASSES)


# showing


class Tags(HTMLParser):
    """Collects tags and attributes as a browser would see them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.handlers = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


@pytest.mark.parametrize("text", [frames.EVIL, "\"'><svg onload=x>", "<!--", "&lt;script&gt;", "\x00\x9b\ufeff\ud800"])
def test_hostile_text_renders_as_text(text):
    for html in (escape.table_html([{text: text}]), html_report.markdown_html(text)):
        found = Tags(html)
        assert set(found.tags) <= {"div", "span", "table", "thead", "tbody", "tr", "th", "td", "p"}
        assert not found.handlers
        html.encode()


def test_exported_text_starts_no_formula():
    rows = pd.DataFrame({"log": ["=HYPERLINK(1)", " @x", "-1+1", "fine", None], "score": [-1.0, 2, 3, 4, 5]})
    text = escape.to_csv(rows)
    assert text.splitlines()[1:] == ["'=HYPERLINK(1),-1.0", "' @x,2.0", "'-1+1,3.0", "fine,4.0", ",5.0"]


def test_the_map_of_scores_draws_every_scored_trajectory_with_its_verdict():
    scores = frames.scores(ROLLOUTS)
    fig = score_map(ROLLOUTS, scores, "ridge", 1)
    drawn = sorted((round(float(x), 9), round(float(y), 9)) for trace in fig.data for x, y in zip(trace.x, trace.y, strict=True))
    there = scores[(scores["model"] == "ridge") & (scores["depth"] == 1)].set_index("capture_id")["score"]
    rows = zip(ROLLOUTS["mean_logprob"], ROLLOUTS["capture_id"], strict=True)
    assert drawn == sorted((round(-logprob, 9), round(float(there[name]), 9)) for logprob, name in rows)
    assert sum(len(trace.x) for trace in fig.data if trace.name.startswith("validated")) == ROLLOUTS["validated"].sum()
    assert "no rollout" in score_map(ROLLOUTS.iloc[:0], scores).layout.annotations[0].text


def test_hidden_characters_become_visible_and_length_is_capped():
    assert escape.visible_text("a\u202eb\x1b\u200b\r\nc") == "a⟨U+202E⟩b⟨U+001B⟩⟨U+200B⟩\nc"
    assert escape.visible_text("x" * 30, limit=10) == "x" * 10 + "… [20 more characters]"
    assert escape.visible_text(float("nan")) == escape.visible_text(None) == ""
    assert escape.visible_text("nan") == "nan"


def test_figure_pages_cannot_be_broken_out_of():
    rows = ROLLOUTS.assign(task=frames.EVIL, direction=frames.EVIL, reason=frames.EVIL)
    plain = Tags(figures.collected(ROLLOUTS).to_html(include_plotlyjs=False)).tags
    for fig in (figures.collected(rows), figures.reason_by(rows, "direction")):
        assert Tags(fig.to_html(include_plotlyjs=False)).tags == plain
        for shown in [*fig.data[0].y, *([fig.data[0].name] if fig.data[0].name else fig.data[0].x)]:
            assert not set("<>\u202e\x1b") & set(shown) and "&lt;script&gt;" in shown


def test_report_is_one_file_without_a_network(tmp_path):
    sections = [("Arms <i>", [figures.arms(ARMS), ARMS]), ("Text", "**bold** <script>x</script> [y](javascript:z)")]
    sections.append(("Table", ROLLOUTS[["task", "log"]]))
    lead = run_report.lead([Finding("Found", "<b>3 points</b>")])
    page = html_report.report_html(sections, tmp_path / "index.html", "Run </title>", lead)
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    text = page.read_text().replace(f"<script>{get_plotlyjs()}</script>", "", 1)
    assert len(text) < 100_000 and "http://" not in text and "https://" not in text and 'src="' not in text
    assert text.index("&lt;b&gt;3 points") < text.index("<nav") < text.index("<section>")
    assert "<strong>bold</strong>" in text and "javascript:" not in text and "default-src 'none'" in text
    assert text.count("<section>") == 3 and all(f'id="s{i}"' in text and f'href="#s{i}"' in text for i in (1, 2, 3))
    tags = Tags(text).tags
    assert "img" not in tags and "i" not in tags and tags.count("title") == 1
    with pytest.raises(UserError, match="section 'Bad': cannot show set"):
        html_report.report_html([("Bad", [{1}])], tmp_path / "bad.html", "x")


def test_wide_and_long_tables_of_a_report_fold():
    narrow, wide = pd.DataFrame({"a": [1]}), pd.DataFrame({f"c{i}": [1] for i in range(html_report.WIDE + 1)})
    long = pd.DataFrame({"a": range(html_report.LONG + 1)})
    assert ["<details>" in html_report.frame_html(frame) for frame in (narrow, wide, long)] == [False, True, True]


def test_report_tables_say_how_many_rows_they_leave_out():
    assert "and 50 more rows" in html_report.frame_html(pd.DataFrame({"a": range(html_report.MAX_ROWS + 50)}))


def test_show_stores_a_figure_without_a_browser(monkeypatch):
    monkeypatch.setattr(pio.renderers, "default", pio.renderers.default)
    assert figures.use_renderer() == "plotly_mimetype"
    bundle = theme.mime_bundle(figures.arms(ARMS), picture=False)
    assert bundle["text/plain"] == "[figure] Validated translations by method"
    assert set(bundle) == {"text/plain", "application/vnd.plotly.v1+json"} and len(json.dumps(bundle)) < 20_000


def test_a_picture_is_asked_for_only_where_a_browser_is(monkeypatch):
    monkeypatch.setattr(pio.renderers, "default", pio.renderers.default)
    monkeypatch.setattr(theme, "has_browser", lambda: False)
    assert figures.use_renderer(picture=True) == "plotly_mimetype"


def test_text_on_a_colour_is_read_on_every_colour_of_the_figures():
    def light(colour):
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    for colour in {*theme.CLASS_COLOURS.values(), *theme.MODEL_COLOURS.values(), *theme.ARM_COLOURS.values(), theme.PALE[1][1]}:
        a, b = sorted((light(colour), light(theme.text_on(colour))))
        assert (b + 0.05) / (a + 0.05) >= 4.5, colour


@pytest.mark.skipif(not theme.has_browser(), reason="no Chrome for kaleido")
def test_a_picture_is_a_png():
    png = base64.b64decode(theme.mime_bundle(go.Figure(go.Scatter(y=[1, 2])), picture=True)["image/png"])
    assert png.startswith(b"\x89PNG")


def test_a_saved_page_shares_its_script(tmp_path):
    figures.save_html(figures.arms(ARMS), tmp_path / "a.html")
    figures.save_html(figures.ladder(ROLLOUTS), tmp_path / "b.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html", "plotly.min.js"]
    assert (tmp_path / "a.html").stat().st_size < 30_000
